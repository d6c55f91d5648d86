%% Tables that follow another log than the one that is there: an older copy of a shard was put back.
-module(warp_projection_fork_SUITE).

-export([all/0, suite/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([an_older_copy_grows_past/1, an_older_copy_is_shorter/1, a_whole_folder/1, tables_of_an_earlier_version/1,
         the_right_file_comes_back/1, put_back_while_it_runs/1, what_a_rebuild_had_done/1,
         restarts_and_kills_are_no_forks/1, starts_under_load/1]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_projection_test, [start/2, start/3, rows/2, await/1, await_all/1, even/1]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, embedded}, {group, rqlite}].

groups() ->
    warp_projection_test:groups(
        [an_older_copy_grows_past, an_older_copy_is_shorter, a_whole_folder, tables_of_an_earlier_version,
         the_right_file_comes_back, put_back_while_it_runs, what_a_rebuild_had_done,
         restarts_and_kills_are_no_forks, starts_under_load]).

init_per_group(Group, Config) -> warp_projection_test:init_group(Group, Config).
end_per_group(_Group, Config) -> warp_projection_test:end_group(Config).
init_per_testcase(starts_under_load, Config) ->
    %% The target has no part in it.
    case ?config(target, Config) of
        embedded -> warp_projection_test:init_case(Config);
        rqlite -> {skip, "the same for every target"}
    end;
init_per_testcase(_Case, Config) -> warp_projection_test:init_case(Config).
end_per_testcase(_Case, Config) -> warp_projection_test:end_case(Config).

start(Config) -> start(Config, [warp_projection_test:shop()], #{shards => 1}).

placed(Ctx, Ids, Customer) ->
    Entities = [warp_core:entity(Ctx, Id) || Id <- Ids],
    [{ok, _} = warp_core:append(E, warp_projection_test:placed(Customer, 1)) || E <- Entities],
    Entities.

ids(Prefix, Count) -> [<<Prefix/binary, (integer_to_binary(N))/binary>> || N <- lists:seq(1, Count)].

%% A context with ten orders that was stopped, a copy of its folder, and the same with ten others that
%% the copy does not have.
copied(Config) ->
    Ctx = start(Config),
    await_all(placed(Ctx, ids(<<"kept">>, 10), <<"kept">>)),
    Dir = warp_test:context_dir(Ctx),
    warp_test:stop(Ctx),
    Copy = filename:join(?config(dir, Config), "copy"),
    copy_files(Dir, Copy, "*"),
    Later = start(Config),
    await_all(placed(Later, ids(<<"lost">>, 10), <<"lost">>)),
    {Later, Dir, Copy}.

copy_files(From, To, Which) ->
    ok = filelib:ensure_path(To),
    [{ok, _} = file:copy(filename:join(From, Name), filename:join(To, Name))
     || Name <- filelib:wildcard(Which, From)],
    ok.

%% An older copy of the shard alone is put back.
put_back(Config) ->
    {Ctx, Dir, Copy} = copied(Config),
    warp_test:stop(Ctx),
    copy_files(Copy, Dir, "shard-*"),
    start(Config).

says_so(Ctx, Entity) ->
    ?assertEqual({error, rebuild_due}, warp_core:await_projection(Entity, 30000)),
    {ok, Status} = warp_projection:status(Ctx),
    ?assertMatch(#{rebuild_due := true, shards := [#{state := stalled, since := _, why := {rebuild_due, _}}]}, Status),
    ?assertMatch(#{projections := #{rebuild_due := true}}, warp_core:stats(Ctx)),
    ?assertMatch({ok, #{due := true}}, warp_projection:rebuild_progress(Ctx)),
    ?assertEqual({error, rebuild_due}, warp_projection:retry(Ctx, <<"kept1">>)).

is_right(Ctx, Expected) ->
    even(Ctx),
    ?assertEqual(lists:sort(Expected), lists:sort(lists:append(rows(Ctx, "SELECT id FROM orders")))),
    {ok, Status} = warp_projection:status(Ctx),
    #{rebuild_due := false, shards := [#{state := State}]} = Status,
    ?assertNotEqual(stalled, State).

rebuilt(Ctx, Expected) ->
    ok = warp_projection:rebuild(Ctx),
    ok = warp_projection:await_rebuild(Ctx, 60000),
    is_right(Ctx, Expected).

an_older_copy_grows_past(Config) ->
    Ctx = put_back(Config),
    New = placed(Ctx, ids(<<"new">>, 25), <<"new">>),
    says_so(Ctx, hd(New)),
    Again = warp_test:restart(Ctx),
    says_so(Again, warp_core:entity(Again, <<"new1">>)),
    %% A deletion goes on, also of rows that no log has any more.
    ?assertEqual(ok, warp_core:delete(warp_core:entity(Again, <<"new25">>))),
    ?assertEqual(ok, warp_core:delete(warp_core:entity(Again, <<"lost1">>))),
    ?assertEqual([[9]], rows(Again, "SELECT count(*) FROM orders WHERE id LIKE 'lost%'")),
    rebuilt(Again, ids(<<"kept">>, 10) ++ ids(<<"new">>, 24)),
    ?assertEqual([[24]], rows(Again, "SELECT orders FROM customers WHERE id = 'new'")),
    await_all(placed(Again, ids(<<"new">>, 1), <<"new">>)),
    is_right(warp_test:restart(Again), ids(<<"kept">>, 10) ++ ids(<<"new">>, 24)).

an_older_copy_is_shorter(Config) ->
    Ctx = put_back(Config),
    says_so(Ctx, warp_core:entity(Ctx, <<"kept1">>)),
    rebuilt(Ctx, ids(<<"kept">>, 10)).

%% With the tables in it, the folder is as it was. Elsewhere they are those of a later log.
a_whole_folder(Config) ->
    {Ctx, Dir, Copy} = copied(Config),
    warp_test:stop(Ctx),
    ok = file:del_dir_r(Dir),
    copy_files(Copy, Dir, "*"),
    Again = start(Config),
    New = placed(Again, ids(<<"new">>, 25), <<"new">>),
    case ?config(target, Config) of
        embedded ->
            await_all(New),
            is_right(Again, ids(<<"kept">>, 10) ++ ids(<<"new">>, 25));
        rqlite ->
            says_so(Again, hd(New)),
            rebuilt(Again, ids(<<"kept">>, 10) ++ ids(<<"new">>, 25))
    end.

%% Tables that do not tell which log they follow are taken to follow the one that is there.
tables_of_an_earlier_version(Config) ->
    Ctx = start(Config),
    await_all(placed(Ctx, ids(<<"kept">>, 10), <<"kept">>)),
    {ok, Context} = warp_context:find(Ctx),
    {ok, {Module, Target}} = warp_projection_table:target(Context),
    ok = Module:execute(Target, [{<<"DROP TABLE _warp_runs">>, [[]]}]),
    Again = warp_test:restart(Ctx),
    is_right(Again, ids(<<"kept">>, 10)),
    await_all(placed(Again, ids(<<"more">>, 1), <<"more">>)),
    ?assertMatch([[0, 0, Run]] when Run > 0, rows(Again, "SELECT building, shard, run FROM _warp_runs")),
    is_right(warp_test:restart(Again), [<<"more1">> | ids(<<"kept">>, 10)]).

the_right_file_comes_back(Config) ->
    {Ctx, Dir, Copy} = copied(Config),
    warp_test:stop(Ctx),
    Right = filename:join(?config(dir, Config), "right"),
    copy_files(Dir, Right, "shard-*"),
    copy_files(Copy, Dir, "shard-*"),
    Wrong = start(Config),
    says_so(Wrong, hd(placed(Wrong, [<<"wrong">>], <<"wrong">>))),
    warp_test:stop(Wrong),
    copy_files(Right, Dir, "shard-*"),
    is_right(start(Config), ids(<<"kept">>, 10) ++ ids(<<"lost">>, 10)).

%% The shard's file is lost, and an operator puts an older copy in its place without a stop. The journal has what the
%% copy lacks.
put_back_while_it_runs(Config) ->
    {Ctx, Dir, Copy} = copied(Config),
    {ok, Context} = warp_context:find(Ctx),
    {ok, Handle} = warp_context:shard(Context, 0),
    Lost = filename:join(?config(dir, Config), "lost"),
    ok = filelib:ensure_path(Lost),
    [ok = file:rename(filename:join(Dir, Name), filename:join(Lost, Name))
     || Name <- filelib:wildcard("shard-*", Dir)],
    kill_owner(Ctx),
    warp_test:wait_until(fun() -> warp_context:shard(Context, 0) =/= {ok, Handle} end),
    copy_files(Copy, Dir, "shard-*"),
    warp_test:wait_until(fun() -> element(1, warp_context:shard(Context, 0)) =:= ok end, 30000),
    await_all(placed(Ctx, ids(<<"new">>, 25), <<"new">>)),
    is_right(Ctx, ids(<<"kept">>, 10) ++ ids(<<"lost">>, 10) ++ ids(<<"new">>, 25)).

kill_owner(Ctx) ->
    {ok, #{running := Running}} = warp_context:find(Ctx),
    Owner = ets:lookup_element(Running, {owner, 0}, 2),
    exit(Owner, kill),
    %% The next one starts after all processes below the previous one have ended.
    warp_test:wait_until(fun() -> ets:lookup_element(Running, {owner, 0}, 2) =/= Owner end).

%% A rebuild that was cut short had followed the other log too, and restarts.
what_a_rebuild_had_done(Config) ->
    {Ctx, Dir, Copy} = copied(Config),
    {ok, Context} = warp_context:find(Ctx),
    {ok, Manager} = warp_projection_table:process(Context, manager),
    ok = warp_projection:rebuild(Ctx),
    %% So that the rebuild does not end.
    ok = sys:suspend(Manager),
    At = "SELECT position FROM _warp_checkpoints WHERE building = 1",
    warp_test:wait_until(fun() -> rows(Ctx, At) =:= [[20]] end),
    warp_test:stop(Ctx),
    copy_files(Copy, Dir, "shard-*"),
    Again = start(Config),
    _ = placed(Again, ids(<<"new">>, 25), <<"new">>),
    _ = warp_projection:await_rebuild(Again, 60000),
    is_right(Again, ids(<<"kept">>, 10) ++ ids(<<"new">>, 25)).

restarts_and_kills_are_no_forks(Config) ->
    Last = lists:foldl(
        fun(Round, Ctx) ->
            [E] = placed(Ctx, [<<"o", (integer_to_binary(Round))/binary>>], <<"c">>),
            _ = [await(E) || Round rem 3 > 0],
            case Round rem 2 of
                0 -> kill_owner(Ctx), Ctx;
                1 -> warp_test:restart(Ctx)
            end
        end,
        start(Config),
        lists:seq(1, 20)),
    warp_test:wait_until(fun() -> warp_core:await_projection(warp_core:entity(Last, <<"o20">>), 1000) =:= ok end),
    is_right(Last, ids(<<"o">>, 20)),
    ?assertEqual([[20, 20]], rows(Last, "SELECT orders, spent FROM customers")).

%% A shard says where its log ends from the moment it is open, however late its writer's thread begins:
%% while other programs have the processors.
starts_under_load(Config) ->
    Ctx = start(Config),
    await_all(placed(Ctx, ids(<<"o">>, 40), <<"c">>)),
    Dir = unicode:characters_to_binary(warp_test:context_dir(Ctx)),
    warp_test:stop(Ctx),
    Busy = [open_port({spawn_executable, "/bin/sh"},
                      [{args, ["-c", "while :; do :; done & read -r gone; kill $!"]}])
            || _ <- lists:seq(1, 2 * erlang:system_info(logical_processors_available))],
    {ok, Lock} = warp_nif:lock(Dir, 1000, owner),
    Until = erlang:monotonic_time(millisecond) + 10000,
    {ok, Journal} = warp_nif:open_journal(Lock, full),
    Opened = open_again(Journal, filename:join(Dir, "shard-0000.db"), 1, Until),
    ok = warp_nif:close_journal(Journal),
    ok = warp_nif:unlock(Lock),
    [true = port_close(Port) || Port <- Busy],
    ct:log("opened ~b times", [Opened]),
    Again = start(Config),
    is_right(Again, ids(<<"o">>, 40)).

open_again(Journal, File, Count, Until) ->
    {ok, Handle} = warp_nif:open(Journal, File, {<<"test">>, 0, 1}, 10, []),
    ?assertMatch({Count, #{position := 40}}, {Count, warp_nif:stats(Handle)}),
    ok = warp_nif:close(Handle),
    case erlang:monotonic_time(millisecond) > Until of
        true -> Count;
        false -> open_again(Journal, File, Count + 1, Until)
    end.
