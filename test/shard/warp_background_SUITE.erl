%% Work that no caller waits for: where it fails, stats and the log say so, until it works again.
-module(warp_background_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1,
         init_per_testcase/2, end_per_testcase/2]).
-export([a_shard_that_another_program_holds_holds_no_other_up/1,
         bytes_that_a_reader_keeps_in_the_log_are_shown/1,
         a_failed_commit_that_is_not_sealed_is_shown/1,
         a_log_that_cannot_be_moved_into_the_file_is_shown/1,
         a_log_that_a_reader_keeps_is_shown/1,
         a_read_that_crashes_is_logged/1,
         what_fails_while_a_context_closes_is_logged/1,
         a_compaction_without_room_does_not_keep_a_context_from_starting/1,
         a_projection_without_room_does_not_keep_a_context_from_starting/1,
         a_file_of_an_earlier_version_opens_once_there_is_room_to_upgrade_it/1]).

-import(warp_fault_vm, [run/2, open/1, entity/1, entity_on/1]).
-import(warp_test, [noted/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [a_shard_that_another_program_holds_holds_no_other_up,
     bytes_that_a_reader_keeps_in_the_log_are_shown,
     a_failed_commit_that_is_not_sealed_is_shown,
     a_log_that_cannot_be_moved_into_the_file_is_shown,
     a_log_that_a_reader_keeps_is_shown,
     a_read_that_crashes_is_logged,
     what_fails_while_a_context_closes_is_logged,
     a_compaction_without_room_does_not_keep_a_context_from_starting,
     a_projection_without_room_does_not_keep_a_context_from_starting,
     a_file_of_an_earlier_version_opens_once_there_is_room_to_upgrade_it].

init_per_suite(Config) ->
    [{shim, warp_fault_vm:shim(?config(priv_dir, Config))} | Config].

end_per_suite(_Config) -> ok.

init_per_testcase(Case, Config0) ->
    Config = warp_test:init_case(Config0),
    Words = filename:join(?config(dir, Config), "words"),
    Env = [{"LD_PRELOAD", ?config(shim, Config)}, {"WARP_SHIM", Words}],
    case re:run(atom_to_list(Case), "_room_") of
        nomatch ->
            [{words, Words}, {vm, warp_fault_vm:start(#{env => Env})} | Config];
        _ ->
            Disk = filename:join(?config(dir, Config), "disk"),
            case warp_small_disk:mount(Disk, 48) of
                {ok, Disk} -> [{disk, Disk}, {vm, warp_fault_vm:start()} | Config];
                {error, Why} -> {skip, {"no small file system can be mounted here", Why}}
            end
    end.

end_per_testcase(_Case, Config) ->
    catch warp_fault_vm:stop(?config(vm, Config)),
    [warp_small_disk:unmount(Disk) || {disk, Disk} <- Config],
    warp_test:end_case(Config).

%% The journal takes what comes, until so much waits that the shard takes no more; the other one goes on.
a_shard_that_another_program_holds_holds_no_other_up(Config) ->
    Dir = ?config(dir, Config),
    in_vm(Config, fun() ->
        ok = open(#{data_dir => Dir, durability => normal}),
        [Held, Free] = [entity_on(0), entity_on(1)],
        Event = noted(binary:copy(<<"x">>, 1000_000)),
        {ok, 1} = warp_core:append(Held, Event),
        ok = warp_test:await_applied(warp_fault_vm:ctx()),
        Shell = warp_shell:writes(filename:join([Dir, "fault", "shard-0000.db"])),
        Stored = append_until_refused(Held, Event, 1),
        ?assert(Stored > 50 andalso Stored < 100, Stored),
        Started = erlang:monotonic_time(millisecond),
        [{ok, N} = warp_core:append(Free, Event) || N <- lists:seq(1, 50)],
        warp_test:wait_until(fun() -> maps:get(unflushed_rows, shard(1)) =:= 0 end, 20000),
        ct:log("50 MB beside it: ~b ms", [erlang:monotonic_time(millisecond) - Started]),
        shows(write_behind),
        warp_shell:release(Shell),
        shows_nothing(),
        ?assertEqual({ok, Stored + 1}, warp_core:append(Held, noted(<<"after">>))),
        warp_test:assert_whole(Held, Stored + 1)
    end).

append_until_refused(Entity, Event, Stored) ->
    case warp_core:append(Entity, Event, #{timeout => 20000}) of
        {ok, Seq} when Seq < 200 ->
            append_until_refused(Entity, Event, Seq);
        {error, Reason} ->
            ?assertMatch({io_error, <<"database is locked", _/binary>>}, Reason),
            Stored
    end.

bytes_that_a_reader_keeps_in_the_log_are_shown(Config) ->
    Dir = ?config(dir, Config),
    in_vm(Config, fun() ->
        ok = open(#{data_dir => Dir}),
        {ok, 1} = warp_core:append(entity_on(0), noted(<<"gone">>)),
        Shell = warp_shell:reads(filename:join([Dir, "fault", "shard-0000.db"])),
        {error, {io_error, _}} = warp_core:delete(entity_on(0)),
        shows(empty_wal),
        #{background := [#{since := Since, error := {io_error, _}, meaning := Meaning}]} = shard(0),
        ?assert(abs(erlang:system_time(microsecond) - Since) < 30_000_000),
        ?assertMatch({match, _}, re:run(Meaning, "bytes of deleted entities")),
        warned("shard 0 .* empty_wal: .*another program is reading .*bytes of deleted"),
        warp_shell:release(Shell),
        shows_nothing(),
        ok = warp_core:delete(entity_on(0))
    end).

a_failed_commit_that_is_not_sealed_is_shown(Config) ->
    Words = ?config(words, Config),
    in_vm(Config, fun() ->
        ok = open(#{data_dir => ?config(dir, Config)}),
        {ok, 1} = warp_core:append(entity_on(0), noted(<<"stored">>)),
        ok = file:write_file(Words, "sync-fails"),
        {error, {io_error, _}} = warp_core:append(entity_on(0), noted(<<"refused">>)),
        shows_journal([seal]),
        warned("journal .* seal: .*may show after a crash"),
        ok = file:delete(Words),
        %% Without anyone's appending.
        shows_journal([])
    end).

a_log_that_cannot_be_moved_into_the_file_is_shown(Config) ->
    Words = ?config(words, Config),
    in_vm(Config, fun() ->
        ok = open(#{data_dir => ?config(dir, Config), durability => normal}),
        Append = fun() -> {ok, _} = warp_core:append(entity_on(0), noted(binary:copy(<<"x">>, 1000_000))) end,
        %% The first one writes the header of the log, which is synced.
        Append(),
        ok = warp_test:await_applied(warp_fault_vm:ctx()),
        ok = file:write_file(Words, "shard-sync-fails"),
        [Append() || _ <- lists:seq(1, 20)],
        shows(checkpoint),
        warned("shard 0 .* checkpoint: .*write-ahead log"),
        ok = file:delete(Words),
        Append(),
        shows_nothing(),
        %% Said once, not at each commit.
        ?assertMatch([_], warp_fault_vm:warnings())
    end).

a_log_that_a_reader_keeps_is_shown(Config) ->
    Dir = ?config(dir, Config),
    in_vm(Config, fun() ->
        ok = open(#{data_dir => Dir, durability => normal}),
        Append = fun(N) ->
            [{ok, _} = warp_core:append(entity_on(0), noted(binary:copy(<<"x">>, 1000_000)))
             || _ <- lists:seq(1, N)]
        end,
        Append(1),
        Shell = warp_shell:reads(filename:join([Dir, "fault", "shard-0000.db"])),
        Append(30),
        ?assertMatch(#{background := []}, shard(0)),
        Append(50),
        shows(checkpoint),
        warned("shard 0 .* checkpoint: .*another program is reading the file"),
        warp_shell:release(Shell),
        Append(10),
        shows_nothing()
    end).

a_read_that_crashes_is_logged(Config) ->
    in_vm(Config, fun() ->
        ?assertEqual({error, interrupted}, warp_entity_call:aside(fun() -> error(oops) end, warp_deadline:from(1000))),
        warned("a read failed: .*oops")
    end).

what_fails_while_a_context_closes_is_logged(Config) ->
    Words = ?config(words, Config),
    in_vm(Config, fun() ->
        ok = open(#{data_dir => ?config(dir, Config)}),
        %% NOTE: first, since the row is brought into the file 80 ms after the append, whatever closes by then.
        ok = file:write_file(Words, "shard-write-fails"),
        {ok, 1} = warp_core:append(entity_on(0), noted(<<"stored">>)),
        ok = warp_fault_vm:close(),
        ok = file:delete(Words),
        warned("shard 0 .* write_behind: .*the next start takes longer"),
        ok = open(#{data_dir => ?config(dir, Config)}),
        ?assertEqual([1], warp_test:seqs(entity_on(0)))
    end).

%% 10 MB, of which three quarters are erased, on a disk with little left.
a_compaction_without_room_does_not_keep_a_context_from_starting(Config) ->
    Disk = ?config(disk, Config),
    Opts = #{data_dir => Disk, shards => 1},
    in_vm(Config, fun() ->
        ok = open(Opts),
        Names = [<<"gone 1">>, <<"gone 2">>, <<"gone 3">>, <<"stays">>],
        Events = lists:duplicate(25, noted(binary:copy(<<"x">>, 100_000))),
        [{ok, {1, 25}} = warp_core:append_batch(entity(Name), Events) || Name <- Names],
        [ok = warp_core:delete(entity(Name)) || <<"gone", _/binary>> = Name <- Names],
        ok = warp_fault_vm:close(),
        [Shard] = warp_test:shard_files(Disk),
        Before = filelib:file_size(Shard),
        ?assert(Before > 10_000_000),
        nearly_fill(Disk, 600_000),
        ok = open(Opts),
        ?assertMatch(#{background := [#{task := compaction, error := disk_full}]}, shard(0)),
        warned("shard 0 .* compaction: disk_full.*not given back"),
        warp_test:assert_whole(entity(<<"stays">>), 25),
        %% What the attempt took is free again.
        ?assertEqual({ok, 26}, warp_core:append(entity(<<"stays">>), noted(binary:copy(<<"x">>, 100_000)))),
        ok = warp_fault_vm:close(),
        ok = warp_small_disk:make_room(Disk),
        ok = open(Opts),
        shows_nothing(),
        ?assert(filelib:file_size(Shard) < Before div 2),
        warp_test:assert_whole(entity(<<"stays">>), 26)
    end).

a_projection_without_room_does_not_keep_a_context_from_starting(Config) ->
    Disk = ?config(disk, Config),
    Counter = (warp_test:counter())#{project => fun(Id, _State, #{seq := Seq}) ->
        [warp_projection:upsert(<<"counts">>, Id, #{n => Seq})]
    end},
    Opts = #{data_dir => Disk, aggregates => [Counter], projections => embedded},
    in_vm(Config, fun() ->
        ok = open(Opts),
        {ok, 1} = warp_core:append(entity_on(0), warp_test:incremented()),
        ok = warp_core:await_projection(entity_on(0), 5000),
        ok = warp_fault_vm:close(),
        %% As before its first start.
        [ok = file:delete(File) || File <- filelib:wildcard(filename:join([Disk, "*", "projections.db*"]))],
        nearly_fill(Disk, 300_000),
        ok = open(Opts),
        ?assertEqual({ok, 1}, warp_core:get(entity_on(0), <<"Counter">>)),
        ok = warp_small_disk:make_room(Disk),
        ok = warp_core:await_projection(entity_on(0), 10000)
    end).

%% It is upgraded in one transaction, or not at all.
a_file_of_an_earlier_version_opens_once_there_is_room_to_upgrade_it(Config) ->
    Disk = ?config(disk, Config),
    in_vm(Config, fun() ->
        ok = warp_fixture:copy(warp_fixture:dir("v1"), Disk, "closed"),
        Opts = warp_fixture:opts({"v1", "closed"}, unicode:characters_to_binary(Disk), <<"reader">>),
        [Shard | _] = warp_test:shard_files(Disk),
        nearly_fill(Disk, 40_000),
        {ok, Before} = file:read_file(Shard),
        ?assertMatch({error, _}, warp_core:start(Opts)),
        ?assertEqual({ok, Before}, file:read_file(Shard)),
        ok = warp_small_disk:make_room(Disk),
        {ok, Ctx} = warp_core:start(Opts),
        #{shards := [#{position := Position} | _]} = warp_core:stats(Ctx),
        ?assert(Position > 0),
        ok = warp_core:stop(Ctx)
    end).

%% -------------------------------------------------------------------------- Helpers

in_vm(Config, Fun) -> run(?config(vm, Config), Fun).

nearly_fill(Disk, Left) ->
    ok = warp_small_disk:fill(Disk),
    {ok, File} = file:open(filename:join(Disk, "filler"), [raw, read, write]),
    {ok, _} = file:position(File, {eof, -Left}),
    ok = file:truncate(File),
    ok = file:close(File).

shard(N) ->
    #{shards := Shards} = warp_core:stats(warp_fault_vm:ctx()),
    lists:nth(N + 1, Shards).

shows(Task) ->
    warp_test:wait_until(fun() ->
        case shard(0) of
            #{background := [#{task := Task}]} -> true;
            Other -> Other
        end
    end).

shows_journal(Tasks) ->
    warp_test:wait_until(fun() ->
        #{journal := #{background := Failing}} = warp_core:stats(warp_fault_vm:ctx()),
        [Task || #{task := Task} <- Failing] =:= Tasks orelse Failing
    end).

shows_nothing() ->
    warp_test:wait_until(fun() -> maps:get(background, shard(0)) =:= [] end).

warned(Pattern) ->
    warp_test:wait_until(fun() ->
        Warnings = warp_fault_vm:warnings(),
        case [W || W <- Warnings, re:run(W, Pattern) =/= nomatch] of
            [_] -> true;
            _ -> Warnings
        end
    end).
