%% Network namespaces, one for each node of a cluster, and the switch between them. Each is an address to the others;
%% packets between two of them are lost or late as the schedule says. Needs mount and network spaces of its own, as
%% `scripts/chaos' makes them: nothing of it is left when they end.
-module(warp_chaos_net).

-export([start/2, stop/1, make/2, undo/2, under/2, address/1]).

-export_type([net/0, command/0]).

-opaque net() :: pid().
%% Places are those of nodes, and of a copy of a node. Nothing gets from one to the other; it takes so many
%% milliseconds; the address of a node is in another place.
-type command() :: {lose, place(), place()} | {delay, place(), place(), pos_integer()} | {route, place(), place()}.
-type place() :: atom().

-define(PATIENCE_MS, 20000).

%% Places by their names; those of copies with the address of a node. The prefix tells clusters apart that run side by
%% side.
-spec start(Prefix :: string(), [{place(), Address :: string()}]) -> net().
start(Prefix, Places) ->
    Self = self(),
    {Net, Monitor} = spawn_monitor(fun() ->
        _ = [ok = sh("ip netns add " ++ name(Prefix, Place)) || {Place, _} <- Places],
        Args = [name(Prefix, Place) ++ "=" ++ Address || {Place, Address} <- Places],
        Port = open_port({spawn_executable, os:find_executable("python3")},
                         [{args, [script() | Args]}, {line, 100}, binary, exit_status]),
        <<"ready">> = said(Port),
        Self ! {self(), ready},
        loop(Port, Prefix)
    end),
    receive
        {Net, ready} -> true = demonitor(Monitor, [flush]), Net;
        {'DOWN', Monitor, process, Net, Why} -> error({no_network, Why})
    end.

-spec stop(net()) -> ok.
stop(Net) -> ask(Net, stop).

%% Makes packets lost or late.
-spec make(net(), [command()]) -> ok.
make(Net, Commands) -> lists:foreach(fun(Command) -> ok = ask(Net, Command) end, Commands).

%% As it was before. What others have made stays.
-spec undo(net(), [command()]) -> ok.
undo(Net, Commands) -> make(Net, [opposite(Command) || Command <- Commands]).

opposite({lose, From, To}) -> {find, From, To};
opposite({delay, From, To, _}) -> {delay, From, To, 0};
opposite({route, Of, _}) -> {route, Of, Of}.

%% The program, with its first arguments, that runs another one in a place.
-spec under(Prefix :: string(), place()) -> {string(), [string()]}.
under(Prefix, Place) -> {os:find_executable("ip"), ["netns", "exec", name(Prefix, Place)]}.

%% The address of the nth node.
-spec address(pos_integer()) -> string().
address(Nth) -> "10.0.0." ++ integer_to_list(Nth).

name(Prefix, Place) -> Prefix ++ atom_to_list(Place).

script() -> filename:join([warp_fault_vm:root(), "test", "chaos", "warp_chaos_switch.py"]).

ask(Net, Command) ->
    Monitor = monitor(process, Net),
    Net ! {self(), Command},
    receive
        {Net, ok} -> true = demonitor(Monitor, [flush]), ok;
        {'DOWN', Monitor, process, Net, _} when Command =:= stop -> ok;
        {'DOWN', Monitor, process, Net, Why} -> error({no_network, Why})
    after ?PATIENCE_MS -> error({no_network, silent})
    end.

loop(Port, Prefix) ->
    receive
        {Port, {exit_status, Status}} ->
            exit({switch_ended, Status});
        {From, stop} ->
            true = port_close(Port),
            From ! {self(), ok};
        {From, Command} ->
            true = port_command(Port, [line(Prefix, Command), $\n]),
            <<"ok">> = said(Port),
            From ! {self(), ok},
            loop(Port, Prefix)
    end.

line(Prefix, {delay, From, To, Millis}) ->
    ["delay ", name(Prefix, From), " ", name(Prefix, To), " ", integer_to_list(Millis)];
line(Prefix, {What, From, To}) -> [atom_to_list(What), " ", name(Prefix, From), " ", name(Prefix, To)].

said(Port) ->
    receive
        {Port, {data, {eol, Line}}} -> Line;
        {Port, {exit_status, Status}} -> exit({switch_ended, Status})
    after ?PATIENCE_MS -> exit(switch_is_silent)
    end.

sh(Command) ->
    case os:cmd(Command ++ " 2>&1") of
        "" -> ok;
        Text -> error({Command, Text})
    end.
