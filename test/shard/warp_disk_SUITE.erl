%% Disks that are full, read-only or broken, for real: a small file system, and
%% system calls that fail.
-module(warp_disk_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_suite/1, end_per_suite/1,
         init_per_testcase/2, end_per_testcase/2]).
-export([a_full_disk_refuses_appends_until_there_is_room/1,
         a_disk_that_fills_up_under_a_vm_that_is_killed_keeps_what_was_acknowledged/1,
         a_write_without_room_fails_the_whole_transaction/1,
         a_read_only_directory_is_a_clear_error/1,
         a_sync_that_fails_leaves_nothing_behind/1,
         an_append_is_answered_only_after_its_sync_and_a_slow_one_is_reported/1,
         without_full_durability_an_append_does_not_wait_for_a_sync/1]).

-import(warp_fault_vm, [run/2, open/1, entity/1]).
-import(warp_test, [noted/1]).

-define(NAMES, [<<"a">>, <<"b">>, <<"c">>, <<"d">>]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [a_full_disk_refuses_appends_until_there_is_room,
     a_disk_that_fills_up_under_a_vm_that_is_killed_keeps_what_was_acknowledged,
     a_write_without_room_fails_the_whole_transaction,
     a_read_only_directory_is_a_clear_error,
     a_sync_that_fails_leaves_nothing_behind,
     an_append_is_answered_only_after_its_sync_and_a_slow_one_is_reported,
     without_full_durability_an_append_does_not_wait_for_a_sync].

init_per_suite(Config) ->
    [{shim, warp_fault_vm:shim(?config(priv_dir, Config))} | Config].

end_per_suite(_Config) -> ok.

init_per_testcase(Case, Config0) ->
    Config = warp_test:init_case(Config0),
    Disk = filename:join(?config(dir, Config), "disk"),
    case lists:member(Case, [a_full_disk_refuses_appends_until_there_is_room,
                             a_disk_that_fills_up_under_a_vm_that_is_killed_keeps_what_was_acknowledged,
                             a_read_only_directory_is_a_clear_error]) of
        true ->
            case warp_small_disk:mount(Disk, 8) of
                {ok, Disk} -> with_vm(#{}, [{disk, Disk} | Config]);
                {error, Why} -> {skip, {"no small file system can be mounted here", Why}}
            end;
        false ->
            Words = filename:join(?config(dir, Config), "words"),
            with_vm(#{env => [{"LD_PRELOAD", ?config(shim, Config)}, {"WARP_SHIM", Words}]},
                    [{words, Words} | Config])
    end.

with_vm(Opts, Config) ->
    [{vm, warp_fault_vm:start(Opts)} | Config].

end_per_testcase(_Case, Config) ->
    catch warp_fault_vm:stop(?config(vm, Config)),
    [warp_small_disk:unmount(Disk) || {disk, Disk} <- Config],
    warp_test:end_case(Config).

%% ----------------------------------------------------------------- A full disk

a_full_disk_refuses_appends_until_there_is_room(Config) ->
    Disk = ?config(disk, Config),
    run(?config(vm, Config), fun() ->
        ok = open(#{data_dir => Disk}),
        Stored = append_until_full(Disk),
        [assert_stored(Name, Stored) || Name <- ?NAMES],
        [warp_test:passivate(entity(Name)) || Name <- ?NAMES],
        [assert_stored(Name, Stored) || Name <- ?NAMES],
        ok = warp_small_disk:make_room(Disk),
        More = append_all(Stored, 1),
        [?assert(length(maps:get(Name, More)) > length(maps:get(Name, Stored))) || Name <- ?NAMES],
        [assert_stored(Name, More) || Name <- ?NAMES],
        warp_fault_vm:reopen(),
        [assert_stored(Name, More) || Name <- ?NAMES]
    end),
    assert_sound(Disk).

a_disk_that_fills_up_under_a_vm_that_is_killed_keeps_what_was_acknowledged(Config) ->
    Disk = ?config(disk, Config),
    Vm = ?config(vm, Config),
    Stored = run(Vm, fun() ->
        ok = open(#{data_dir => Disk}),
        append_until_full(Disk)
    end),
    warp_fault_vm:kill(Vm),
    Second = warp_fault_vm:start(),
    run(Second, fun() ->
        case open(#{data_dir => Disk}) of
            ok -> ok;
            {error, disk_full} ->
                ok = warp_small_disk:make_room(Disk),
                ok = open(#{data_dir => Disk})
        end,
        [assert_stored(Name, Stored) || Name <- ?NAMES],
        file:delete(filename:join(Disk, "filler")),
        More = append_all(Stored, 1),
        [assert_stored(Name, More) || Name <- ?NAMES]
    end),
    warp_fault_vm:stop(Second),
    assert_sound(Disk).

%% The same without a file system of one's own, at one chosen commit.
a_write_without_room_fails_the_whole_transaction(Config) ->
    Dir = ?config(dir, Config),
    Words = ?config(words, Config),
    run(?config(vm, Config), fun() ->
        ok = open(#{data_dir => Dir}),
        Stored = append_all(none_stored(), 1),
        ok = file:write_file(Words, "write-fails"),
        [?assertMatch({_, _, {error, disk_full}}, Answer) || Answer <- append_to_all()],
        [assert_stored(Name, Stored) || Name <- ?NAMES],
        ok = file:delete(Words),
        More = append_all(Stored, 1),
        [assert_stored(Name, More) || Name <- ?NAMES]
    end).

%% Appends of all callers at once until the disk takes none of them: each of them
%% is stored or refused as a whole.
append_until_full(Disk) ->
    Stored = append_all(none_stored(), 3),
    ok = warp_small_disk:fill(Disk),
    append_until_full(Stored, 1).

append_until_full(Stored, Round) when Round < 500 ->
    Answers = append_to_all(),
    Refused = [Name || {Name, _, {error, disk_full}} <- Answers],
    Left = [Answer || {Name, _, _} = Answer <- Answers, not lists:member(Name, Refused)],
    case length(Refused) of
        4 -> Stored;
        _ -> append_until_full(add(Left, Stored), Round + 1)
    end.

%% --------------------------------------------------------- A read-only directory

a_read_only_directory_is_a_clear_error(Config) ->
    Disk = ?config(disk, Config),
    run(?config(vm, Config), fun() ->
        ok = open(#{data_dir => Disk}),
        Stored = append_all(none_stored(), 1),
        ok = warp_fault_vm:close(),
        ok = warp_small_disk:read_only(Disk),
        Before = contents(Disk),
        ?assertMatch({error, {io_error, _}}, open(#{data_dir => Disk})),
        ?assertMatch({error, {io_error, _}}, open(#{data_dir => filename:join(Disk, "new")})),
        ?assertEqual(Before, contents(Disk)),
        ok = warp_small_disk:writable(Disk),
        ok = open(#{data_dir => Disk}),
        [assert_stored(Name, Stored) || Name <- ?NAMES]
    end).

contents(Dir) ->
    [{File, file:read_file(File)} || File <- filelib:wildcard(filename:join(Dir, "**"))].

%% ---------------------------------------------------------------- Broken syncs

a_sync_that_fails_leaves_nothing_behind(Config) ->
    Dir = ?config(dir, Config),
    Words = ?config(words, Config),
    Vm = ?config(vm, Config),
    Stored = run(Vm, fun() ->
        ok = open(#{data_dir => Dir}),
        First = append_all(none_stored(), 1),
        ok = file:write_file(Words, "sync-fails"),
        [?assertMatch({_, _, {error, {io_error, _}}}, Answer) || Answer <- append_to_all()],
        [assert_stored(Name, First) || Name <- ?NAMES],
        ok = file:delete(Words),
        Second = append_all(First, 1),
        [assert_stored(Name, Second) || Name <- ?NAMES],
        ok = file:write_file(Words, "sync-fails"),
        [?assertMatch({_, _, {error, {io_error, _}}}, Answer) || Answer <- append_to_all()],
        Second
    end),
    warp_fault_vm:kill(Vm),
    ok = file:delete(Words),
    After = warp_fault_vm:start(),
    run(After, fun() ->
        ok = open(#{data_dir => Dir}),
        [assert_stored(Name, Stored) || Name <- ?NAMES],
        More = append_all(Stored, 1),
        [assert_stored(Name, More) || Name <- ?NAMES]
    end),
    warp_fault_vm:stop(After).

an_append_is_answered_only_after_its_sync_and_a_slow_one_is_reported(Config) ->
    Dir = ?config(dir, Config),
    Words = ?config(words, Config),
    run(?config(vm, Config), fun() ->
        ok = open(#{data_dir => Dir}),
        {ok, 1} = warp_core:append(entity(<<"a">>), noted(<<"quick">>)),
        ?assertEqual([], warp_fault_vm:warnings()),
        ok = file:write_file(Words, "sync-waits"),
        {Micros, {ok, 2}} = timer:tc(fun() -> warp_core:append(entity(<<"a">>), noted(<<"slow">>)) end),
        ?assert(Micros >= 1_200_000, Micros),
        {ok, 3} = warp_core:append(entity(<<"a">>), noted(<<"slow">>)),
        ok = file:delete(Words),
        %% One warning, not one for each commit.
        ?assertMatch([_], warp_fault_vm:warnings()),
        ?assertMatch([_], [W || W <- warp_fault_vm:warnings(), re:run(W, "shard.*1\\d\\d\\d ms") =/= nomatch])
    end).

without_full_durability_an_append_does_not_wait_for_a_sync(Config) ->
    Dir = ?config(dir, Config),
    Words = ?config(words, Config),
    run(?config(vm, Config), fun() ->
        ok = open(#{data_dir => Dir, durability => normal}),
        {ok, 1} = warp_core:append(entity(<<"a">>), noted(<<"quick">>)),
        ok = file:write_file(Words, "sync-waits"),
        {Micros, {ok, 2}} = timer:tc(fun() -> warp_core:append(entity(<<"a">>), noted(<<"quick">>)) end),
        ?assert(Micros < 1_000_000, Micros),
        ok = file:delete(Words)
    end).

%% -------------------------------------------------------------------- Helpers

none_stored() -> maps:from_list([{Name, []} || Name <- ?NAMES]).

append_all(Stored, 0) ->
    Stored;
append_all(Stored, Times) ->
    append_all(add(append_to_all(), Stored), Times - 1).

%% A batch to each of the entities, all at once: `{Name, Texts, Answer}`.
append_to_all() ->
    warp_test:parallel(
      [fun() ->
           Texts = [text(I) || I <- lists:seq(1, 20)],
           {Name, Texts, warp_core:append_batch(entity(Name), [noted(Text) || Text <- Texts])}
       end || Name <- ?NAMES]).

text(I) ->
    Number = erlang:unique_integer([positive]),
    iolist_to_binary([integer_to_list(I), $-, integer_to_list(Number), lists:duplicate(500, $x)]).

add(Answers, Stored) ->
    lists:foldl(fun({Name, Texts, Answer}, Sum = #{}) ->
                        Before = maps:get(Name, Sum),
                        ?assertEqual({ok, {length(Before) + 1, length(Before) + 20}}, Answer),
                        Sum#{Name := Before ++ Texts}
                end, Stored, Answers).

assert_stored(Name, Stored) ->
    {ok, Events} = warp_core:export(entity(Name)),
    Texts = maps:get(Name, Stored),
    ?assertEqual(lists:seq(1, length(Texts)), [Seq || #{seq := Seq} <- Events]),
    ?assertEqual(Texts, [Text || #{payload := #{<<"text">> := Text}} <- Events]),
    ?assertEqual({ok, empty}, warp_core:get(entity(Name), <<"Log">>)).

assert_sound(Dir) ->
    [?assertEqual([<<"ok">>], warp_test:sqlite(File, "PRAGMA integrity_check"))
     || File <- warp_test:shard_files(Dir)].
