%% SIGKILL of the VM at any moment, while events are appended and projected, entities deleted and
%% tables rebuilt. After each, the read model is the fold of the log, row by row.
-module(warp_projection_crash_SUITE).

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([nothing_is_repeated_or_skipped_after_a_kill/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(PATIENCE_MS, 120000).

suite() -> [{timetrap, {minutes, 30}}].
all() -> [nothing_is_repeated_or_skipped_after_a_kill].
init_per_testcase(_Case, Config) -> warp_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_test:end_case(Config).

nothing_is_repeated_or_skipped_after_a_kill(Config) ->
    Rounds = case os:getenv("WARP_LONG") of false -> 20; _ -> 100 end,
    Opts = #{context => <<"test">>, data_dir => ?config(dir, Config), shards => 3, projections => embedded},
    Left = lists:foldl(fun(Round, Sum) -> Sum + round(Round, Opts) end, 0, lists:seq(1, Rounds)),
    ct:pal("~b rounds, ~b events in the end of each", [Rounds, Left]),
    ?assert(Left > 100 * Rounds).

round(Round, Opts) ->
    Vm = warp_load_vm:start(warp_projection_crash_load, Opts#{from => Round * 1000000}),
    timer:sleep(rand:uniform(400)),
    warp_load_vm:kill(Vm),
    Ctx = warp_test:start(Opts#{aggregates => [warp_read_model:aggregate()]}),
    {ok, Context} = warp_context:find(Ctx),
    %% What was being deleted is deleted to its end, or was never begun.
    warp_test:wait_until(fun() -> warp_erasure_holds:all(Context) =:= [] end, ?PATIENCE_MS),
    warp_read_model:assert_equal(Ctx, ?PATIENCE_MS),
    %% A rebuild that was cut short goes on by itself, and makes the same rows.
    _ = warp_projection:await_rebuild(Ctx, ?PATIENCE_MS),
    warp_read_model:assert_equal(Ctx, ?PATIENCE_MS),
    #{parcels := Parcels} = warp_read_model:actual(Ctx),
    warp_test:stop(Ctx),
    [?assertEqual({File, [<<"ok">>]}, {File, warp_test:sqlite(File, "PRAGMA integrity_check")})
     || Name <- ["projections.db", "erasures.db"], File <- [filename:join([maps:get(data_dir, Opts), "test", Name])]],
    lists:sum([Count || [_, Count | _] <- Parcels]).
