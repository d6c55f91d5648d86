%% Erlang's terms as text for people: crashes of users' functions, and reasons of other programs.
-module(warp_text_ffi).

-export([text/1, format/2, crash/1]).

%% @doc A term in one line. A binary that is UTF-8 is text already.
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

-spec format(io:format(), [term()]) -> binary().
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
