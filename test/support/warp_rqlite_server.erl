%% Real rqlited processes for tests: on free ports, started, killed and started again at will.
%% They end with the VM that started them, however it ends.
-module(warp_rqlite_server).

-export([require/1]).
-export([start/1, start/2, start_cluster/2, restart/1, wipe/1, kill/1, stop/1, pause/1, resume/1]).
-export([url/1, await_leader/1, sql/2]).

-define(START_MS, 60000).

%% The path of an rqlited, or one line that says what is missing.
available() ->
    Script = filename:join([warp_fault_vm:root(), "scripts", "rqlited"]),
    Port = open_port({spawn_executable, Script}, [exit_status, stderr_to_stdout, binary]),
    case output(Port, <<>>) of
        {0, Path} -> {ok, unicode:characters_to_list(string:trim(Path))};
        {_, Why} -> {missing, unicode:characters_to_list(string:trim(Why))}
    end.

output(Port, Sofar) ->
    receive
        {Port, {data, Data}} -> output(Port, <<Sofar/binary, Data/binary>>);
        {Port, {exit_status, Status}} -> {Status, Sofar}
    end.

%% For init_per_suite: the Config, or a skip with that line.
require(Config) ->
    case available() of
        {ok, Path} ->
            {ok, _} = application:ensure_all_started(warp_core),
            [{rqlited, Path} | Config];
        {missing, Line} ->
            %% One that was given has to be there.
            false = os:getenv("WARP_RQLITED"),
            {skip, Line}
    end.

