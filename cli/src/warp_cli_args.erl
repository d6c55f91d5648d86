%% @private Reads the arguments of the program: words that name a command, what it is about, such as the folder of a
%% context, and options, in any order behind the command. Pure, but for the variable `WARP_DIR'.
-module(warp_cli_args).

-export([parse/1]).

%% @doc What is to be done. Ends the program with the status 2 where the arguments are wrong.
-spec parse([binary()]) ->
    help | {help, warp_cli_command:command()} | {run, warp_cli_command:command(), warp_cli_command:args()}.
parse(Given) ->
    Words = [case Word of <<"-h">> -> <<"--help">>; <<"-y">> -> <<"--yes">>; _ -> Word end || Word <- Given],
    _ = [warp_cli_terminal:json() || lists:member(<<"--json">>, Words)],
    IsHelp = lists:member(<<"--help">>, Words),
    case Words of
        [<<"help">> | Of] -> help(Of);
        [<<"--version">>] -> parse([<<"version">>]);
        [<<"--", _/binary>> | _] when IsHelp -> help;
        [] -> warp_cli_fail:usage(<<"No command was given.">>);
        _ -> command(Words, IsHelp)
    end.

help([]) -> help;
help(Words) -> command(Words, true).

command(Words, IsHelp) ->
    case warp_cli_command:find(Words) of
        {ok, Command, _} when IsHelp -> {help, Command};
        {ok, Command, Rest} -> {run, Command, args(Command, Rest)};
        {group, _} when IsHelp -> help;
        {group, Commands} ->
            warp_cli_fail:usage(["There are ", lists:join(", ", [["`", warp_cli_command:name(Of), "'"]
                                                                 || Of <- Commands]), "."]);
        none when IsHelp -> help;
        none ->
            Known = [hd(Of) || #{words := Of} <- warp_cli_command:all()],
            warp_cli_fail:usage(["There is no command `", hd(Words), "'.", meant(hd(Words), Known, "")])
    end.

args(Command, Words) ->
    #{words := Given} = Args = each(Words, Command, #{json => false, yes => false, upgrade => false, words => []}),
    Missing = [Option || #{name := Name, required := true} = Option <- warp_cli_command:options(Command),
                         not is_map_key(Name, Args), not is_map_key(maps:get(instead, Option, Name), Args)],
    case Missing of
        [Option | _] -> needs(Command, shown(Option));
        [] -> placed(warp_cli_command:places(Command), lists:reverse(Given), Command, maps:remove(words, Args))
    end.

-spec needs(warp_cli_command:command(), iodata()) -> no_return().
needs(Command, What) ->
    wrong(Command, ["' needs ", What, "."]).

%% Says how the command is called.
-spec wrong(warp_cli_command:command(), iodata()) -> no_return().
wrong(Command, What) ->
    Name = warp_cli_command:name(Command),
    warp_cli_fail:usage(["`", Name, What],
                        ["Call it as `", warp_cli_help:called_as(Command), "'; `warp ", Name, " --help' says more."]).

placed([], [], _Command, Args) ->
    Args;
placed([#{name := Name, shown := Shown, is := Is} | Places], [Word | Words], Command, Args) ->
    _ = [warp_cli_fail:usage([Shown, " is one of ", lists:join(", ", Is), "."])
         || is_list(Is), not lists:member(Word, Is)],
    _ = [warp_cli_fail:usage([Shown, " is empty."]) || Word =:= <<>>],
    placed(Places, Words, Command, Args#{Name => Word});
placed([#{name := dir} | Places], [], Command, Args) ->
    case os:getenv("WARP_DIR", "") of
        "" -> needs(Command, "the folder of a context, DATA_DIR/CONTEXT; or set WARP_DIR to it");
        Dir -> placed(Places, [], Command, Args#{dir => unicode:characters_to_binary(Dir)})
    end;
placed([#{optional := true} | Places], [], Command, Args) ->
    placed(Places, [], Command, Args);
placed([#{shown := Shown, is := Is} | _], [], Command, _Args) ->
    needs(Command, [Shown | [[": one of ", lists:join(", ", Is)] || is_list(Is)]]).

each([], _Command, Args) ->
    Args;
each([<<"--">> | Words], Command, Args) ->
    lists:foldl(fun(Word, Sofar) -> word(Word, Command, Sofar) end, Args, Words);
each([<<"--", Text/binary>> | Words], Command, Args) ->
    {Name, Given} = case binary:split(Text, <<"=">>) of
        [Before, After] -> {Before, [After]};
        [Before] -> {Before, []}
    end,
    Options = warp_cli_command:options(Command),
    case [Option || #{name := Of} = Option <- Options, dashed(Of) =:= Name] of
        [#{value := _} = Option] -> with_value(Option, Given, Words, Command, Args);
        [#{name := Of}] when Given =:= [] -> each(Words, Command, Args#{Of => true});
        [Option] -> warp_cli_fail:usage([shown(Option), " takes no value."]);
        [] ->
            wrong(Command, ["' has no option --", Name, ".",
                            meant(Name, [dashed(Of) || #{name := Of} <- Options], "--")])
    end;
each([<<"-", _, _/binary>> = Short | _], _Command, _Args) ->
    warp_cli_fail:usage(["There is no option ", Short, ". Options begin with two dashes."]);
each([Word | Words], Command, Args) ->
    each(Words, Command, word(Word, Command, Args)).

word(Word, Command, #{words := Words} = Args) ->
    _ = [wrong(Command, ["' has no place for `", Word, "'."])
         || length(Words) =:= length(warp_cli_command:places(Command))],
    Args#{words := [Word | Words]}.

with_value(Option, [Value], Words, Command, Args) ->
    each(Words, Command, put_value(Option, Value, Args));
%% A value that begins with two dashes is given behind an equals sign.
with_value(Option, [], Words, _Command, _Args) when Words =:= []; binary_part(hd(Words), 0, 2) =:= <<"--">> ->
    warp_cli_fail:usage([shown(Option), ": the value is missing."]);
with_value(Option, [], [Value | Words], Command, Args) ->
    each(Words, Command, put_value(Option, Value, Args)).

put_value(#{name := Name, many := true}, Value, Args) ->
    Args#{Name => maps:get(Name, Args, []) ++ [Value]};
put_value(#{name := Name} = Option, _Value, Args) when is_map_key(Name, Args) ->
    warp_cli_fail:usage([shown(Option), " is given twice."]);
put_value(#{name := Name, is := positive} = Option, Value, Args) ->
    try binary_to_integer(Value) of
        N when N > 0, N < 1 bsl 60 -> Args#{Name => N};
        _ -> warp_cli_fail:usage([shown(Option), " has to be a number from 1 on."])
    catch
        error:badarg -> warp_cli_fail:usage([shown(Option), " has to be a number from 1 on."])
    end;
put_value(#{name := Name} = Option, Value, Args) ->
    _ = [warp_cli_fail:usage([shown(Option), " is empty."]) || Value =:= <<>>],
    Args#{Name => Value}.

shown(#{name := Name, value := Value}) -> ["--", dashed(Name), $\s, Value];
shown(#{name := Name}) -> ["--", dashed(Name)].

dashed(Name) -> binary:replace(atom_to_binary(Name), <<"_">>, <<"-">>, [global]).

%% The word that somebody who made a typing error may have meant: one that differs in two letters at most.
meant(Word, Known, Before) ->
    case lists:sort([{distance(binary_to_list(Word), binary_to_list(Of)), Of} || Of <- Known, byte_size(Word) < 40]) of
        [{Distance, Of} | _] when Distance =< 2 -> [" Did you mean ", Before, Of, "?"];
        _ -> []
    end.

%% Levenshtein's: each row has the distances of a prefix of A from all prefixes of B.
distance(A, B) ->
    lists:last(lists:foldl(fun(Letter, Row) -> next_row(Letter, B, Row) end, lists:seq(0, length(B)), A)).

next_row(Letter, B, [First | _] = Row) ->
    {Next, _} = lists:mapfoldl(
        fun({Other, Diagonal, Above}, Left) ->
            Changed = case Letter of Other -> Diagonal; _ -> Diagonal + 1 end,
            Least = lists:min([Changed, Above + 1, Left + 1]),
            {Least, Least}
        end,
        First + 1, lists:zip3(B, lists:droplast(Row), tl(Row))),
    [First + 1 | Next].
