%% Programs: running one to its end, keeping a server, and what they take of memory and disk.
-module(warp_peers_os).

-export([run/2, number/2, serve/3, stop/1, until/2, memory/1, bytes/1]).

-define(START_MS, 600000).

%% What the program prints. It ends with this VM, whatever ends this VM.
-spec run(warp_peer:env(), [string()]) -> string().
run(Env, Command) ->
    Port = started(Env, "TERM", Command),
    case collected(Port, []) of
        {0, Text} -> Text;
        {Status, Text} -> throw(io_lib:format("~ts ended with status ~b~n~ts", [hd(Command), Status, Text]))
    end.

-spec number(warp_peer:env(), [string()]) -> float().
number(Env, Command) ->
    Text = string:trim(run(Env, Command)),
    case string:to_float(Text) of
        {Number, ""} -> Number;
        _ -> throw(io_lib:format("~ts printed ~ts", [hd(Command), Text]))
    end.

%% A server that gets that signal when it is stopped.
-spec serve(warp_peer:env(), string(), [string()]) -> port().
serve(Env, Signal, Command) ->
    started(Env, Signal, Command).

-spec stop(port()) -> ok.
stop(Port) ->
    true = port_command(Port, "\n"),
    _ = collected(Port, []),
    ok.

started(#{root := Root}, Signal, Command) ->
    open_port({spawn_executable, filename:join(Root, "bench/peers/serve")},
              [{args, [Signal | Command]}, {cd, "/"}, exit_status, stderr_to_stdout, hide]).

collected(Port, Text) ->
    receive
        {Port, {data, Data}} -> collected(Port, [Text, Data]);
        {Port, {exit_status, Status}} -> {Status, lists:flatten(Text)}
    end.

%% Waits until the server answers; throws what it said when it has ended.
-spec until(port(), fun(() -> boolean())) -> ok.
until(Port, Ready) ->
    until(Port, Ready, erlang:monotonic_time(millisecond) + ?START_MS).

until(Port, Ready, Deadline) ->
    case Ready() of
        true ->
            ok;
        false ->
            receive
                {Port, {exit_status, Status}} ->
                    {_, Text} = said(Port),
                    throw(io_lib:format("the server ended with status ~b~n~ts", [Status, Text]))
            after 5 ->
                erlang:monotonic_time(millisecond) < Deadline orelse throw("the server did not start in time"),
                until(Port, Ready, Deadline)
            end
    end.

said(Port) ->
    receive {Port, {data, Data}} -> {Port, Data ++ element(2, said(Port))} after 0 -> {Port, ""} end.

%% Of a process and all that descend from it; memory that they share counts once, where the system can tell.
-spec memory(non_neg_integer() | string()) -> number() | blank.
memory(Pid) when is_integer(Pid) ->
    memory(integer_to_list(Pid));
memory(Pid) ->
    Lines = [string:lexemes(Line, " ") || Line <- string:lexemes(os:cmd("ps -A -o pid= -o ppid= -o rss="), "\n")],
    Sizes = [size_of(P, Rss) || [P, _, Rss] <- Lines, lists:member(P, family([Pid], Lines, []))],
    case Sizes of [] -> blank; _ -> lists:sum(Sizes) end.

family([], _, Found) ->
    Found;
family([Pid | Pids], Lines, Found) ->
    family([P || [P, Parent, _] <- Lines, Parent =:= Pid] ++ Pids, Lines, [Pid | Found]).

size_of(Pid, Rss) ->
    case file:read_file("/proc/" ++ Pid ++ "/smaps_rollup") of
        {ok, Text} ->
            {match, [Kb]} = re:run(Text, "^Pss: *([0-9]+) kB", [multiline, {capture, all_but_first, list}]),
            list_to_integer(Kb) * 1024;
        {error, _} ->
            list_to_integer(Rss) * 1024
    end.

%% What a folder takes of the disk.
-spec bytes(string()) -> pos_integer().
bytes(Dir) ->
    [Kb | _] = string:lexemes(os:cmd("du -sk '" ++ Dir ++ "'"), "\t "),
    list_to_integer(Kb) * 1024.
