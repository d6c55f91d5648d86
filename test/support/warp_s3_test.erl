%% A real S3 server for suites, in a program of its own, and a door before it: whoever goes through it can be cut off,
%% as by a server that ended, while the server keeps what it has.
-module(warp_s3_test).

-export([start/1, stop/1, address/1, pause/1, resume/1]).
-export([door/1, shut/1, open/1, door_address/1, leave/1]).
-export([programs/0, root/0]).

-define(START_MS, 60000).

-record(server, {holder :: pid(), os_pid :: integer(), port :: inet:port_number()}).
-record(door, {pid :: pid(), port :: inet:port_number(), to :: inet:port_number()}).

%% Starts a server that has the bucket `bank'. Its key is in two variables of the environment, which begin with Name.
%% With `unconditional' it knows no If-None-Match, and takes any key.
start({Name, Arguments}) ->
    Self = self(),
    Python = filename:join(root(), "_build/s3/bin/python3"),
    Script = filename:join(root(), "test/support/warp_s3_server.py"),
    %% NOTE: it ends with the process that has its port, which the one of a suite's preparation does.
    Holder = spawn(fun() ->
        Port = open_port({spawn_executable, Python}, [{args, [Script | Arguments]}, {line, 1000}, binary]),
        {os_pid, OsPid} = erlang:port_info(Port, os_pid),
        receive {Port, {data, {eol, Line}}} -> Self ! {self(), OsPid, Line} end,
        receive stop -> port_close(Port) end
    end),
    receive
        {Holder, OsPid, Line} ->
            {ok, #{<<"port">> := Port, <<"id">> := Id, <<"secret">> := Secret}} = warp_json:decode(Line),
            true = os:putenv(Name ++ "_ID", binary_to_list(Id)),
            true = os:putenv(Name ++ "_SECRET", binary_to_list(Secret)),
            #server{holder = Holder, os_pid = OsPid, port = Port}
    after ?START_MS ->
        exit(Holder, kill),
        error({no_server, Python})
    end.

stop(#server{holder = Holder}) ->
    Holder ! stop,
    ok.

address(#server{port = Port}) -> address(Port);
address(Port) -> "http://127.0.0.1:" ++ integer_to_list(Port).

%% It takes connections, and does nothing.
pause(#server{os_pid = OsPid}) -> signal("STOP", OsPid).
resume(#server{os_pid = OsPid}) -> signal("CONT", OsPid).

signal(Name, OsPid) ->
    [] = os:cmd("kill -" ++ Name ++ " " ++ integer_to_list(OsPid)),
    ok.

%% ------------------------------------------------------------------ The door

door(#server{port = To}) -> opened(0, To).

opened(Port, To) ->
    Self = self(),
    Pid = spawn(fun() ->
        {ok, Listen} = gen_tcp:listen(Port, [binary, {ip, {127, 0, 0, 1}}, {active, false}, {reuseaddr, true}]),
        {ok, Is} = inet:port(Listen),
        Self ! {self(), Is},
        accept(Listen, To)
    end),
    receive {Pid, Is} -> #door{pid = Pid, port = Is, to = To} end.

accept(Listen, To) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    Relay = spawn_link(fun() ->
        receive go -> ok end,
        {ok, Server} = gen_tcp:connect({127, 0, 0, 1}, To, [binary, {active, false}]),
        ok = inet:setopts(Server, [{active, true}]),
        ok = inet:setopts(Socket, [{active, true}]),
        relay(Socket, Server)
    end),
    ok = gen_tcp:controlling_process(Socket, Relay),
    Relay ! go,
    accept(Listen, To).

relay(One, Other) ->
    receive
        {tcp, One, Bytes} -> _ = gen_tcp:send(Other, Bytes), relay(One, Other);
        {tcp, Other, Bytes} -> _ = gen_tcp:send(One, Bytes), relay(One, Other);
        {tcp_closed, _} -> ok
    end.

%% Cuts all connections, and takes no more.
shut(#door{pid = Pid}) ->
    Monitor = monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

%% The same address again.
open(#door{port = Port, to = To}) -> opened(Port, To).

leave(Door) -> shut(Door).

door_address(#door{port = Port}) -> address(Port).

%% ------------------------------------------------------------------ The programs of targets

%% The operating system's ids of those that run for this VM.
programs() ->
    [OsPid || Port <- erlang:ports(), {name, Name} <- [erlang:port_info(Port, name)],
              filename:basename(Name) =:= "warp_store", {os_pid, OsPid} <- [erlang:port_info(Port, os_pid)]].

root() -> warp_fault_vm:root().
