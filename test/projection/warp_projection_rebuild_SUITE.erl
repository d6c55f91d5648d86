%% Rebuilding projections, against each target.
-module(warp_projection_rebuild_SUITE).

-export([all/0, suite/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([the_same_rows/1, serves_meanwhile/1, another_project/1, can_be_cancelled/1, goes_on_after_a_stop/1,
         a_new_version_restarts/1, set_aside_again/1, says_how_far/1, again_and_again/1, killed_processes/1,
         ahead_of_the_log/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_projection_test, [start/2, start/3, rows/2, await/1, await_all/1, dump/1, even/1]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, embedded}, {group, rqlite}].

groups() ->
    warp_projection_test:groups(
        [the_same_rows, serves_meanwhile, another_project, can_be_cancelled, goes_on_after_a_stop,
         a_new_version_restarts, set_aside_again, says_how_far, again_and_again, killed_processes,
         ahead_of_the_log]).

init_per_group(Group, Config) -> warp_projection_test:init_group(Group, Config).
end_per_group(_Group, Config) -> warp_projection_test:end_group(Config).
init_per_testcase(_Case, Config) -> warp_projection_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_projection_test:end_case(Config).

%% A shop with so many orders of ten events, all projected.
shop(Config, Orders) -> shop(Config, Orders, #{}).

shop(Config, Orders, Options) ->
    Ctx = start(Config, [warp_projection_test:shop()], Options),
    Entities = warp_test:parallel(Orders, fun(N) ->
        Entity = warp_core:entity(Ctx, <<"o", (integer_to_binary(N))/binary>>),
        Customer = <<"c", (integer_to_binary(N rem 7))/binary>>,
        {ok, _} = warp_core:append_batch(Entity, [warp_projection_test:placed(Customer, A) || A <- lists:seq(1, 10)]),
        Entity
    end),
    await_all(Entities),
    {Ctx, Entities}.

rebuild(Ctx) ->
    ?assertEqual(ok, warp_projection:rebuild(Ctx)),
    rebuilt(Ctx).

rebuilt(Ctx) ->
    case warp_projection:await_rebuild(Ctx, 120000) of
        ok -> ok;
        {error, not_running} -> ?assertMatch({ok, #{state := none}}, warp_projection:rebuild_progress(Ctx))
    end.

%% Halts the projectors that fill the new tables.
halted(Ctx, Fun) ->
    {ok, Context} = warp_context:find(Ctx),
    {ok, Live} = warp_projection_table:generation(Context),
    Pids = [Pid || {_, Pid} <- warp_projection_table:projectors(Context, Live + 1)],
    [catch sys:suspend(Pid) || Pid <- Pids],
    Result = Fun(Pids),
    [catch sys:resume(Pid) || Pid <- Pids],
    Result.

the_same_rows(Config) ->
    {Ctx, Entities} = shop(Config, 40),
    [{ok, _} = warp_core:append(E, warp_projection_test:event(<<"Cancelled">>, #{}))
     || E <- lists:sublist(Entities, 10)],
    await_all(Entities),
    Before = dump(Ctx),
    rebuild(Ctx),
    ?assertEqual(Before, dump(Ctx)),
    %% Nothing of the old or the new set is left behind under another name.
    ?assertEqual([[<<"customers">>], [<<"orders">>]],
                 rows(Ctx, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '#_warp%' ESCAPE '#'"
                           " AND name NOT LIKE 'sqlite#_%' ESCAPE '#' ORDER BY name")),
    ?assertEqual([], rows(Ctx, "SELECT name FROM sqlite_schema WHERE name LIKE '%new%'")),
    %% It goes on from there, also after a restart.
    Again = warp_test:restart(Ctx),
    A = warp_core:entity(Again, <<"o40">>),
    {ok, _} = warp_core:append(A, warp_projection_test:placed(<<"new">>, 1)),
    await(A),
    ?assertEqual([[56]], rows(Again, "SELECT total FROM orders WHERE id = 'o40'")).

serves_meanwhile(Config) ->
    {Ctx, [First | _] = Entities} = shop(Config, 20),
    ok = warp_projection:rebuild(Ctx),
    halted(Ctx, fun(_) ->
        lists:foreach(
            fun(N) ->
                {ok, _} = warp_core:append(First, warp_projection_test:placed(1)),
                await(First),
                ?assertEqual([[55 + N]], rows(Ctx, "SELECT total FROM orders WHERE id = 'o1'"))
            end,
            lists:seq(1, 10))
    end),
    %% Also while they are exchanged.
    Self = self(),
    Reader = spawn_link(fun() -> read_on(Ctx, Self) end),
    [{ok, _} = warp_core:append(E, warp_projection_test:placed(1)) || _ <- lists:seq(1, 5), E <- Entities],
    rebuilt(Ctx),
    Reader ! stop,
    receive {read, Counts} -> ?assertEqual([20], lists:usort(Counts)) end,
    await_all(Entities),
    ?assertEqual([[70]], rows(Ctx, "SELECT total FROM orders WHERE id = 'o1'")),
    ?assertEqual([[310]], rows(Ctx, "SELECT sum(orders) FROM customers")).

read_on(Ctx, Parent) -> read_on(Ctx, Parent, []).
read_on(Ctx, Parent, Counts) ->
    receive
        stop -> Parent ! {read, Counts}
    after 0 ->
        [[Count]] = rows(Ctx, "SELECT count(*) FROM orders"),
        read_on(Ctx, Parent, [Count | Counts])
    end.

another_project(Config) ->
    {Ctx, _} = shop(Config, 10),
    ?assertMatch({ok, #{rebuild_due := false}}, warp_projection:status(Ctx)),
    Shop = warp_projection_test:shop(),
    Other = Shop#{version => 2, project => fun(Id, #{total := T}, _) ->
        [warp_projection:upsert(totals, Id, #{doubled => 2 * T})]
    end},
    Changed = warp_test:restart(Ctx, #{aggregates => [Other]}),
    warp_test:wait_until(fun() ->
        {ok, #{rebuild_due := Due}} = warp_projection:status(Changed),
        Due
    end),
    ?assertEqual([[10]], rows(Changed, "SELECT count(*) FROM orders")),
    rebuild(Changed),
    ?assertMatch({ok, #{rebuild_due := false}}, warp_projection:status(Changed)),
    ?assertEqual([[10, 110]], rows(Changed, "SELECT count(*), max(doubled) FROM totals")),
    ?assertEqual([[0]], rows(Changed, "SELECT count(*) FROM sqlite_schema WHERE name IN ('orders', 'customers')")),
    Again = warp_test:restart(Changed),
    ?assertMatch({ok, #{rebuild_due := false}}, warp_projection:status(Again)).

can_be_cancelled(Config) ->
    {Ctx, _} = shop(Config, 20),
    Before = dump(Ctx),
    ?assertEqual({error, not_running}, warp_projection:cancel_rebuild(Ctx)),
    ?assertEqual({error, not_running}, warp_projection:await_rebuild(Ctx, 1000)),
    Done = cancelled_midway(Ctx, 20),
    ?assertEqual({error, cancelled}, warp_projection:await_rebuild(Ctx, 1000)),
    ?assertMatch({ok, #{state := cancelled}}, warp_projection:rebuild_progress(Ctx)),
    ?assertEqual(Before, dump(Ctx)),
    %% Cancelled is remembered, and what was done as well.
    Again = warp_test:restart(Ctx),
    warp_test:wait_until(fun() ->
        {ok, #{state := State}} = warp_projection:rebuild_progress(Again),
        State =:= cancelled
    end),
    ?assertMatch([[Events]] when Events >= Done,
                 rows(Again, "SELECT sum(events) FROM _warp_checkpoints WHERE building = 1")),
    rebuild(Again),
    ?assertEqual(Before, dump(Again)).

%% Begins a rebuild and cancels it before it can end.
cancelled_midway(Ctx, Attempts) when Attempts > 0 ->
    {ok, Context} = warp_context:find(Ctx),
    Manager = hd([Pid || {manager, Pid} <- warp_test:processes(Ctx)]),
    ok = warp_projection:rebuild(Ctx),
    {ok, Live} = warp_projection_table:generation(Context),
    ok = sys:suspend(Manager),
    %% Asked for now, done as the next thing.
    Self = self(),
    spawn_link(fun() -> Self ! {cancelled, warp_projection:cancel_rebuild(Ctx)} end),
    warp_test:wait_until(fun() ->
        warp_projection_progress:events(warp_projection_table:positions(Context, Live + 1)) > 0
    end),
    ok = sys:resume(Manager),
    case receive {cancelled, Result} -> Result end of
        ok ->
            1;
        {error, not_running} ->
            rebuilt(Ctx),
            cancelled_midway(Ctx, Attempts - 1)
    end.

goes_on_after_a_stop(Config) ->
    {Ctx, _} = shop(Config, 20),
    Before = dump(Ctx),
    {ok, Context} = warp_context:find(Ctx),
    {ok, Live} = warp_projection_table:generation(Context),
    Manager = hd([Pid || {manager, Pid} <- warp_test:processes(Ctx)]),
    ok = warp_projection:rebuild(Ctx),
    ok = sys:suspend(Manager),
    _ = Live,
    %% Killed with it, so that it had no chance to end.
    exit(Manager, kill),
    Again = warp_test:restart(Ctx),
    rebuilt(Again),
    ?assertEqual(Before, dump(Again)),
    {ok, Now} = warp_context:find(Again),
    warp_test:wait_until(fun() -> warp_projection_table:generation(Now) =:= {ok, 2} end, 60000).

a_new_version_restarts(Config) ->
    {Ctx, _} = shop(Config, 20),
    _ = cancelled_midway(Ctx, 20),
    Shop = warp_projection_test:shop(),
    Other = Shop#{version => 2, project => fun(Id, #{total := T}, _) ->
        [warp_projection:upsert(orders, Id, #{total => -T})]
    end},
    Changed = warp_test:restart(Ctx, #{aggregates => [Other]}),
    await(warp_core:entity(Changed, <<"o1">>)),
    rebuild(Changed),
    ?assertEqual([[20, -55, -55]], rows(Changed, "SELECT count(*), min(total), max(total) FROM orders")).

set_aside_again(Config) ->
    {Ctx, [First | _]} = shop(Config, 5),
    {ok, _} = warp_core:append(First, warp_projection_test:event(<<"Crash">>, #{})),
    {ok, _} = warp_core:append(First, warp_projection_test:placed(1)),
    {error, {set_aside, 11}} = warp_core:await_projection(First, 60000),
    rebuild(Ctx),
    ?assertEqual({error, {set_aside, 11}}, warp_core:await_projection(First, 60000)),
    ?assertMatch({ok, [#{seq := 11, waiting := 1}]}, warp_projection:set_aside(Ctx)),
    ?assertEqual([[55]], rows(Ctx, "SELECT total FROM orders WHERE id = 'o1'")).

says_how_far(Config) ->
    {Ctx, _} = shop(Config, 50),
    ?assertMatch({ok, #{state := none, due := false, done := 0}}, warp_projection:rebuild_progress(Ctx)),
    ok = warp_projection:rebuild(Ctx),
    halted(Ctx, fun(_) ->
        {ok, Progress} = warp_projection:rebuild_progress(Ctx),
        ?assertMatch(#{state := _, done := _, total := _, rate := _, seconds_left := _}, Progress)
    end),
    case warp_projection:rebuild(Ctx) of
        {error, already_running} -> ok;
        ok -> ok
    end,
    rebuilt(Ctx),
    {ok, #{total := Total}} = warp_projection:rebuild_progress(Ctx),
    ?assertEqual(500, Total).

again_and_again(Config) ->
    {Ctx, Entities} = shop(Config, 10),
    Load = spawn_link(fun() -> append_on(Entities) end),
    [rebuild(Ctx) || _ <- lists:seq(1, 5)],
    Load ! {stop, self()},
    receive stopped -> ok end,
    await_all(Entities),
    Before = dump(Ctx),
    rebuild(Ctx),
    ?assertEqual(Before, dump(Ctx)).

append_on(Entities) ->
    receive
        {stop, From} -> From ! stopped
    after 5 ->
        [{ok, _} = warp_core:append(E, warp_projection_test:placed(1)) || E <- Entities],
        append_on(Entities)
    end.

killed_processes(Config) ->
    {Ctx, Entities} = shop(Config, 20),
    Before = dump(Ctx),
    lists:foreach(
        fun(Part) ->
            ok = case warp_projection:rebuild(Ctx) of {error, already_running} -> ok; ok -> ok end,
            [exit(Pid, kill) || {P, Pid} <- warp_test:processes(Ctx), P =:= Part],
            warp_test:wait_until(fun() ->
                case warp_projection:rebuild_progress(Ctx) of
                    {ok, #{state := none, total := 200}} -> true;
                    {ok, #{state := cancelled}} -> warp_projection:rebuild(Ctx) =:= again;
                    Other -> Other
                end
            end, 60000),
            await_all(Entities),
            ?assertEqual({Part, Before}, {Part, dump(Ctx)})
        end,
        [writer, projector, manager, projection_sup]).

%% As after a power failure without fsyncs: the log has lost its last events, the tables have them.
ahead_of_the_log(Config) ->
    {Ctx, Entities} = shop(Config, 5, #{shards => 1}),
    Dir = warp_test:context_dir(Ctx),
    warp_test:stop(Ctx),
    Copied = [{filename:join(Dir, File), filename:join(?config(dir, Config), "copy of " ++ File)}
              || File <- ["shard-0000.db", "shard-0000.sums"]],
    [{ok, _} = file:copy(File, Copy) || {File, Copy} <- Copied],
    Before = start(Config, [warp_projection_test:shop()], #{shards => 1}),
    Lost = warp_core:entity(Before, <<"lost">>),
    {ok, _} = warp_core:append(Lost, warp_projection_test:placed(<<"lost">>, 1)),
    {ok, _} = warp_core:append(Lost, warp_projection_test:placed(<<"lost">>, 1)),
    await(Lost),
    warp_test:stop(Before),
    [{ok, _} = file:copy(Copy, File) || {File, Copy} <- Copied],
    After = start(Config, [warp_projection_test:shop()], #{shards => 1}),
    First = warp_core:entity(After, <<"o1">>),
    {ok, _} = warp_core:append(First, warp_projection_test:placed(1)),
    ?assertEqual({error, rebuild_due}, warp_core:await_projection(First, 30000)),
    rebuild(After),
    await(First),
    ?assertEqual([[56]], rows(After, "SELECT total FROM orders WHERE id = 'o1'")),
    ?assertEqual([], rows(After, "SELECT * FROM orders WHERE id = 'lost'")),
    ?assertEqual([[length(Entities)]], rows(After, "SELECT count(*) FROM orders")).
