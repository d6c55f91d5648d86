%% VMs with names for tests of clusters. They need neither epmd nor the addresses in their names: this module tells
%% each VM, in place of `erl_epmd', at which port of this machine the others are.
-module(warp_testing_nodes_ffi).

-export([with_nodes/2, on_node/2]).
-export([start_link/0, register_node/2, register_node/3, listen_port_please/2, address_please/3, port_please/2,
         port_please/3, names/1]).

-define(VERSION, 6).

with_nodes(Names, Run) ->
    Ports = free_ports(length(Names)),
    Table = lists:append([[binary_to_list(Name), integer_to_list(Port)] || {Name, Port} <- lists:zip(Names, Ports)]),
    Nodes = [start_node(Name, Table) || Name <- Names],
    try
        Run(Nodes)
    after
        [peer:stop(Node) || Node <- Nodes]
    end.

start_node(Full, Table) ->
    [Name, Host] = string:split(binary_to_list(Full), "@"),
    Paths = lists:append([["-pa", Path] || Path <- code:get_path(), filename:pathtype(Path) =:= absolute]),
    {ok, Pid, _Node} =
        peer:start_link(#{name => list_to_atom(Name), host => Host, longnames => true, connection => standard_io,
                          args => Paths ++ ["-epmd_module", atom_to_list(?MODULE), "-start_epmd", "false",
                                            "-setcookie", "warp_testing", "-kernel", "inet_dist_use_interface",
                                            "{127,0,0,1}", "-kernel", "logger_level", "none",
                                            "-warp_testing_nodes" | Table]}),
    Pid.

on_node(Node, Run) ->
    peer:call(Node, erlang, apply, [Run, []], infinity).

%% All at once, so that they differ.
free_ports(Count) ->
    Sockets = [element(2, {ok, _} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}])) || _ <- lists:seq(1, Count)],
    [begin {ok, Port} = inet:port(Socket), ok = gen_tcp:close(Socket), Port end || Socket <- Sockets].

%% Inside a VM, what `erl_epmd' has.

start_link() -> ignore.

register_node(Name, Port) -> register_node(Name, Port, inet).

register_node(_Name, _Port, _Family) -> {ok, rand:uniform(16#7fffffff)}.

listen_port_please(Name, Host) -> {ok, port(Name, Host)}.

address_please(Name, Host, _Family) -> {ok, {127, 0, 0, 1}, port(Name, Host), ?VERSION}.

port_please(Name, Host) -> {port, port(Name, Host), ?VERSION}.

port_please(Name, Host, _Timeout) -> port_please(Name, Host).

names(_Host) -> {error, address}.

port(Name, Host) ->
    {ok, [Table]} = init:get_argument(warp_testing_nodes),
    port_of(lists:flatten(io_lib:format("~s@~s", [Name, Host])), Table).

port_of(Full, [Full, Port | _]) -> list_to_integer(Port);
port_of(Full, [_, _ | Table]) -> port_of(Full, Table).
