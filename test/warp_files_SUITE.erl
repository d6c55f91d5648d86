%% Other programs at the files of a running context: the `sqlite3` shell, `rm`, and a library in
%% the same VM that opens and closes a file.
-module(warp_files_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, suite/0, init_per_testcase/2, end_per_testcase/2]).
-export([a_file_read_within_the_vm_keeps_its_locks/1,
         a_shell_beside_a_context_reads_and_takes_a_backup/1,
         two_programs_exclude_each_other/1]).

-import(warp_fault_vm, [run/2, open/1, entity_on/1]).
-import(warp_test, [noted/1]).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [a_file_read_within_the_vm_keeps_its_locks,
     a_shell_beside_a_context_reads_and_takes_a_backup,
     two_programs_exclude_each_other].

init_per_testcase(_Case, Config) ->
    [{vm, warp_fault_vm:start()} | warp_test:init_case(Config)].

end_per_testcase(_Case, Config) ->
    catch warp_fault_vm:stop(?config(vm, Config)),
    warp_test:end_case(Config).

%% ------------------------------------------------------- Another part of the same VM

%% Without locks that stay, the shell would take itself for the last user, and remove the WAL.
a_file_read_within_the_vm_keeps_its_locks(Config) ->
    File = file(Config, "shard-0000.db"),
    Copy = filename:join(?config(dir, Config), "copy.db"),
    in_vm(Config, fun() ->
        ok = open(opts(Config)),
        {ok, 1} = warp_core:append(entity_on(0), noted(<<"before">>)),
        [{ok, _} = file:read_file(File ++ Of) || Of <- ["", "-wal", "-shm"]]
    end),
    Before = inodes(File),
    [] = warp_test:sqlite(File, "VACUUM INTO '" ++ Copy ++ "'"),
    case os:type() of
        {unix, linux} -> ?assertEqual(Before, inodes(File));
        _ -> ok
    end,
    in_vm(Config, fun() -> acknowledged(lists:seq(2, 11)) end),
    after_a_kill(Config, lists:seq(1, 11)).

%% ------------------------------------------------------------------ Another program

a_shell_beside_a_context_reads_and_takes_a_backup(Config) ->
    File = file(Config, "shard-0000.db"),
    Copy = filename:join(?config(dir, Config), "copy.db"),
    in_vm(Config, fun() ->
        ok = open(opts(Config)),
        acknowledged(lists:seq(1, 5)),
        {ok, [_ | _]} = warp_core:history(entity_on(0))
    end),
    ?assertEqual([<<"5">>], warp_test:sqlite(File, "SELECT count(*) FROM events")),
    [] = warp_test:sqlite(File, "VACUUM INTO '" ++ Copy ++ "'"),
    ?assertEqual([<<"5">>], warp_test:sqlite(Copy, "SELECT count(*) FROM events")),
    in_vm(Config, fun() ->
        acknowledged(lists:seq(6, 10)),
        {ok, [_ | _]} = warp_core:history(entity_on(0)),
        ok = warp_fault_vm:close()
    end),
    %% Whoever closes last moves all that is in the WAL into the file, and removes it.
    ?assertEqual([], [Left || Of <- ["-wal", "-shm"], Left <- [File ++ Of], filelib:is_file(Left)]),
    ?assertEqual([<<"10">>], warp_test:sqlite(File, "SELECT count(*) FROM events")).

two_programs_exclude_each_other(Config) ->
    File = file(Config, "shard-0000.db"),
    in_vm(Config, fun() ->
        ok = open(opts(Config)),
        acknowledged([1])
    end),
    %% A shell cannot write while Warp does, nor Warp while the shell does.
    Shell = open_port({spawn_executable, os:find_executable("sqlite3")},
                      [{args, ["-batch", File]}, binary, exit_status, stderr_to_stdout]),
    true = port_command(Shell, "BEGIN IMMEDIATE; SELECT 'begun';\n"),
    receive {Shell, {data, <<"begun\n">>}} -> ok end,
    Answer = in_vm(Config, fun() ->
        warp_core:append(entity_on(0), noted(<<"2">>), #{timeout => 15000})
    end),
    ?assertMatch({error, {io_error, <<"database is locked", _/binary>>}}, Answer),
    true = port_command(Shell, "ROLLBACK;\n.quit\n"),
    receive {Shell, {exit_status, 0}} -> ok end,
    in_vm(Config, fun() -> acknowledged([2]) end),
    ?assertEqual([<<"2">>], warp_test:sqlite(File, "SELECT count(*) FROM events")).

%% -------------------------------------------------------------------------- Helpers

opts(Config) -> #{data_dir => ?config(dir, Config)}.

in_vm(Config, Fun) -> run(?config(vm, Config), Fun).

file(Config, Name) -> filename:join([?config(dir, Config), "fault", Name]).

inodes(File) ->
    os:cmd(lists:concat(["stat -c %i ", File, " ", File, "-wal ", File, "-shm 2>&1"])).

acknowledged(Seqs) ->
    [?assertEqual({ok, Seq}, warp_core:append(entity_on(0), noted(integer_to_binary(Seq))))
     || Seq <- Seqs],
    ok.

after_a_kill(Config, Seqs) ->
    warp_fault_vm:kill(?config(vm, Config)),
    Vm = warp_fault_vm:start(),
    try
        ?assertEqual(Seqs, run(Vm, fun() ->
            ok = open(opts(Config)),
            warp_test:seqs(entity_on(0))
        end))
    after
        warp_fault_vm:stop(Vm)
    end.
