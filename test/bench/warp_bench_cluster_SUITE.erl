%% The benchmark of clusters, with little of everything: that it runs to its end, and says what it should.
-module(warp_bench_cluster_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([it_runs/1]).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [it_runs].

init_per_testcase(_Case, Config) ->
    [{dir, warp_test:new_dir()} | Config].

end_per_testcase(_Case, Config) ->
    warp_test:remove_dir(proplists:get_value(dir, Config)).

it_runs(Config) ->
    Dir = proplists:get_value(dir, Config),
    Options = #{seconds => 1, shards => 2,
                sizes => #{rounds => 1, callers => [16], shards => 10, entities => 500, events => 20000, moves => 2}},
    ok = ct:capture_start(),
    ok = warp_bench_run:machine(Dir, Options),
    ok = warp_bench_cluster:cluster(Options#{dir => filename:join(Dir, "cluster")}),
    ok = ct:capture_stop(),
    Said = unicode:characters_to_binary(ct:capture_get([])),
    [?assertMatch({Row, [_ | _]}, {Row, binary:matches(Said, Row)})
     || Row <- [<<"16 caller(s), local">>, <<"16 caller(s), one hop">>, <<"where a shard is">>,
                <<"while shards move">>, <<"of 10 shards">>, <<"that moved">>, <<"move 2">>, <<"in 2 moves">>,
                <<"share the">>, <<"Not measured">>]],
    ?assertEqual([], [Row || {Row, {Rate, _}} <- maps:to_list(warp_bench_run:measured()), Rate =< 0]).
