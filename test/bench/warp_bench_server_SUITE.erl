%% The benchmark of the server, with little of everything: that it runs to its end, and says what it should.
-module(warp_bench_server_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([it_runs/1, beside_postgresql/1, what_cannot_be_had_is_skipped/1]).

-define(ONE, <<"append, 1 connection, 2 in flight">>).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [it_runs, what_cannot_be_had_is_skipped]
             ++ [beside_postgresql || filelib:wildcard("/usr/lib/postgresql/*/bin/initdb") =/= []].

%% The benchmark's scripts are called from the project's folder.
init_per_testcase(_Case, Config) ->
    {ok, Before} = file:get_cwd(),
    ok = file:set_cwd(warp_fault_vm:root()),
    [{dir, warp_test:new_dir()}, {before, Before} | Config].

end_per_testcase(_Case, Config) ->
    ok = file:set_cwd(proplists:get_value(before, Config)),
    warp_test:remove_dir(proplists:get_value(dir, Config)).

it_runs(Config) ->
    Said = said(Config, #{clients => [warp], appends => [{1, 2}, {3, 1}], subscriptions => 50}),
    has(Said, [<<?ONE/binary, " .*\n  server +[0-9]">>, <<"append, 3 connections, 1 in flight .*\n  server +[0-9]">>,
               <<"50 subscriptions.*\n.*before(.* MB){3}\n.*while they are open(.* MB){3}\n.*for each(.* B){3}">>]),
    #{<<?ONE/binary, ": server">> := {Rate, _}} = Measured = warp_bench_run:measured(),
    ?assertEqual(2, maps:size(Measured)),
    ?assert(Rate > 0).

beside_postgresql(Config) ->
    Said = said(Config, #{clients => [warp, postgres], appends => [{1, 2}, {3, 1}], subscriptions => 1}),
    has(Said, [<<?ONE/binary, " .*\n  server +[0-9].*\n  PostgreSQL +[0-9]">>]),
    ?assertEqual([], [Row || {Row, {Rate, _}} <- maps:to_list(warp_bench_run:measured()), Rate =< 0]),
    ?assertEqual(4, maps:size(warp_bench_run:measured())).

%% A machine without `node'.
what_cannot_be_had_is_skipped(Config) ->
    Path = os:getenv("PATH"),
    Programs = filename:join(proplists:get_value(dir, Config), "programs"),
    ok = filelib:ensure_path(Programs),
    ok = file:write_file(filename:join(Programs, "node"), "#!/bin/sh\necho there is no Node\nexit 1\n"),
    ok = file:change_mode(filename:join(Programs, "node"), 8#755),
    true = os:putenv("PATH", Programs ++ ":" ++ Path),
    try said(Config, #{clients => [warp, node], appends => [{1, 2}], subscriptions => 1}) of
        Said -> has(Said, [<<"by warp-db in Node is skipped: (.*\n)*.*there is no Node">>, <<"\n  server +[0-9]">>])
    after
        true = os:putenv("PATH", Path)
    end.

said(Config, Sizes) ->
    Dir = proplists:get_value(dir, Config),
    Options = #{seconds => 1, shards => 2, sizes => Sizes#{rounds => 1}},
    ok = ct:capture_start(),
    ok = warp_bench_run:machine(Dir, Options),
    ok = warp_bench_server:server(Options#{dir => filename:join(Dir, "server")}),
    ok = ct:capture_stop(),
    unicode:characters_to_binary(ct:capture_get([])).

has(Said, Patterns) ->
    [?assertMatch({_, _, match}, {Pattern, Said, re:run(Said, Pattern, [{capture, none}])}) || Pattern <- Patterns].
