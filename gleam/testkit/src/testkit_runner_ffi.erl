%% Runs tests written in Gleam with EUnit, and reports failures in Gleam's terms.
-module(testkit_runner_ffi).
-behaviour(eunit_listener).

-export([main/0]).
-export([start/1, init/1, handle_begin/3, handle_end/3, handle_cancel/3, terminate/2]).

%% For one test. Disks of busy machines were seen to stall for 15 seconds.
-define(SECONDS, 120).

main() ->
    ok = io:setopts(standard_io, [{encoding, unicode}]),
    %% Tests kill processes on purpose.
    ok = logger:set_primary_config(level, none),
    Tests = [test(Module, Function) || Module <- modules(), Function <- functions(Module)],
    %% EUnit's own report shows Gleam's failures as bare maps.
    _ = eunit:test(Tests, [no_tty, {report, {?MODULE, [self()]}}]),
    receive
        {?MODULE, Failed} -> halt(min(Failed, 1))
    end.

modules() ->
    Found = [list_to_binary(File) || File <- filelib:wildcard("**/*_test.gleam", "test")],
    All = [name(File) || File <- lists:sort(Found)],
    case [list_to_atom(Name) || Name <- init:get_plain_arguments()] of
        [] -> All;
        Chosen -> [Module || Module <- All, lists:member(Module, Chosen)]
    end.

name(File) ->
    Name = filename:rootname(File, <<".gleam">>),
    binary_to_atom(binary:replace(Name, <<"/">>, <<"@">>, [global])).

functions(Module) ->
    {module, Module} = code:ensure_loaded(Module),
    [Function || {Function, 0} <- Module:module_info(exports),
                 lists:suffix("_test", atom_to_list(Function))].

test(Module, Function) ->
    {timeout, ?SECONDS, {spawn, {Module, Function}}}.

%% The listener.

start([Parent]) ->
    eunit_listener:start(?MODULE, [Parent]).

init([Parent]) ->
    {Parent, 0, 0}.

handle_begin(_Kind, _Data, State) ->
    State.

handle_end(test, Data, {Parent, Passed, Failed}) ->
    case proplists:get_value(status, Data) of
        ok ->
            {Parent, Passed + 1, Failed};
        {error, Crash} ->
            report(Data, Crash),
            {Parent, Passed, Failed + 1};
        {skipped, Why} ->
            report(Data, {error, Why, []}),
            {Parent, Passed, Failed + 1}
    end;
handle_end(group, _Data, State) ->
    State.

handle_cancel(test, Data, {Parent, Passed, Failed}) ->
    report(Data, {error, proplists:get_value(reason, Data), []}),
    {Parent, Passed, Failed + 1};
handle_cancel(group, Data, {Parent, Passed, Failed}) ->
    case proplists:get_value(reason, Data) of
        undefined ->
            {Parent, Passed, Failed};
        Reason ->
            report(Data, {error, Reason, []}),
            {Parent, Passed, Failed + 1}
    end.

terminate(_Result, {Parent, Passed, Failed}) ->
    io:format("~b tests, ~b failures~n", [Passed + Failed, Failed]),
    Parent ! {?MODULE, Failed}.

report(Data, {Class, Reason, Stack}) ->
    {Module, Function, _} = proplists:get_value(source, Data, {'?', '?', 0}),
    io:format("~nFAILED ~ts.~ts~n", [binary:replace(atom_to_binary(Module), <<"@">>, <<"/">>, [global]), Function]),
    explain(Class, Reason, Stack).

explain(_Class, #{gleam_error := Kind, file := File, line := Line, message := Message} = Panic, _Stack) ->
    io:format("  ~ts:~b: ~ts: ~ts~n", [File, Line, Kind, Message]),
    [io:format("    ~ts: ~tP~n", [Key, value(maps:get(Key, Panic)), 100])
     || Key <- [value, left, right], is_map_key(Key, Panic)];
explain(Class, Reason, Stack) ->
    io:format("  ~ts: ~tP~n  ~tP~n", [Class, Reason, 100, Stack, 30]).

value(#{value := Value}) -> Value;
value(Value) -> Value.
