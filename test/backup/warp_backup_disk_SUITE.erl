%% A target whose disk is full, cannot be written to, or is slow: the context works on, says so, and catches up.
-module(warp_backup_disk_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(warp_backup_test, [master/1, rows/1]).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [a_full_target_is_said_and_caught_up, a_target_that_is_read_only_is_said_and_caught_up,
     a_slow_target_holds_up_no_append, a_full_disk_ends_a_restore_which_goes_on_with_more_room].

init_per_testcase(a_slow_target_holds_up_no_append, Config) ->
    warp_test:init_case(Config);
init_per_testcase(_, Config0) ->
    Config = warp_test:init_case(Config0),
    Disk = filename:join(?config(dir, Config), "disk"),
    case warp_small_disk:mount(Disk, 8) of
        {ok, Disk} -> [{disk, Disk} | Config];
        {error, Why} -> {skip, {"no small file system can be mounted here", Why}}
    end.

end_per_testcase(_, Config) ->
    warp_test:stop_all(),
    _ = [warp_small_disk:unmount(Disk) || {disk, Disk} <- Config],
    warp_test:end_case(Config).

a_full_target_is_said_and_caught_up(Config) ->
    Disk = ?config(disk, Config),
    away(Config, {fun() -> warp_small_disk:fill(Disk) end, fun() -> warp_small_disk:make_room(Disk) end},
         fun(Why) -> ?assertEqual(disk_full, Why) end).

a_target_that_is_read_only_is_said_and_caught_up(Config) ->
    Disk = ?config(disk, Config),
    away(Config, {fun() -> warp_small_disk:read_only(Disk) end, fun() -> warp_small_disk:writable(Disk) end},
         fun(Why) -> ?assertMatch({io_error, _}, Why) end).

away(Config, {Break, Mend}, IsWhy) ->
    Ctx = warp_test:start(Config),
    ok = fill(Ctx, 1, 50),
    Target = filename:join(?config(disk, Config), "backup"),
    Options = #{master_key => master(Config)},
    {ok, #{cut := 1}} = warp_backup:start(Ctx, Options#{to => Target, every => 1000}),
    ok = Break(),
    ok = fill(Ctx, 51, 100),
    warp_test:wait_until(fun() -> failing(Ctx) =/= none end),
    #{why := Why} = failing(Ctx),
    IsWhy(Why),
    {error, Said} = warp_backup:run(Ctx, Target, Options),
    IsWhy(Said),
    Alice = warp_core:entity(Ctx, name(7)),
    {error, {still_to_erase, #{target := backup, reason := {_, Reason}}}} = warp_core:delete(Alice),
    IsWhy(Reason),
    %% What is there is whole, and nothing is half written beside it.
    {ok, #{cuts := 1}} = warp_backup:verify(Target, Options),
    ?assertEqual([], filelib:wildcard(filename:join([Target, "**", "*.new"]))),
    ok = fill(Ctx, 101, 120),
    ok = Mend(),
    warp_test:wait_until(fun() -> failing(Ctx) =:= none end, 20000),
    ok = warp_core:delete(Alice),
    {ok, _} = warp_backup:run(Ctx, Target, Options),
    {ok, _} = warp_backup:verify(Target, Options),
    warp_test:await_applied(Ctx),
    Rows = rows(warp_test:context_dir(Ctx)),
    ok = warp_test:stop(Ctx),
    DataDir = filename:join(?config(dir, Config), "restored"),
    {ok, _} = warp_backup:restore(DataDir, Target, Options),
    ?assertEqual(Rows, rows(DataDir)),
    {ok, #{erased := 1}} = warp_backup:restore(DataDir ++ "-1", Target, Options#{until => {cut, 1}}),
    ?assertEqual([], warp_test:files_with(DataDir ++ "-1", name(7))).

%% Each object takes 500 ms, and a run 2 seconds.
a_slow_target_holds_up_no_append(Config) ->
    Ctx = warp_test:start(Config),
    ok = fill(Ctx, 1, 50),
    Target = warp_backup_test:target(Config),
    Slowly = fun(Key) -> timer:sleep(1500), {ok, Key} end,
    Options = #{master_key => #{name => <<"slow">>, wrap => Slowly, unwrap => Slowly}},
    {ok, _} = warp_backup:start(Ctx, Options#{to => Target, every => 1000}),
    Longest = lists:max([begin
        {Micros, ok} = timer:tc(fun() -> fill(Ctx, N, N) end),
        timer:sleep(5),
        Micros
    end || N <- lists:seq(51, 450)]),
    %% The disk is shared with others; but nobody waits for a run, which takes longer than that.
    ?assert(Longest < 900000, Longest),
    Alice = warp_core:entity(Ctx, name(7)),
    ?assertMatch({error, {still_to_erase, #{target := backup, reason := {_, timeout}}}},
                 warp_core:delete(Alice, #{timeout => 1000})),
    ?assertEqual({ok, []}, warp_core:export(Alice)),
    ok = warp_core:delete(Alice, #{timeout => 60000}),
    {ok, _} = warp_backup:run(Ctx, Target, Options),
    warp_test:await_applied(Ctx),
    Rows = rows(warp_test:context_dir(Ctx)),
    ok = warp_test:stop(Ctx),
    {ok, Cuts} = warp_backup:list(Target),
    ?assert(length(Cuts) >= 2),
    {DataDir, _} = warp_backup_test:restore(Config, "restored", Options),
    ?assertEqual(Rows, rows(DataDir)).

a_full_disk_ends_a_restore_which_goes_on_with_more_room(Config) ->
    Disk = ?config(disk, Config),
    Ctx = warp_test:start(Config),
    [begin ok = fill(Ctx, 1, 200), {ok, _} = warp_backup_test:run(Ctx, Config) end || _ <- lists:seq(1, 4)],
    warp_test:await_applied(Ctx),
    Rows = rows(warp_test:context_dir(Ctx)),
    ok = warp_test:stop(Ctx),
    DataDir = filename:join(Disk, "restored"),
    Restore = fun(Tell) ->
        warp_backup:restore(DataDir, warp_backup_test:target(Config), #{master_key => master(Config), progress => Tell})
    end,
    %% Four segments are looked at, and two are restored.
    Fill = fun(#{done := 6}) -> ok = warp_small_disk:fill(Disk); (_) -> ok end,
    ?assertEqual({error, disk_full}, Restore(Fill)),
    ?assertNot(filelib:is_dir(filename:join(DataDir, "test"))),
    ok = warp_small_disk:make_room(Disk),
    {ok, _} = Restore(fun(_) -> ok end),
    ?assertEqual(Rows, rows(DataDir)).

%% ------------------------------------------------------------------ Helpers

failing(Ctx) ->
    #{backups := [#{failing := Failing}]} = warp_core:stats(Ctx),
    Failing.

fill(Ctx, From, To) ->
    lists:foreach(fun(N) ->
        {ok, _} = warp_core:append(warp_core:entity(Ctx, name(N)), warp_test:noted(binary:copy(<<"x">>, 500)))
    end, lists:seq(From, To)).

name(N) -> <<"entity/", (integer_to_binary(N))/binary, "!">>.