start(Dir) -> start(Dir, #{}).

%% Opts: #{args => more arguments of rqlited, https => true, auth => "user:password",
%% certificates => a folder with those of a client}.
start(Dir, Opts) ->
    %% A node that is alone need not wait for others before it leads again.
    Alone = ["-raft-timeout", "200ms", "-raft-election-timeout", "200ms", "-raft-leader-lease-timeout", "200ms"],
    Server = new(Dir, Opts#{args => Alone ++ maps:get(args, Opts, [])}),
    launch(Server, []),
    await_ready(Server),
    Server.

start_cluster(Dir, Count) ->
    New = [new(filename:join(Dir, "node-" ++ integer_to_list(N)), #{}) || N <- lists:seq(1, Count)],
    Join = ["-join", string:join([raft(Server) || Server <- New], ",")],
    Servers = [Server#{join => Join} || Server <- New],
    _ = [launch(Server, ["-bootstrap-expect", integer_to_list(Count) | Join]) || Server <- Servers],
    lists:foreach(fun await_ready/1, Servers),
    Servers.

new(Dir, Opts) ->
    {ok, Rqlited} = available(),
    ok = filelib:ensure_path(Dir),
    #{rqlited => Rqlited, dir => Dir, http => free_port(), raft => free_port(), opts => Opts,
      holder => spawn(fun() -> hold(none) end)}.

%% Below the ports that systems give to connections, which could take it while a node is down.
free_port() ->
    Port = 20000 + rand:uniform(12000),
    case gen_tcp:listen(Port, [{ip, {127, 0, 0, 1}}]) of
        {ok, Socket} -> ok = gen_tcp:close(Socket), Port;
        {error, _} -> free_port()
    end.

%% After a kill or a stop: the same node, with what it had. rqlite can't always open what a SIGKILL
%% left of a snapshot that it was just making. Then it starts with nothing, as it would have to
%% anywhere; the others of a cluster give it all there is, and what is alone has lost it.
restart(Server) ->
    launch(Server, []),
    await_or_tell(fun() -> is_ready(Server) =:= true orelse has_failed(Server) end, Server),
    case has_failed(Server) of
        false ->
            ok;
        true ->
            ct:pal("rqlite could not open what a kill had left:~n~ts", [log_tail(Server)]),
            kill(Server),
            wipe(Server),
            launch(Server, maps:get(join, Server, [])),
            await_ready(Server)
    end.

await_or_tell(Fun, Server) ->
    try
        warp_test:wait_until(Fun, ?START_MS)
    catch
        Class:Reason:Stack ->
            ct:pal("rqlite on ~s is not ready:~n~ts", [address(Server), log_tail(Server)]),
            erlang:raise(Class, Reason, Stack)
    end.

has_failed(Server) ->
    binary:match(log_tail(Server), <<"failed to open store">>) =/= nomatch.

%% Everything that the node had.
wipe(#{dir := Dir}) ->
    ok = file:del_dir_r(Dir),
    ok = filelib:ensure_path(Dir).

launch(#{rqlited := Rqlited, dir := Dir, opts := Opts} = Server, More) ->
    Args = ["-http-addr", address(Server), "-raft-addr", raft(Server)]
        ++ maps:get(args, Opts, []) ++ More ++ [Dir],
    %% The shell's input ends with the port, and so with the VM. A line says that it is gone already.
    Script = "\"$@\" >>\"$LOG\" 2>&1 </dev/null & pid=$!; echo $pid; read -r gone || kill -9 $pid",
    call(Server, {launch, [
        {args, ["-c", Script, "sh", Rqlited | Args]},
        {env, [{"LOG", filename:join(Dir, "rqlited.log")}]},
        {line, 100}, exit_status]}).

hold(Port) ->
    receive
        {From, Ref, {launch, Options}} ->
            none = Port,
            Opened = open_port({spawn_executable, "/bin/sh"}, Options),
            receive
                {Opened, {data, {eol, Pid}}} ->
                    put(os_pid, Pid),
                    From ! {Ref, ok}
            end,
            hold(Opened);
        {From, Ref, os_pid} ->
            From ! {Ref, get(os_pid)},
            hold(Port);
        {From, Ref, close} ->
            port_command(Port, "gone\n"),
            receive {Port, {exit_status, _}} -> erase(os_pid) end,
            From ! {Ref, ok},
            hold(none);
        _Other ->
            hold(Port)
    end.

call(#{holder := Holder}, Request) ->
    Ref = monitor(process, Holder),
    Holder ! {self(), Ref, Request},
    receive
        {Ref, Answer} -> demonitor(Ref, [flush]), Answer;
        {'DOWN', Ref, process, Holder, Why} -> error({rqlited_holder_died, Why})
    end.

os_pid(Server) -> call(Server, os_pid).

is_running(Server) -> os_pid(Server) =/= undefined.

kill(Server) -> signal(Server, "KILL"), gone(Server).

stop(Server) -> signal(Server, "TERM"), gone(Server).

pause(Server) -> signal(Server, "STOP").

resume(Server) -> signal(Server, "CONT").

signal(Server, Signal) ->
    case os_pid(Server) of
        undefined -> ok;
        Pid -> os:cmd("kill -" ++ Signal ++ " " ++ Pid)
    end.

%% Nobody listens any more: the process is gone, though perhaps not buried. One that was stopped
%% closes its ports one after the other, and the next could not have the second yet.
gone(#{http := Http, raft := Raft} = Server) ->
    ok = warp_test:wait_until(fun() -> is_refused(Http) andalso is_refused(Raft) end, ?START_MS),
    case is_running(Server) of
        true -> call(Server, close);
        false -> ok
    end.

is_refused(Port) ->
    case gen_tcp:connect({127, 0, 0, 1}, Port, []) of
        {error, econnrefused} -> true;
        {ok, Socket} -> ok = gen_tcp:close(Socket), false;
        {error, _} -> false
    end.

address(#{http := Http}) -> "127.0.0.1:" ++ integer_to_list(Http).

raft(#{raft := Raft}) -> "127.0.0.1:" ++ integer_to_list(Raft).

url(#{opts := #{https := true}} = Server) -> "https://" ++ address(Server);
url(Server) -> "http://" ++ address(Server).

await_ready(Server) ->
    warp_test:wait_until(fun() -> is_ready(Server) end, ?START_MS).

is_ready(Server) ->
    case get_(Server, "/readyz") of
        {200, _} -> true;
        Other -> {Other, log_tail(Server)}
    end.

log_tail(#{dir := Dir}) ->
    case file:read_file(filename:join(Dir, "rqlited.log")) of
        {ok, Log} -> binary:part(Log, byte_size(Log), -min(byte_size(Log), 300));
        {error, _} -> <<>>
    end.

%% The leader among them as one of them sees it, or none.
leader(Servers) ->
    Seen = [Leader || #{raft := _} = Server <- Servers, is_running(Server),
                      {200, Body} <- [get_(Server, "/nodes?timeout=500ms")],
                      {ok, Nodes} <- [warp_json:decode(Body)],
                      #{<<"leader">> := true, <<"reachable">> := true, <<"addr">> := Leader}
                          <- maps:values(Nodes)],
    %% They may still see one that is not among them.
    case [S || First <- Seen, S <- Servers, raft(S) =:= unicode:characters_to_list(First)] of
        [Server | _] -> Server;
        [] -> none
    end.

await_leader(Servers) ->
    warp_test:wait_until(fun() -> leader(Servers) =/= none end, ?START_MS),
    leader(Servers).

get_(#{opts := Opts} = Server, Path) ->
    Headers = [{"authorization", "Basic " ++ base64:encode_to_string(Auth)}
               || {ok, Auth} <- [maps:find(auth, Opts)]],
    Own = [[{certfile, filename:join(Dir, "client.pem")}, {keyfile, filename:join(Dir, "client.key")}]
           || {ok, Dir} <- [maps:find(certificates, Opts)]],
    Tls = [{ssl, [{verify, verify_none} | lists:append(Own)]} || maps:get(https, Opts, false)],
    case httpc:request(get, {url(Server) ++ Path, [{"connection", "close"} | Headers]},
                       [{timeout, 3000} | Tls], [{body_format, binary}]) of
        {ok, {{_, Status, _}, _, Body}} -> {Status, Body};
        {error, Why} -> {error, Why}
    end.

%% Rows of a query at this very node, past Warp's own code: raw JSON values.
sql(Server, Sql) ->
    {ok, Body} = warp_json:encode_long([[unicode:characters_to_binary(Sql)]]),
    {ok, {{_, 200, _}, _, Answer}} =
        httpc:request(post, {url(Server) ++ "/db/query?level=strong", [{"connection", "close"}],
                             "application/json", Body}, [{timeout, 10000}], [{body_format, binary}]),
    {ok, #{<<"results">> := [Result]}} = warp_json:decode(Answer),
    maps:get(<<"values">>, Result, maps:get(<<"error">>, Result, [])).
