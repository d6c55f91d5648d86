%% The stand-in of gleeunit: runs tests with EUnit, and reports failures in Gleam's terms.
-module(gleeunit_standin).
-behaviour(eunit_listener).

-export([main/0]).
-export([start/1, init/1, handle_begin/3, handle_end/3, handle_cancel/3, terminate/2]).

-spec main() -> no_return().
main() ->
    ok = io:setopts(standard_io, [{encoding, unicode}]),
    Tests = [{timeout, 60, {spawn, {Module, Function}}} || Module <- modules(), Function <- functions(Module)],
    _ = eunit:test(Tests, [no_tty, {report, {?MODULE, [self()]}}]),
    receive
        {?MODULE, Passed, Failed} -> halt(min(Failed, 1) bor no_test(Passed + Failed))
    end.

no_test(0) -> 1;
no_test(_) -> 0.

modules() ->
    Files = filelib:wildcard("**/*.{gleam,erl}", "test"),
    [list_to_atom(lists:flatten(string:replace(filename:rootname(File), "/", "@", all)))
     || File <- lists:sort(Files), filename:extension(File) =:= ".gleam" orelse filename:dirname(File) =:= "."].

functions(Module) ->
    {module, Module} = code:ensure_loaded(Module),
    [Function || {Function, 0} <- Module:module_info(exports), lists:suffix("_test", atom_to_list(Function))].

%% The listener.

-spec start([pid()]) -> pid().
start([Parent]) ->
    eunit_listener:start(?MODULE, [Parent]).

-spec init([pid()]) -> tuple().
init([Parent]) ->
    {Parent, 0, 0}.

-spec handle_begin(atom(), list(), State) -> State.
handle_begin(_Kind, _Data, State) ->
    State.

-spec handle_end(atom(), list(), State) -> State.
handle_end(test, Data, {Parent, Passed, Failed}) ->
    case proplists:get_value(status, Data) of
        ok ->
            io:put_chars("\e[32m.\e[39m"),
            {Parent, Passed + 1, Failed};
        {error, Crash} ->
            report(Data, Crash),
            {Parent, Passed, Failed + 1};
        {skipped, Why} ->
            report(Data, {skipped, Why, []}),
            {Parent, Passed, Failed + 1}
    end;
handle_end(group, _Data, State) ->
    State.

-spec handle_cancel(atom(), list(), State) -> State.
handle_cancel(_Kind, Data, {Parent, Passed, Failed} = State) ->
    case proplists:get_value(reason, Data) of
        undefined ->
            State;
        Reason ->
            report(Data, {cancelled, Reason, []}),
            {Parent, Passed, Failed + 1}
    end.

-spec terminate(term(), tuple()) -> term().
terminate(_Result, {Parent, Passed, Failed}) ->
    case {Passed, Failed} of
        {0, 0} -> io:format("\e[31mNo tests found!\e[39m~n");
        {_, 0} -> io:format("~n\e[32m~b passed, no failures\e[39m~n", [Passed]);
        _ -> io:format("~n\e[31m~b passed, ~b failures\e[39m~n", [Passed, Failed])
    end,
    Parent ! {?MODULE, Passed, Failed}.

report(Data, {Class, Reason, Stack}) ->
    {Module, Function, _} = proplists:get_value(source, Data, {'?', '?', 0}),
    Name = string:replace(atom_to_list(Module), "@", "/", all),
    io:format("~n\e[31mFAILED\e[39m ~ts.~ts~n", [Name, Function]),
    explain(Class, Reason, Stack).

explain(_Class, #{gleam_error := Kind, file := File, line := Line, message := Message} = Panic, _Stack) ->
    io:format("  ~ts:~b: ~ts: ~ts~n", [File, Line, Kind, Message]),
    [io:format("    ~ts: ~ts~n", [Key, gleam_inspect_standin:inspect(value(map_get(Key, Panic)))])
     || Key <- [value, left, right], is_map_key(Key, Panic)];
explain(Class, Reason, Stack) ->
    io:format("  ~ts: ~tP~n  ~tP~n", [Class, Reason, 100, Stack, 30]).

value(#{value := Value}) -> Value;
value(Value) -> Value.
