%% The engine's reasons as the variants of `warp/error'. Most of them are the same term.
-module(warp_error_ffi).

-export([reason/1, crash/1, text/1]).

-export_type([error/0]).

%% A variant of `warp/error', as the term that Gleam compiles it to.
-type error() :: atom() | tuple().

%% @doc The reason of an error of `warp_core' as a Gleam value.
-spec reason(term()) -> error().
reason({warp_error, Error}) ->
    Error;
reason(Reason) when
    Reason =:= overloaded; Reason =:= timeout; Reason =:= interrupted; Reason =:= disk_full;
    Reason =:= context_stopped; Reason =:= empty_batch; Reason =:= no_projections;
    Reason =:= read_only; Reason =:= not_set_aside; Reason =:= already_running;
    Reason =:= not_running; Reason =:= cancelled; Reason =:= empty_saga; Reason =:= entity_deleted;
    Reason =:= rebuild_due
->
    Reason;
reason(not_found) ->
    saga_not_found;
reason({Kind, _} = Reason) when
    Kind =:= rejected; Kind =:= wrong_expected_seq; Kind =:= id_conflict;
    Kind =:= duplicate_event_id; Kind =:= reserved_id; Kind =:= shard_unavailable;
    Kind =:= io_error; Kind =:= corrupt; Kind =:= data_dir_in_use; Kind =:= not_a_shard;
    Kind =:= sql_error; Kind =:= too_many_rows; Kind =:= set_aside; Kind =:= saga_conflict;
    Kind =:= unknown_step; Kind =:= shortened
->
    Reason;
reason({Kind, _, _} = Reason) when
    Kind =:= batch_too_large; Kind =:= batch_too_large_bytes; Kind =:= shard_count_mismatch;
    Kind =:= wrong_identity; Kind =:= newer_format; Kind =:= too_many_steps
->
    Reason;
reason({Kind, {error, {warp_undecodable, Type, Errors}, _}}) when
    Kind =:= apply_failed; Kind =:= validate_failed
->
    {undecodable_event, Type, Errors};
reason({Kind, {_, _, _} = Crash}) when
    Kind =:= apply_failed; Kind =:= validate_failed; Kind =:= migrate_failed; Kind =:= decide_failed
->
    {Kind, crash(Crash)};
