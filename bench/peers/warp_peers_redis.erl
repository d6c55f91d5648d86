%% Redis: a stream for each entity, appendfsync always, over a Unix socket. redis_load.c is the load.
-module(warp_peers_redis).
-behaviour(warp_peer).

-export([open/4, close/1, fill/2, measure/4, memory_per_event/0]).

-define(BATCH, 500).

open(_, _, Dir, #{as := As, bin := Bin} = Env) ->
    Start = erlang:monotonic_time(microsecond),
    Server = warp_peers_os:serve(Env, "TERM", As ++ [
        filename:join(Bin, "redis-server"), "--port", "0", "--unixsocket", socket(Env), "--dir", Dir,
        "--maxclients", "2000", "--appendonly", "yes", "--appendfsync", "always", "--save", "",
        "--auto-aof-rewrite-percentage", "0"]),
    ok = warp_peers_os:until(Server, fun() -> asked(Env, "PING") =:= "+PONG" end),
    Took = (erlang:monotonic_time(microsecond) - Start) / 1000,
    #{server => Server, dir => Dir, start_ms => Took, env => Env}.

socket(#{sockets := Sockets}) ->
    filename:join(Sockets, "redis").

%% The first line of the answer.
asked(Env, Command) ->
    case gen_tcp:connect({local, socket(Env)}, 0, [local, {active, false}, {packet, line}], 1000) of
        {ok, Socket} ->
            ok = gen_tcp:send(Socket, [Command, "\r\n"]),
            Answer = gen_tcp:recv(Socket, 0),
            ok = gen_tcp:close(Socket),
            case Answer of {ok, Line} -> string:trim(Line); {error, _} -> "" end;
        {error, _} ->
            ""
    end.

close(#{server := Server}) ->
    warp_peers_os:stop(Server).

memory_per_event() -> 120.

%% Nothing that is loaded has to be durable one by one.
fill(#{env := Env} = Peer, Store) ->
    "+OK" = asked(Env, "CONFIG SET appendfsync no"),
    case Store of
        {filled, Events, Each} ->
            load(Peer, ["fill", integer_to_list(Events), integer_to_list(Each)]);
        {victims, Events, Each, Victims} ->
            load(Peer, ["victims", integer_to_list(Victims), integer_to_list(Each)]),
            _ = [load(Peer, ["fill", integer_to_list(Events), integer_to_list(Each)]) || Events > 0],
            ok
    end,
    "+OK" = asked(Env, "CONFIG SET appendfsync always"),
    ok.

measure(#{start_ms := Ms}, start, _, _) ->
    Ms;
measure(#{server := Server}, memory, _, _) ->
    {os_pid, Pid} = erlang:port_info(Server, os_pid),
    warp_peers_os:memory(Pid);
measure(#{dir := Dir}, bytes, {filled, Events, _}, _) ->
    warp_peers_os:bytes(Dir) / Events;
measure(Peer, {Kind, N}, _, _) when Kind =:= read; Kind =:= delete ->
    load(Peer, [atom_to_list(Kind), "victim-" ++ integer_to_list(N)]);
measure(Peer, {Kind, Callers}, _, #{seconds := Seconds}) ->
    Rate = load(Peer, [atom_to_list(Kind), integer_to_list(Callers), integer_to_list(Seconds), tag()]),
    case Kind of batches -> ?BATCH * Rate; _ -> Rate end.

tag() ->
    integer_to_list(erlang:system_time(microsecond), 36).

load(#{env := #{bin := Bin} = Env}, Args) ->
    warp_peers_os:number(Env, [filename:join(Bin, "redis_load"), socket(Env) | Args]).
