%% A cluster of VMs, each in a network namespace of its own and with a small disk of its own, to which faults happen.
-module(warp_chaos_cluster).

-export([start/3, stop/1, names/1, suffer/2, heal/1, each/2, first/1, on/3, begin_load/2]).

-export_type([cluster/0]).

%% The table has `{Place, Vm}', `{{boot, Node}, Count}', and `{load, Load}'.
-record(chaos_cluster, {
    prefix :: string(),
    dir :: file:filename(),
    net :: warp_chaos_net:net(),
    addresses :: #{atom() => string()},
    table :: ets:table()
}).

-opaque cluster() :: #chaos_cluster{}.

-define(SHARDS, 8).
-define(DISK_MIB, 128).
%% How long healing may take, and a step of it.
-define(HEAL_MS, 60000).

%% Starts a cluster of so many nodes, with all its files below a folder. The prefix tells it from others.
start(Prefix, Dir, Count) ->
    Nodes = [list_to_atom("n" ++ integer_to_list(N)) || N <- lists:seq(1, Count)],
    Addresses = [{Node, warp_chaos_net:address(N)} || {N, Node} <- lists:enumerate(Nodes)],
    Net = warp_chaos_net:start(Prefix, Addresses ++ [{twin_of(Node), Address} || {Node, Address} <- Addresses]),
    Cluster = #chaos_cluster{prefix = Prefix, dir = Dir, net = Net, addresses = maps:from_list(Addresses),
                             table = ets:new(?MODULE, [public])},
    lists:foreach(fun(Node) ->
        {ok, _} = warp_small_disk:mount(disk(Cluster, Node), ?DISK_MIB)
    end, Nodes),
    ok = filelib:ensure_path(filename:join(Dir, "logs")),
    [ok = up(Cluster, Node, Node, [hd(Nodes)]) || Node <- Nodes],
    Cluster.

