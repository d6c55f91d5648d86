%% An sqlite3 shell, another program, that holds a transaction on a file until it is released.
-module(warp_shell).

-export([reads/1, writes/1, release/1]).

%% It keeps a view of the file, so that its WAL cannot be emptied.
reads(File) -> hold(File, "BEGIN").

%% Nobody else can write to the file.
writes(File) -> hold(File, "BEGIN IMMEDIATE").

hold(File, Begin) ->
    Shell = open_port({spawn_executable, os:find_executable("sqlite3")},
                      [{args, ["-batch", File]}, binary, exit_status, stderr_to_stdout]),
    true = port_command(Shell, [".timeout 10000\n", Begin, ";\nSELECT 'held' FROM sqlite_schema LIMIT 1;\n"]),
    receive {Shell, {data, <<"held", _/binary>>}} -> Shell end.

release(Shell) ->
    true = port_command(Shell, "ROLLBACK;\n.quit\n"),
    receive {Shell, {exit_status, 0}} -> ok end.
