%% A server in a VM of its own, what both of its programs take of memory, and many subscriptions to it.
-module(warp_bench_server_vm).
-behaviour(warp_server).

-export([start/2, stop/1, memory/1, load/1, subscribe/2, unsubscribe/1]).
-export([context/1]).
-export_type([server/0]).

-type server() :: #{vm := term(), server := pid(), gateway := pos_integer(), address := string(), token := string()}.

%% More than the calls, connections and subscriptions of any measurement.
-define(LIMIT, 100000).
-define(SUBSCRIBE_MS, 120000).

%% Builds the gateway and the client in Rust, and starts a server with a context in Dir. Throws what went wrong with
%% building.
-spec start(file:filename(), pos_integer()) -> server().
start(Dir, Shards) ->
    {ok, Root} = file:get_cwd(),
    _ = warp_peers_os:run(#{root => Root}, [filename:join(Root, "bench/server/build"), "load"]),
    %% As in a release, a scheduler that has nothing to do leaves the processor to the gateway.
    Paths = [filename:dirname(code:which(Module)) || Module <- [?MODULE, warp_server]],
    Args = ["-pa" | Paths] ++ ["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"],
    Vm = warp_cluster_vm:start(server, Dir, Args),
    Token = warp_server:new_token(),
    {Server, Gateway, Port} = warp_cluster_vm:run(Vm, fun() -> started(warp_cluster_vm:dir_of(Vm), Shards, Token) end),
    #{vm => Vm, server => Server, gateway => Gateway,
      address => "127.0.0.1:" ++ integer_to_list(Port), token => binary_to_list(Token)}.

-spec stop(server()) -> ok.
stop(#{vm := Vm, server := Server}) ->
    ok = warp_cluster_vm:run(Vm, fun() -> warp_server:stop(Server) end),
    warp_cluster_vm:kill(Vm).

%% In the VM of the server, which goes on when the process that calls this ends.
started(Dir, Shards, Token) ->
    ok = logger:set_primary_config(level, error),
    {ok, Server} = warp_server:start_link(#{
        contexts => [#{name => <<"bench">>, data_dir => Dir, module => ?MODULE, options => #{shards => Shards}}],
        listeners => [#{port => 0}],
        tokens => [#{id => <<"bench">>, sha256 => binary:encode_hex(crypto:hash(sha256, Token)), scopes => [#{}],
                     connections => ?LIMIT, in_flight => ?LIMIT, subscriptions => ?LIMIT}],
        limits => #{connections => ?LIMIT, connections_per_address => ?LIMIT, in_flight => ?LIMIT}}),
    true = unlink(Server),
    [Gateway] = [Pid || Port <- erlang:ports(), {name, Name} <- [erlang:port_info(Port, name)],
                        filename:basename(Name) =:= "warp_gateway", {os_pid, Pid} <- [erlang:port_info(Port, os_pid)]],
    [{_, Port}] = warp_server:addresses(Server),
    {Server, Gateway, Port}.

-spec context(binary()) -> warp_server:context().
context(<<"bench">>) ->
    #{aggregates => [(warp_bench_run:ledger())#{name => <<"Account">>}]}.

%% In bytes. What the two share is in `both' once.
-spec memory(server()) -> #{gateway | vm | both := number()}.
memory(#{vm := Vm, gateway := Gateway}) ->
    Os = warp_cluster_vm:run(Vm, fun os:getpid/0),
    [OfGateway, Both] = [warp_peers_os:memory(Pid) || Pid <- [Gateway, Os]],
    #{gateway => OfGateway, vm => Both - OfGateway, both => Both}.

%% The client in Rust, with its first arguments.
-spec load([string()]) -> [string()].
load(Args) ->
    {ok, Root} = file:get_cwd(),
    [filename:join(Root, "target/gateway/release/examples/load") | Args].

%% Opens so many, each over a socket of its own, which takes as many open files. An error is what the client said.
-spec subscribe(server(), pos_integer()) -> {ok, port()} | {error, string()}.
subscribe(#{address := Address, token := Token}, Count) ->
    Load = load(["subscriptions", Address, Token, integer_to_list(Count), "1"]),
    Port = open_port({spawn_executable, "/bin/sh"},
                     [{args, ["-c", "ulimit -n \"$(ulimit -Hn)\"; exec \"$@\"", "sh" | Load]},
                      exit_status, stderr_to_stdout, {line, 1000}]),
    receive
        {Port, {data, {eol, "{\"subscriptions\":" ++ _}}} -> {ok, Port};
        {Port, {data, {eol, Line}}} -> {error, Line};
        {Port, {exit_status, Status}} -> {error, "the client ended with status " ++ integer_to_list(Status)}
    after ?SUBSCRIBE_MS ->
        {error, "the subscriptions were not open in time"}
    end.

-spec unsubscribe(port()) -> ok.
unsubscribe(Port) ->
    true = port_command(Port, "\n"),
    receive {Port, {exit_status, _}} -> ok end.