stop(#chaos_cluster{net = Net, dir = Dir} = Cluster) ->
    lists:foreach(fun(Node) -> ok = down(Cluster, Node) end, names(Cluster)),
    ok = warp_chaos_net:stop(Net),
    lists:foreach(fun(Node) -> ok = warp_small_disk:unmount(disk(Cluster, Node)) end, names(Cluster)),
    warp_test:remove_dir(Dir).

-spec names(cluster()) -> [atom()].
names(#chaos_cluster{addresses = Addresses}) -> lists:sort(maps:keys(Addresses)).

twin_of(Node) -> list_to_atom(atom_to_list(Node) ++ "x").

disk(#chaos_cluster{dir = Dir}, Node) -> filename:join(Dir, atom_to_list(Node)).

data(Cluster, Node) -> filename:join(disk(Cluster, Node), "data").

%% ------------------------------------------------------------------ Nodes

%% Starts a node in a place, with what is in its folder, and waits until its context has started.
up(Cluster, Node, Place, Seeds) ->
    ok = boot(Cluster, Node, Place),
    open(Cluster, Node, Place, Seeds).

boot(#chaos_cluster{prefix = Prefix, dir = Dir, addresses = Addresses, table = Table} = Cluster, Node, Place) ->
    #{Node := Address} = Addresses,
    {Program, Args} = warp_chaos_net:under(Prefix, Place),
    Log = filename:join([Dir, "logs", atom_to_list(Place) ++ ".log"]),
    Handler = "[{handler,default,logger_std_h,#{config=>#{file=>\"" ++ Log ++ "\"}}}]",
    Vm = warp_cluster_vm:start(
        Node, disk(Cluster, Place),
        ["-start_epmd", "false", "-erl_epmd_port", "4370", "-kernel", "net_ticktime", "4", "-kernel", "logger", Handler,
         "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"],
        #{name => Node, host => Address, exec => {Program, Args ++ [filename:join([code:root_dir(), "bin", "erl"])]}}),
    ok = warp_cluster_vm:release(Vm),
    true = ets:insert(Table, {Place, Vm}),
    _ = ets:update_counter(Table, {boot, Node}, 1, {{boot, Node}, 0}),
    ok.

%% A node that joins may be refused by one that has not heard yet that it has left.
open(Cluster, Node, Place, Seeds) ->
    Names = [node_name(Cluster, Seed) || Seed <- Seeds],
    Options = warp_cluster_vm:options(data(Cluster, Place),
        #{cluster => {clustered, #{seed_nodes => Names}}, shards => ?SHARDS, snapshot_every => 20,
          aggregates => warp_chaos_load:aggregates()}),
    Opened = on(Cluster, Place, fun() -> warp_cluster_vm:open_here(Options) end),
    case Opened of
        ok -> ok;
        {error, {cluster_refused, _, _}} -> timer:sleep(200), open(Cluster, Node, Place, Seeds);
        {error, Why} -> error({no_start, Node, Why})
    end.

node_name(#chaos_cluster{addresses = Addresses}, Node) ->
    list_to_atom(atom_to_list(Node) ++ "@" ++ maps:get(Node, Addresses)).

down(#chaos_cluster{table = Table}, Place) ->
    case ets:take(Table, Place) of
        [{_, Vm}] -> warp_cluster_vm:kill(Vm);
        [] -> ok
    end.

vm(#chaos_cluster{table = Table}, Place) -> ets:lookup_element(Table, Place, 2).

%% Runs a fun in the VM of a node.
on(Cluster, Node, Fun) -> warp_cluster_vm:run(vm(Cluster, Node), Fun).

%% Runs a fun in the VMs of all nodes at once: the results by node.
each(Cluster, Fun) ->
    Nodes = names(Cluster),
    maps:from_list(lists:zip(Nodes, warp_test:parallel([fun() -> on(Cluster, Node, Fun) end || Node <- Nodes]))).

first(Cluster) -> hd(names(Cluster)).

%% Begins the load on a node; it is begun again when the node is started again.
begin_load(#chaos_cluster{table = Table} = Cluster, Load) ->
    true = ets:insert(Table, {load, Load}),
    lists:foreach(fun(Node) -> ok = load(Cluster, Node) end, names(Cluster)).

load(#chaos_cluster{table = Table} = Cluster, Node) ->
    [{load, #{watch := Watch} = Load}] = ets:lookup(Table, load),
    Options = Load#{vm => Node, boot => ets:lookup_element(Table, {boot, Node}, 2), watch => maps:get(Node, Watch, [])},
    on(Cluster, Node, fun() -> warp_chaos_load:start(Options) end).

%% ------------------------------------------------------------------ Faults

%% Lets a schedule happen, and is back when all is undone: what went wrong by then.
-spec suffer(cluster(), warp_chaos_schedule:schedule()) -> [tuple()].
suffer(Cluster, Schedule) ->
    Runs = [spawn_monitor(fun() ->
                timer:sleep(After),
                exit({result, fault(Cluster, Fault, For)})
            end) || {After, For, Fault} <- Schedule],
    lists:append([receive
                      {'DOWN', Ref, process, Pid, {result, Wrong}} -> Wrong;
                      {'DOWN', Ref, process, Pid, Why} -> [{fault_failed, Why}]
                  after ?HEAL_MS ->
                      [{fault_goes_on, Schedule, process_info(Pid, current_stacktrace)}]
                  end || {Pid, Ref} <- Runs]).

fault(#chaos_cluster{net = Net}, {cut, _Shape, Pairs}, For) ->
    network(Net, [{lose, A, B} || {A, B} <- Pairs], For);
fault(#chaos_cluster{net = Net}, {delay, Pairs, Millis}, For) ->
    network(Net, [{delay, A, B, Millis} || {A, B} <- Pairs], For);
fault(Cluster, {kill, Node}, For) ->
    ok = down(Cluster, Node),
    timer:sleep(For),
    again(Cluster, Node);
fault(Cluster, {freeze, Node}, For) ->
    Vm = vm(Cluster, Node),
    ok = warp_cluster_vm:freeze(Vm),
    timer:sleep(For),
    ok = warp_cluster_vm:thaw(Vm),
    [];
fault(Cluster, {pause, Node}, For) ->
    ok = on(Cluster, Node, fun() -> warp_cluster:pause(warp_cluster_vm:ctx()) end),
    timer:sleep(For),
    ok = on(Cluster, Node, fun() -> warp_cluster:resume(warp_cluster_vm:ctx()) end),
    [];
fault(Cluster, {full, Node}, For) ->
    ok = warp_small_disk:fill(disk(Cluster, Node)),
    timer:sleep(For),
    ok = warp_small_disk:make_room(disk(Cluster, Node)),
    [];
fault(Cluster, {leave, Node, How}, For) ->
    case on(Cluster, Node, fun() -> warp_cluster:leave(warp_cluster_vm:ctx(), #{timeout => ?HEAL_MS div 2}) end) of
        ok ->
            ok = on(Cluster, Node, fun warp_cluster_vm:close_here/0),
            _ = [ok = file:del_dir_r(data(Cluster, Node)) || How =:= empty_folder],
            timer:sleep(For),
            ok = open(Cluster, Node, Node, names(Cluster) -- [Node]),
            [];
        {error, Why} ->
            [{cannot_leave, Node, Why}]
    end;
fault(Cluster, {old_folder, Node}, For) ->
    Data = data(Cluster, Node),
    [Old, Newest] = [Data ++ Ending || Ending <- [".old", ".newest"]],
    ok = down(Cluster, Node),
    ok = copy(Data, Old),
    [] = again(Cluster, Node),
    ok = linked(Cluster, Node),
    timer:sleep(For),
    ok = down(Cluster, Node),
    ok = file:rename(Data, Newest),
    ok = file:rename(Old, Data),
    Wrong = must_not_serve(Cluster, Node, Node, 1500),
    ok = down(Cluster, Node),
    ok = file:del_dir_r(Data),
    ok = file:rename(Newest, Data),
    Wrong ++ again(Cluster, Node);
fault(#chaos_cluster{net = Net} = Cluster, {twin, Node}, For) ->
    Others = names(Cluster) -- [Node],
    Twin = twin_of(Node),
    Away = [{lose, A, B} || Other <- Others, {A, B} <- [{Node, Other}, {Other, Node}]],
    Instead = [{route, Node, Twin}],
    ok = warp_chaos_net:make(Net, Away),
    ok = filelib:ensure_path(disk(Cluster, Twin)),
    ok = copy(data(Cluster, Node), data(Cluster, Twin)),
    ok = warp_chaos_net:make(Net, Instead),
    Wrong = must_not_serve(Cluster, Node, Twin, For),
    ok = down(Cluster, Twin),
    ok = file:del_dir_r(disk(Cluster, Twin)),
    ok = warp_chaos_net:undo(Net, Instead ++ Away),
    Wrong.

network(Net, Commands, For) ->
    ok = warp_chaos_net:make(Net, Commands),
    timer:sleep(For),
    ok = warp_chaos_net:undo(Net, Commands),
    [].

again(Cluster, Node) ->
    ok = up(Cluster, Node, Node, names(Cluster)),
    ok = load(Cluster, Node),
    [].

%% Until another node has heard that it was started.
linked(Cluster, Node) ->
    warp_test:wait_until(fun() ->
        on(Cluster, Node, fun() ->
            {ok, Members} = warp_cluster:members(warp_cluster_vm:ctx()),
            length([yes || #{is_linked := true} <- Members]) > 1
        end)
    end).

must_not_serve(Cluster, Node, Place, For) ->
    ok = boot(Cluster, Node, Place),
    Opening = spawn(fun() -> exit(open(Cluster, Node, Place, names(Cluster))) end),
    Monitor = monitor(process, Opening),
    receive
        {'DOWN', Monitor, process, _, ok} -> [{serves, Place}];
        {'DOWN', Monitor, process, _, _} -> []
    after For ->
        true = demonitor(Monitor, [flush]),
        true = exit(Opening, kill),
        []
    end.

copy(From, To) ->
    "" = os:cmd("cp -a " ++ From ++ " " ++ To),
    ok.

%% ------------------------------------------------------------------ Afterwards

%% Waits until all nodes are linked, each shard is where it should be, and every node has an answer for each shard: what
%% is wrong.
-spec heal(cluster()) -> [tuple()].
heal(Cluster) ->
    Deadline = erlang:monotonic_time(millisecond) + ?HEAL_MS div 2,
    case healed(Cluster, Deadline, none) of
        ok -> one_owner(Cluster);
        {error, Why} -> [{does_not_heal, Why}]
    end.

healed(Cluster, Deadline, Was) ->
    case erlang:monotonic_time(millisecond) > Deadline of
        true ->
            {error, Was};
        false ->
            Count = length(names(Cluster)),
            States = each(Cluster, fun() -> state(Count) end),
            case lists:usort(maps:values(States)) of
                [ok] -> ok;
                _ -> timer:sleep(100), healed(Cluster, Deadline, States)
            end
    end.

%% Inside a VM.
state(Count) ->
    Ctx = warp_cluster_vm:ctx(),
    case {warp_cluster:migrate(Ctx, #{timeout => 2000}), warp_cluster:members(Ctx)} of
        {ok, {ok, Members}} ->
            case [yes || #{is_linked := true, state := up} <- Members] of
                Linked when length(Linked) =:= Count ->
                    Results = [append_to(N) || N <- lists:seq(0, ?SHARDS - 1)],
                    case [Result || {error, _} = Result <- Results] of [] -> ok; Errors -> Errors end;
                _ -> Members
            end;
        Other ->
            Other
    end.

append_to(N) ->
    Entity = warp_cluster_vm:entity(on_shard(N, 1)),
    warp_core:append(Entity, #{aggregate => <<"Chain">>, type => <<"Noted">>, payload => #{id => <<"healed">>}},
                     #{timeout => 2000}).

on_shard(N, Try) ->
    Id = <<"probe-", (integer_to_binary(Try))/binary>>,
    case warp_nif:shard_of(Id, ?SHARDS) of
        {ok, N} -> Id;
        {ok, _} -> on_shard(N, Try + 1)
    end.

%% What each node serves by itself.
one_owner(Cluster) ->
    Here = each(Cluster, fun() ->
        {ok, Context} = warp_context:of_handle(warp_cluster_vm:ctx()),
        [N || N <- lists:seq(0, ?SHARDS - 1), warp_context_owners:where(Context, N) =:= here]
    end),
    case lists:sort(lists:append(maps:values(Here))) =:= lists:seq(0, ?SHARDS - 1) of
        true -> [];
        false -> [{owners, Here}]
    end.
