%% Functions for the tests of several packages that cannot be written in Gleam.
-module(testkit_ffi).

-export([with_dir/1, afterwards/2, kill/1, wait_until/1, parallel/2, sqlite/2, shard_files/1]).

with_dir(Run) ->
    Name = io_lib:format("warp-~s-~b", [os:getpid(), erlang:unique_integer([positive])]),
    Dir = filename:join(os:getenv("TMPDIR", "/tmp"), Name),
    ok = filelib:ensure_path(Dir),
    try
        Run(unicode:characters_to_binary(Dir))
    after
        ok = file:del_dir_r(Dir)
    end.

afterwards(CleanUp, Run) ->
    try Run() after CleanUp() end.

kill(Pid) ->
    Monitor = monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> nil end.

wait_until(Condition) ->
    wait_until(Condition, erlang:monotonic_time(millisecond) + 60000).

wait_until(Condition, Deadline) ->
    case Condition() of
        true ->
            nil;
        false ->
            erlang:monotonic_time(millisecond) < Deadline orelse error(never_became_true),
            timer:sleep(5),
            wait_until(Condition, Deadline)
    end.

parallel(Times, Run) ->
    Callers = [spawn_monitor(fun() -> exit({done, Run()}) end) || _ <- lists:seq(1, Times)],
    [receive
         {'DOWN', Monitor, process, Pid, {done, Result}} -> Result;
         {'DOWN', Monitor, process, Pid, Crash} -> error(Crash)
     end || {Pid, Monitor} <- Callers].

sqlite(File, Sql) ->
    Port = open_port({spawn_executable, os:find_executable("sqlite3")},
                     [{args, ["-batch", "-cmd", ".timeout 5000", File, Sql]},
                      binary, exit_status, stderr_to_stdout]),
    {0, Output} = output(Port, <<>>),
    binary:split(Output, <<"\n">>, [global, trim]).

output(Port, Output) ->
    receive
        {Port, {data, More}} -> output(Port, <<Output/binary, More/binary>>);
        {Port, {exit_status, Status}} -> {Status, Output}
    end.

shard_files(Dir) ->
    Files = filelib:wildcard(unicode:characters_to_list(Dir) ++ "/**/shard-*.db"),
    [unicode:characters_to_binary(File) || File <- lists:sort(Files)].