reason({stale_function, #{'fun' := Printed}}) ->
    {stale_function, Printed};
reason({bad_return, Function, Term}) ->
    {bad_return, text(Function), Term};
reason({unknown_aggregate, Name}) ->
    {unknown_aggregate, text(Name)};
reason({bad_entity_id, Why}) ->
    {bad_entity_id, problem(Why)};
reason({bad_event, N, undefined, Why}) ->
    {bad_event, N, <<>>, problem(Why)};
reason({bad_event, N, Field, Why}) ->
    {bad_event, N, text(Field), problem(Why)};
reason({Kind, Option}) when Kind =:= missing_option; Kind =:= unknown_option ->
    {Kind, text(Option)};
reason({bad_option, aggregates, {duplicate_name, Name}}) ->
    {duplicate_aggregate, Name};
reason({bad_option, aggregates, {name, Why}}) ->
    {bad_aggregate, <<>>, <<"name">>, problem(Why)};
reason({bad_option, aggregates, {Name, Field, Why}}) ->
    {bad_aggregate, text(Name), text(Field), problem(Why)};
reason({bad_option, Option, Why}) ->
    {bad_option, text(Option), problem(Why)};
reason({target_away, Why}) ->
    {target_away, text(Why)};
reason({bad_param, N, Why}) ->
    {bad_parameter, N, problem(Why)};
reason({bad_params, {expected, Expected, given, Given}}) ->
    {bad_parameters, {because, format("the statement has ~b parameters, and ~b were given", [Expected, Given])}};
reason({bad_params, Why}) ->
    {bad_parameters, problem(Why)};
reason({too_few_files, #{limit := Limit, needed := Needed}}) ->
    {too_few_files, Limit, Needed};
reason({still_to_erase, #{projections := Tables, reason := Why}}) ->
    {still_to_erase, Tables, text(Why)};
reason({Kind, Why}) when Kind =:= bad_saga_id; Kind =:= bad_saga; Kind =:= bad_note ->
    {Kind, problem(Why)};
reason({bad_step, N, {Field, {Part, Why}}}) when
    Part =:= type; Part =:= payload; Part =:= metadata; Part =:= schema_vsn
->
    {bad_step, N, format("~ts ~ts", [Field, Part]), problem(Why)};
reason({bad_step, N, {Field, Why}}) ->
    {bad_step, N, text(Field), problem(Why)};
reason({not_stuck, State}) ->
    {not_stuck, text(State)};
reason({saga_waits, #{step := Step, entity := Entity, reason := Why}}) ->
    {saga_waits, Step, Entity, reason(Why)};
reason({step_arity, Name, Arity, _}) ->
    {step_arity, text(Name), Arity};
reason({step_not_exported, Name, _}) ->
    {unknown_step, text(Name)};
reason({App, _} = Reason) when App =:= warp_core ->
    {application_not_started, format("~tp", [Reason])};
reason(Reason) ->
    {unknown, Reason}.

problem(Why) when
    Why =:= missing; Why =:= required; Why =:= unknown_field; Why =:= empty;
    Why =:= not_an_object; Why =:= not_a_binary; Why =:= not_utf8; Why =:= not_a_list;
    Why =:= not_a_map; Why =:= not_a_positive_integer; Why =:= not_a_path; Why =:= reserved
->
    Why;
problem(only_letters_digits_underscore_dot_dash) ->
    not_a_name;
problem({Kind, Bytes, Max} = Why) when
    (Kind =:= too_long orelse Kind =:= too_large), is_integer(Bytes), is_integer(Max)
->
    Why;
problem({too_deep, _} = Why) ->
    Why;
problem({invalid_json, Message} = Why) when is_binary(Message) ->
    Why;
problem({not_json, What}) ->
    {not_json, text(What)};
problem({not_a_function, _} = Why) ->
    Why;
problem({not_an_integer_from, _} = Why) ->
    Why;
problem({not_an_integer_between, _, _} = Why) ->
    Why;
problem({not_one_of, Values}) ->
    {not_one_of, [text(Value) || Value <- Values]};
problem({because, _} = Why) ->
    Why;
problem({unknown_step, Name}) ->
    {no_such_function, text(Name)};
problem({step_not_exported, Name, _}) ->
    {no_such_function, text(Name)};
problem({unknown_aggregate, Name}) ->
    {because, format("~ts is none that the context was started with", [Name])};
problem({step_arity, Name, 3, _}) ->
    {because, format("the step function ~ts is one that compensates", [Name])};
problem({Kind, What, Why}) when is_atom(Kind) ->
    {because, format("~ts ~ts: ~ts", [Kind, text(What), text(Why)])};
problem({Key, Why}) when is_atom(Key) ->
    {because, format("~ts: ~ts", [Key, text(Why)])};
problem(Why) when is_atom(Why); is_binary(Why) ->
    {because, text(Why)};
problem(Why) ->
    {because, format("~tp", [Why])}.

%% @doc What happened in a user's function, and where, in one line.
-spec crash({error | exit | throw, term(), list()}) -> binary().
crash({error, {warp_said, Text}, _Stack}) ->
    Text;
%% What Gleam's compiler generates, for panic, let assert and the like.
crash({error, #{gleam_error := Kind, message := Message, module := Module, function := Function,
                line := Line} = Panic, _Stack}) ->
    Value =
        case Panic of
            #{value := Term} -> format(" Got ~0tP.", [Term, 20]);
            #{} -> <<>>
        end,
    format("~ts: ~ts~ts (~ts.~ts, line ~b)", [kind(Kind), Message, Value, Module, Function, Line]);
crash({Class, Reason, Stack}) ->
    format("~ts: ~0tP~ts", [Class, Reason, 20, where(Stack)]).

kind(let_assert) -> <<"let assert">>;
kind(Kind) -> text(Kind).

where([{Module, Function, Arity, Location} | _]) ->
    Line =
        case lists:keyfind(line, 1, Location) of
            {line, N} -> format(", line ~b", [N]);
            false -> <<>>
        end,
    Arguments = case is_list(Arity) of true -> length(Arity); false -> Arity end,
    format(" (~ts~ts)", [function(atom_to_binary(Module), atom_to_binary(Function), Arguments), Line]);
where(_) ->
    <<>>.

%% One without a name is told by the function that it stands in.
function(Module, <<"-", Function/binary>>, _Arity) ->
    [Name | _] = binary:split(Function, <<"/">>),
    [name(Module), ".", Name];
function(Module, Function, Arity) ->
    [name(Module), ".", Function, "/", integer_to_binary(Arity)].

%% A module as Gleam has it.
name(Module) ->
    binary:replace(Module, <<"@">>, <<"/">>, [global]).

%% @doc What can be told apart, in text for people.
-spec text(term()) -> binary().
text(Text) when is_binary(Text) ->
    case unicode:characters_to_binary(Text) of
        Text -> Text;
        _ -> format("~0tp", [Text])
    end;
text(Atom) when is_atom(Atom) ->
    atom_to_binary(Atom);
text(Term) ->
    format("~0tP", [Term, 20]).

format(Format, Arguments) ->
    unicode:characters_to_binary(io_lib:format(Format, Arguments)).
