%% A TCP proxy to a real server, which can lose what tests want to be lost.
-module(warp_rqlite_proxy).

-export([start/1, stop/1, url/1, mode/2, connections/1, lost/1]).

%% Mode `pass'. `cut_answer': the server gets the request, and when its answer comes both
%% connections are closed. `swallow': the same, but the client's connection stays open, in silence.
%% `cut_request': closed after a part of the request. `slow': each answer comes two seconds late.
start(#{http := Upstream}) ->
    Self = self(),
    Counters = counters:new(3, []),
    Pid = spawn(fun() ->
        {ok, Listen} = gen_tcp:listen(0, [binary, {active, false}, {ip, {127, 0, 0, 1}},
                                          {backlog, 100}]),
        {ok, Port} = inet:port(Listen),
        Self ! {self(), Port},
        accept(Listen, Upstream, Counters)
    end),
    receive {Pid, Port} -> #{pid => Pid, port => Port, counters => Counters} end.

stop(#{pid := Pid}) -> exit(Pid, kill).

url(#{port := Port}) -> "http://127.0.0.1:" ++ integer_to_list(Port).

mode(#{counters := Counters}, Mode) -> counters:put(Counters, 1, number(Mode)).

connections(#{counters := Counters}) -> counters:get(Counters, 2).

%% How many answers were not handed on.
lost(#{counters := Counters}) -> counters:get(Counters, 3).

number(pass) -> 0;
number(cut_answer) -> 1;
number(swallow) -> 2;
number(cut_request) -> 3;
number(slow) -> 4.

accept(Listen, Upstream, Counters) ->
    {ok, Client} = gen_tcp:accept(Listen),
    counters:add(Counters, 2, 1),
    Pid = spawn_link(fun() -> receive go -> connection(Client, Upstream, Counters) end end),
    ok = gen_tcp:controlling_process(Client, Pid),
    Pid ! go,
    accept(Listen, Upstream, Counters).

connection(Client, Upstream, Counters) ->
    case gen_tcp:connect({127, 0, 0, 1}, Upstream, [binary, {active, true}]) of
        {ok, Server} ->
            ok = inet:setopts(Client, [{active, true}]),
            pump(Client, Server, Counters);
        {error, _} ->
            gen_tcp:close(Client)
    end.

pump(Client, Server, Counters) ->
    receive
        {tcp, Client, Data} ->
            case counters:get(Counters, 1) of
                3 ->
                    _ = gen_tcp:send(Server, binary:part(Data, 0, byte_size(Data) div 2)),
                    close(Client, Server);
                _ ->
                    _ = gen_tcp:send(Server, Data),
                    pump(Client, Server, Counters)
            end;
        {tcp, Server, Data} ->
            case counters:get(Counters, 1) of
                1 ->
                    counters:add(Counters, 3, 1),
                    close(Client, Server);
                2 ->
                    counters:add(Counters, 3, 1),
                    pump(Client, Server, Counters);
                Mode ->
                    _ = [timer:sleep(2000) || Mode =:= 4],
                    _ = gen_tcp:send(Client, Data),
                    pump(Client, Server, Counters)
            end;
        {tcp_closed, _} -> close(Client, Server);
        {tcp_error, _, _} -> close(Client, Server)
    end.

close(Client, Server) ->
    _ = gen_tcp:close(Client),
    gen_tcp:close(Server).
