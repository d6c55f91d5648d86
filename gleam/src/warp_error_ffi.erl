%% The engine's reasons as the variants of `warp/error', in the order of that module. A reason that the
%% table does not have is `Unknown'.
-module(warp_error_ffi).

-export([reason/1, crash/1, text/1]).

-export_type([error/0]).

%% A variant of `warp/error', as the term that Gleam compiles it to.
-type error() :: atom() | tuple().

%% @doc The reason of an error of the engine as a Gleam value.
-spec reason(term()) -> error().
%% Gleam's own functions refuse with a variant already.
reason({warp_error, Error}) -> Error;
reason({rejected, Term}) -> {rejected, Term};

reason({wrong_expected_seq, Seq}) -> {wrong_expected_seq, Seq};
reason({id_conflict, Seq}) -> {id_conflict, Seq};
reason({duplicate_event_id, Id}) -> {duplicate_event_id, Id};
reason({reserved_id, Id}) -> {reserved_id, Id};
reason({entity_not_empty, #{last_seq := Seq, differs := Differs}}) -> {entity_not_empty, Seq, Differs};
reason({import_too_large, Events, Max}) -> {import_too_large, Events, Max};
reason({import_too_large_bytes, Bytes, Max}) -> {import_too_large_bytes, Bytes, Max};
reason(no_event) -> no_event;

reason({bad_entity_id, Why}) -> {bad_entity_id, problem(Why)};
reason({bad_event, N, undefined, Why}) -> {bad_event, N, <<>>, problem(Why)};
reason({bad_event, N, Field, Why}) -> {bad_event, N, text(Field), problem(Why)};
reason({unknown_aggregate, Name}) -> {unknown_aggregate, text(Name)};
reason(empty_batch) -> empty_batch;
reason({batch_too_large, Events, Max}) -> {batch_too_large, Events, Max};
reason({batch_too_large_bytes, Bytes, Max}) -> {batch_too_large_bytes, Bytes, Max};

reason({apply_failed, {error, {warp_undecodable, Type, Errors}, _}}) -> {undecodable_event, Type, Errors};
reason({validate_failed, {error, {warp_undecodable, Type, Errors}, _}}) -> {undecodable_event, Type, Errors};
reason({until_failed, {error, {warp_undecodable, Type, Errors}, _}}) -> {undecodable_event, Type, Errors};
reason({apply_failed, Crash}) -> {apply_failed, crash(Crash)};
reason({validate_failed, Crash}) -> {validate_failed, crash(Crash)};
reason({migrate_failed, Crash}) -> {migrate_failed, crash(Crash)};
reason({decide_failed, Crash}) -> {decide_failed, crash(Crash)};
reason({stale_function, #{'fun' := Printed}}) -> {stale_function, Printed};
reason({bad_return, Function, Term}) -> {bad_return, text(Function), Term};

reason(overloaded) -> overloaded;
reason(timeout) -> timeout;
reason(interrupted) -> interrupted;
reason({shard_unavailable, Shard}) -> {shard_unavailable, Shard};
reason(disk_full) -> disk_full;
reason({io_error, Message}) -> {io_error, Message};
reason({corrupt, Message}) -> {corrupt, Message};
reason({internal, Message}) -> {internal, Message};
reason(context_stopped) -> context_stopped;

reason({missing_option, Option}) -> {missing_option, text(Option)};
reason({unknown_option, Option}) -> {unknown_option, text(Option)};
reason({bad_option, aggregates, {duplicate_name, Name}}) -> {duplicate_aggregate, Name};
reason({bad_option, aggregates, {name, Why}}) -> {bad_aggregate, <<>>, <<"name">>, problem(Why)};
reason({bad_option, aggregates, {Name, Field, Why}}) -> {bad_aggregate, text(Name), text(Field), problem(Why)};
reason({bad_option, subscribers, {Name, Key, Why}}) when is_binary(Name), is_atom(Key) ->
    {bad_option, format("~ts of the subscriber ~ts", [Key, Name]), problem(Why)};
reason({bad_option, Option, Why}) -> {bad_option, text(Option), problem(Why)};
reason({data_dir_in_use, Dir}) -> {data_dir_in_use, Dir};
reason({too_few_files, #{limit := Limit, needed := Needed}}) -> {too_few_files, Limit, Needed};
reason({nif_not_loaded, Message}) -> {nif_not_loaded, Message};
reason({shard_count_mismatch, Stored, Given}) -> {shard_count_mismatch, Stored, Given};
reason({not_a_shard, Path}) -> {not_a_shard, Path};
reason({wrong_identity, Path, Found}) -> {wrong_identity, Path, Found};
reason({newer_format, Path, Version}) -> {newer_format, Path, Version};
reason({not_a_projection, Path}) -> {not_a_projection, Path};
reason({was_projected, Path}) -> {was_projected, Path};
reason({target_refused, Message}) -> {target_refused, Message};
reason({no_certificate_in, File}) -> {no_certificate_in, file(File)};
reason({cannot_read, File, Why}) -> {cannot_read, file(File), text(Why)};
reason({no_certificates_of_this_system, Why}) -> {no_certificates_of_this_system, text(Why)};
reason({application_not_started, App, Reason}) -> {application_not_started, format("~tp: ~tp", [App, Reason])};

reason({already_started, Name}) -> {already_started, Name};
reason({folder_of_cluster, Dir}) -> {folder_of_cluster, Dir};
reason({folder_of_node, Node}) -> {folder_of_node, text(Node)};
reason({folder_not_empty, Dir}) -> {folder_not_empty, Dir};
reason({cluster_refused, Node, Why}) -> {cluster_refused, text(Node), text(Why)};

reason(no_projections) -> no_projections;
reason(read_only) -> read_only;
reason({sql_error, Message}) -> {sql_error, Message};
reason({too_many_rows, Max}) -> {too_many_rows, Max};
reason({result_too_large, Max}) -> {result_too_large, Max};
reason({query_too_large, Max}) -> {query_too_large, Max};
reason({bad_param, N, Why}) -> {bad_parameter, N, problem(Why)};
reason({bad_params, Why}) -> {bad_parameters, problem(Why)};
reason({target_away, Why}) -> {target_away, text(Why)};
reason({stalled, Why}) -> {stalled, text(Why)};
reason({set_aside, Seq}) -> {set_aside, Seq};
reason(rebuild_due) -> rebuild_due;
reason(not_set_aside) -> not_set_aside;
reason(already_running) -> already_running;
reason(not_running) -> not_running;
reason(cancelled) -> cancelled;
reason({still_to_erase, #{target := backup, reason := {To, Why}}}) -> {backup_still_to_erase, To, reason(Why)};
reason({still_to_erase, #{projections := Tables, reason := Why}}) -> {still_to_erase, Tables, text(Why)};

reason({bad_saga_id, Why}) -> {bad_saga_id, problem(Why)};
reason({bad_saga, Why}) -> {bad_saga, problem(Why)};
reason(empty_saga) -> empty_saga;
reason({too_many_steps, Steps, Max}) -> {too_many_steps, Steps, Max};
reason({bad_step, N, {Field, {Part, Why}}}) when
    Part =:= type; Part =:= payload; Part =:= metadata; Part =:= schema_vsn
->
    {bad_step, N, format("~ts ~ts", [Field, Part]), problem(Why)};
reason({bad_step, N, {Field, Why}}) -> {bad_step, N, text(Field), problem(Why)};
reason({saga_conflict, Id}) -> {saga_conflict, Id};
reason(not_found) -> saga_not_found;
reason({saga_waits, #{step := N, entity := Entity, reason := Why}}) -> {saga_waits, N, Entity, reason(Why)};
reason({not_stuck, State}) -> {not_stuck, text(State)};
reason({bad_note, Why}) -> {bad_note, problem(Why)};
reason(entity_deleted) -> entity_deleted;
reason({unknown_step, Name}) -> {unknown_step, text(Name)};
reason({step_arity, Name, Arity, _Wanted}) -> {step_arity, text(Name), Arity};
reason({step_not_exported, Name, {M, F, A}}) -> {step_not_exported, text(Name), format("~ts:~ts/~b", [M, F, A])};
reason({shortened, Text}) -> {shortened, Text};

reason({bad_cursor, Why}) -> {bad_cursor, problem(Why)};
reason(subscription_ended) -> subscription_ended;
reason({others_say, Consumers}) -> {others_say, Consumers};
reason(unknown_subscription) -> unknown_subscription;
reason(not_waiting) -> not_waiting;
reason({in_use, Pid}) -> {in_use, Pid};
reason({behind, Names}) -> {behind, Names};
reason({bad_command, Term}) -> {bad_command, Term};
reason({command_failed, N, Why}) -> {command_failed, N, reason(Why)};
reason({until_failed, Crash}) -> {until_failed, crash(Crash)};

reason({node_unavailable, Node}) -> {node_unavailable, text(Node)};
reason({unknown_outcome, Node}) -> {unknown_outcome, text(Node)};
reason({in_doubt, Why}) -> {in_doubt, text(Why)};
reason(not_in_doubt) -> not_in_doubt;
reason(forgotten) -> forgotten;
reason({not_a_member, Node}) -> {not_a_member, text(Node)};
reason({node_up, Node}) -> {node_up, text(Node)};
reason(last_member) -> last_member;
reason(not_clustered) -> not_clustered;

reason(no_backup) -> no_backup;
reason(no_keys) -> no_keys;
reason(not_started) -> not_started;
reason(running) -> running;
reason(target_in_use) -> target_in_use;
reason(merged_meanwhile) -> merged_meanwhile;
reason(wrong_master_key) -> wrong_master_key;
reason({no_master_key, Message}) -> {no_master_key, Message};
reason({master_key_refused, Why}) -> {master_key_refused, text(Why)};
reason({other_backup, #{context := Context, shards := Shards}}) -> {other_backup, Context, Shards};
reason({forked, #{shard := Shard, position := Position}}) -> {forked, Shard, Position};
reason({no_such_cut, Until}) -> {no_such_cut, text(Until)};
reason({not_empty, Path}) -> {not_empty, Path};
reason({other_restore, Path}) -> {other_restore, Path};
reason({backup_damaged, Message}) -> {backup_damaged, Message};
reason({key_unknown, Message}) -> {key_unknown, Message};
reason({unreachable, Why}) -> {unreachable, text(Why)};
reason({storage_refused, Message}) -> {storage_refused, Message};
reason({no_store_program, Message}) -> {no_store_program, Message};

reason(Reason) -> {unknown, Reason}.

%% What is wrong with a value, as the variants of `warp/error.Problem'.
problem(missing) -> missing;
problem(required) -> required;
problem(unknown_field) -> unknown_field;
problem(unknown_key) -> unknown_field;
problem(empty) -> empty;
problem({too_long, Bytes, Max}) -> {too_long, Bytes, Max};
problem({too_large, Bytes, Max}) when is_integer(Max) -> {too_large, Bytes, Max};
problem({too_deep, Max}) -> {too_deep, Max};
problem({invalid_json, Message}) when is_binary(Message) -> {invalid_json, Message};
problem({not_json, What}) -> {not_json, text(What)};
problem(not_an_object) -> not_an_object;
problem(not_a_binary) -> not_a_binary;
problem(not_utf8) -> not_utf8;
problem(not_a_list) -> not_a_list;
problem(not_a_map) -> not_a_map;
problem({not_a_function, Arity}) -> {not_a_function, Arity};
problem(not_a_positive_integer) -> not_a_positive_integer;
problem({not_an_integer_from, Min}) -> {not_an_integer_from, Min};
problem({not_an_integer_between, Min, Max}) -> {not_an_integer_between, Min, Max};
problem({not_one_of, Values}) -> {not_one_of, [text(Value) || Value <- Values]};
problem(only_letters_digits_underscore_dot_dash) -> not_a_name;
problem(not_a_path) -> not_a_path;
problem(not_a_place) -> {because, <<"it is not what `next` of a page of entities was">>};
problem(not_positions) -> {because, <<"it is not what `next` of a page of events was">>};
problem(not_a_beginning) -> {because, <<"it is no place to begin at">>};
problem(not_a_list_of_names) -> {because, <<"it is not a list of names">>};
problem(not_a_cursor) -> {because, <<"it is none">>};
problem(of_an_entity) -> {because, <<"it is that of an entity">>};
problem(of_another_entity) -> {because, <<"it is that of another entity">>};
problem(of_a_context) -> {because, <<"it is that of a context">>};
problem({of_so_many_shards, N}) -> {because, format("it is that of a context with ~b shards", [N])};
problem({ahead_of_log, N}) -> {because, format("it is ahead of the log of shard ~b", [N])};
problem(reserved) -> reserved;
problem(not_a_handle) -> not_a_handle;
problem(not_a_saga) -> not_a_saga;
problem({unknown_step, Name}) -> {no_such_function, text(Name)};
problem({step_not_exported, Name, _}) -> {no_such_function, text(Name)};
problem({because, Text}) -> {because, Text};
problem(Why) -> {because, because(Why)}.

%% Problems without a variant, in words.
because({unknown_aggregate, Name}) -> format("~ts is none that the context was started with", [Name]);
because({step_arity, Name, 3, _}) -> format("the step function ~ts is one that compensates", [Name]);
because({expected, N, given, M}) -> format("the statement has ~b parameters, and ~b were given", [N, M]);
because({of_other_entity, Id}) -> format("it is that of an event of the entity ~ts", [Id]);
because({not_s3, Field}) -> format("its ~ts is wrong or unknown", [Field]);
because({too_many, Max}) -> format("there are more than ~b", [Max]);
because({too_large, Max}) -> format("there are more than ~b bytes", [Max]);
because({too_large, Size, Unit}) -> format("it has more than ~b ~ts", [Size, Unit]);
because({not_a_function, Arity, Other}) -> format("it is not a function of ~b or ~b arguments", [Arity, Other]);
because(only_letters_digits_underscore) -> <<"it has other characters than letters, digits and _">>;
because(no_seed_nodes) -> <<"it has no seed nodes">>;
because(node_without_name) -> <<"it needs a VM with a name, such as erl -name warp@10.0.0.1">>;
because({seed_nodes, not_a_list_of_nodes}) -> <<"its seed nodes are not all names of nodes such as warp@10.0.0.1">>;
because({seed_nodes, {too_many, Max}}) -> format("it has more than ~b seed nodes", [Max]);
because(neither_type_nor_run) -> <<"it has neither a type nor a step function to run">>;
because({duplicate_name, Name}) -> format("two have the name ~ts", [text(Name)]);
because(neither_time_nor_cursor) -> <<"it is neither a time nor a cursor">>;
because(not_what_to_keep) -> <<"it is at least 1">>;
because(not_a_cut) -> <<"it is no cut: their numbers are from 1 on">>;
because(not_a_master_key) -> <<"it is no master key">>;
because(not_a_seq_or_function) -> <<"it is not a seq from 0 on">>;
because(not_seq_or_time) -> <<"it is neither a seq from 0 on nor a time">>;
because(not_any_no_stream_or_a_seq) -> <<"it is not a seq from 0 on">>;
because({Kind, What, Why}) when is_atom(Kind) -> format("~ts ~ts: ~ts", [Kind, text(What), text(Why)]);
because({Key, Why}) when is_atom(Key) -> format("~ts: ~ts", [Key, text(Why)]);
because(Why) -> text(Why).

%% Paths of options are lists of characters.
file(File) when is_list(File) -> text(unicode:characters_to_binary(File));
file(File) -> text(File).

%% @doc A term in one line, such as the name of a node. A binary that is UTF-8 is text already.
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

%% @doc What happened in a user's function, and where, in one line.
-spec crash({error | exit | throw, term(), list()} | term()) -> binary().
crash({error, {warp_said, Text}, _Stack}) ->
    Text;
%% The maps that code of Gleam's compiler raises, for panic, let assert and the like.
crash({error, #{gleam_error := Kind, message := Message, module := Module, function := Function,
                line := Line} = Panic, _Stack}) ->
    Value =
        case Panic of
            #{value := Term} -> format(" Got ~0tP.", [Term, 20]);
            #{} -> <<>>
        end,
    format("~ts: ~ts~ts (~ts.~ts, line ~b)", [kind(Kind), Message, Value, Module, Function, Line]);
crash({Class, Reason, Stack}) ->
    format("~ts: ~0tP~ts", [Class, Reason, 20, where(Stack)]);
%% A saga stores a crash that is too long as text.
crash(Other) ->
    text(Other).

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

%% An anonymous function is named after the function that contains it.
function(Module, <<"-", Function/binary>>, _Arity) ->
    [Name | _] = binary:split(Function, <<"/">>),
    [name(Module), ".", Name];
function(Module, Function, Arity) ->
    [name(Module), ".", Function, "/", integer_to_binary(Arity)].

%% The name that Gleam has for a module.
name(Module) ->
    binary:replace(Module, <<"@">>, <<"/">>, [global]).
