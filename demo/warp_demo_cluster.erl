%% make demo-cluster: three nodes share a context under load. Two more join, one is killed and comes back, one leaves;
%% at the end the totals are compared. With ARGS=--tls the nodes talk by TLS, with certificates of an authority of their
%% own.
-module(warp_demo_cluster).

-export([main/0]).
%% Inside a node
-export([start/2, load/2, seen/0, stop_load/0, totals/0, leave/0, moving/0]).

-import(warp_demo_text, [say/1, count/1]).

-define(SHARDS, 128).
-define(ENTITIES, 600).
-define(CALLERS, 4).
-define(COOKIE, "warp_demo").
-define(LOAD, {?MODULE, load}).

-record(vm, {name :: string(), pid :: pid(), node :: node()}).

-spec main() -> no_return().
main() ->
    case init:get_plain_arguments() of
        [] -> show([]);
        ["--tls"] -> show(warp_demo_cluster_tls:arguments(dir()));
        _ ->
            io:format(standard_error, "usage: make demo-cluster [ARGS=--tls]~n", []),
            halt(2)
    end.

dir() -> filename:join([warp_demo_text:root(), "_build", "demo-cluster"]).

show(Args) ->
    ok = filelib:ensure_dir(filename:join(dir(), "x")),
    _ = [file:del_dir_r(filename:join(dir(), File)) || File <- filelib:wildcard("warp*", dir())],
    say(["Five nodes on this machine, each a VM of its own", ["; they talk by TLS" || Args =/= []],
         ". The context has ", count(?SHARDS), " shards."]),
    heading("1  Three nodes", "the first one creates the cluster, two join by it"),
    Three = begin_nodes(["warp1", "warp2", "warp3"], [], Args),
    ok = until_even(Three),
    heading("2  Load", [count(?CALLERS), " callers on warp1 and on warp3, ", count(?ENTITIES),
                        " accounts; each append is durable"]),
    %% Not on the one that is killed, whose callers could not say what they were told.
    {_, Calling} = take("warp2", Three),
    lists:foreach(fun(Vm) -> ok = begin_load(Vm) end, Calling),
    ok = watch(Three, 4),
    heading("3  Two more join", "each is pointed at a node that is there; nothing else is done"),
    Five = begin_nodes(["warp4", "warp5"], Three, Args),
    ok = until_even(Five),
    heading("4  One is killed", "warp2, by SIGKILL; its accounts wait for it, all others go on"),
    {Killed, Others} = take("warp2", Five),
    ok = kill(Killed),
    ok = watch(Others, 4),
    say("   It is started again:"),
    [Again] = begin_nodes(["warp2"], Others, Args) -- Others,
    All = sorted([Again | Others]),
    ok = watch(All, 3),
    heading("5  One leaves", "warp1 gives its shards away, and says when it can be stopped"),
    {Leaving, Rest} = take("warp1", All),
    Self = self(),
    _ = spawn_link(fun() -> Self ! {left, call(Leaving, leave, [])} end),
    ok = watch_until(All, fun() -> receive {left, ok} -> true after 0 -> false end end),
    Seen = [call(Vm, stop_load, []) || Vm <- [Leaving | Rest]],
    ok = peer:stop(Leaving#vm.pid),
    ok = watch(Rest, 1),
    heading("In the end", "what callers were told, and what is stored"),
    ok = compare(Seen, call(hd(Rest), totals, [])),
    lists:foreach(fun(#vm{pid = Pid}) -> peer:stop(Pid) end, Rest),
    halt(0).

heading(Title, What) ->
    say(["\n", Title, ": ", What]).

sorted(Vms) -> lists:keysort(#vm.name, Vms).

take(Name, Vms) ->
    {value, Vm, Others} = lists:keytake(Name, #vm.name, Vms),
    {Vm, Others}.

%% ------------------------------------------------------------------ Nodes

begin_nodes(Names, Vms, Args) ->
    New = [begin_vm(Name, Args) || Name <- Names],
    All = sorted(New ++ Vms),
    Seeds = [case Vms of [] -> (hd(New))#vm.node; [#vm{node = Node} | _] -> Node end],
    lists:foreach(
        fun(#vm{name = Name} = Vm) ->
            ok = call(Vm, start, [filename:join(dir(), Name), Seeds]),
            say(["   ", Name, " has joined"])
        end,
        New),
    All.

begin_vm(Name, Args) ->
    Paths = lists:append([["-pa", Path] || Path <- code:get_path(), string:find(Path, "_build") =/= nomatch]),
    {ok, Pid, Node} =
        peer:start_link(#{name => list_to_atom(Name ++ "_" ++ os:getpid()), host => "127.0.0.1", longnames => true,
                          connection => standard_io, wait_boot => 60000,
                          args => Paths ++ ["-setcookie", ?COOKIE, "-kernel", "prevent_overlapping_partitions", "false",
                                            "-kernel", "logger_level", "error"] ++ Args}),
    #vm{name = Name, pid = Pid, node = Node}.

call(#vm{pid = Pid}, Function, Args) ->
    peer:call(Pid, ?MODULE, Function, Args, infinity).

begin_load(#vm{name = Name} = Vm) -> call(Vm, load, [Name, ?CALLERS]).

kill(#vm{pid = Pid}) ->
    Os = peer:call(Pid, os, getpid, []),
    true = unlink(Pid),
    Monitor = monitor(process, Pid),
    _ = os:cmd("kill -9 " ++ Os),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

%% ------------------------------------------------------------------ What a person sees

watch(_Vms, 0) -> ok;
watch(Vms, Seconds) ->
    ok = line(Vms),
    watch(Vms, Seconds - 1).

until_even(Vms) ->
    watch_until(Vms, fun() -> element(1, call(hd(Vms), moving, [])) =:= [] end).

watch_until(Vms, IsDone) ->
    ok = line(Vms),
    case IsDone() of
        true -> ok;
        false -> watch_until(Vms, IsDone)
    end.

line(Vms) ->
    Before = lists:sum([Count || Vm <- Vms, {Count, _} <- [call(Vm, seen, [])]]),
    Began = erlang:monotonic_time(millisecond),
    ok = timer:sleep(1000),
    After = lists:sum([Count || Vm <- Vms, {Count, _} <- [call(Vm, seen, [])]]),
    Took = erlang:monotonic_time(millisecond) - Began,
    {Moving, Shards} = call(hd(Vms), moving, []),
    say(["   ", string:pad(count((After - Before) * 1000 div Took), 7, leading), " appends/s   shards: ",
         [[Name, " ", bar(maps:get(Node, Shards, 0)), "  "] || #vm{name = Name, node = Node} <- Vms],
         [[" moving ", integer_to_list(N), " to ", name(To, Vms)] || {N, To} <- lists:sublist(Moving, 1)]]).

%% Four shards a sign.
bar(Shards) ->
    string:pad(lists:duplicate((Shards + 3) div 4, $=) ++ " " ++ integer_to_list(Shards), 16).

name(Node, Vms) ->
    case lists:keyfind(Node, #vm.node, Vms) of
        #vm{name = Name} -> Name;
        false -> "another"
    end.

compare(Seen, {Events, Amount}) ->
    {Told, Sum} = {lists:sum([Count || {Count, _} <- Seen]), lists:sum([Of || {_, Of} <- Seen])},
    say(warp_demo_text:table([{"acknowledged", count(Told), ["events, with ", count(Sum), " in all"]},
                              {"stored", count(Events), ["events, with ", count(Amount), " in all"]}])),
    case {Told, Sum} of
        {Events, Amount} -> say("Nothing that was acknowledged is lost, and nothing is stored twice.");
        _ ->
            say("These numbers should be the same. Please report this."),
            halt(1)
    end.

%% ------------------------------------------------------------------ Inside a node

-spec start(file:filename(), [node()]) -> ok.
start(Dir, Seeds) ->
    Account = #{name => <<"Account">>, initial_state => 0, apply => fun apply_event/2},
    {ok, Ctx} = warp_core:start(#{context => <<"demo">>, data_dir => Dir, shards => ?SHARDS, aggregates => [Account],
                                  cluster => {clustered, #{seed_nodes => Seeds}}}),
    persistent_term:put(?MODULE, Ctx).

apply_event(Balance, #{payload := #{<<"amount">> := Amount}}) -> Balance + Amount.

-spec load(string(), pos_integer()) -> ok.
load(Name, Callers) ->
    Counters = counters:new(2, []),
    Pids = [spawn(fun() -> caller(Name, N, 1, Counters, []) end) || N <- lists:seq(1, Callers)],
    persistent_term:put(?LOAD, {Counters, Pids}).

%% Pauses leave the machine room for the demo's other VMs. What cannot be stored now, since a node is down, is tried
%% again later, with the same id: so it is stored once.
caller(Name, Caller, N, Counters, Later) ->
    Id = iolist_to_binary([Name, "-", integer_to_list(Caller), "-", integer_to_list(N)]),
    Entity = warp_core:entity(persistent_term:get(?MODULE),
                              <<"account-", (integer_to_binary(rand:uniform(?ENTITIES)))/binary>>),
    Event = #{type => <<"Credited">>, payload => #{amount => rand:uniform(100)}, id => Id},
    {First, Others} = case Later of [Old | Rest] -> {[Old], Rest}; [] -> {[], []} end,
    Failed = [Append || Append <- First ++ [{Entity, Event}], not append(Append, Counters)],
    ok = timer:sleep(2),
    receive
        stop -> until_stored(Others ++ Failed, Counters)
    after 0 ->
        caller(Name, Caller, N + 1, Counters, Others ++ Failed)
    end.

until_stored([], _Counters) -> ok;
until_stored(Appends, Counters) ->
    until_stored([Append || Append <- Appends, not append(Append, Counters)], Counters).

append({Entity, #{payload := #{amount := Amount}} = Event}, Counters) ->
    case warp_core:append(Entity, Event) of
        {ok, _} ->
            ok = counters:add(Counters, 1, 1),
            ok = counters:add(Counters, 2, Amount),
            true;
        {error, _} ->
            false
    end.

%% How many events were acknowledged here, and with how much.
-spec seen() -> {non_neg_integer(), non_neg_integer()}.
seen() ->
    case persistent_term:get(?LOAD, none) of
        {Counters, _} -> {counters:get(Counters, 1), counters:get(Counters, 2)};
        none -> {0, 0}
    end.

-spec stop_load() -> {non_neg_integer(), non_neg_integer()}.
stop_load() ->
    case persistent_term:get(?LOAD, none) of
        {_, Pids} ->
            Monitors = [monitor(process, Pid) || Pid <- Pids],
            _ = [Pid ! stop || Pid <- Pids],
            _ = [receive {'DOWN', Monitor, process, _, _} -> ok end || Monitor <- Monitors],
            seen();
        none ->
            {0, 0}
    end.

%% The events of all accounts, and their balances.
-spec totals() -> {non_neg_integer(), integer()}.
totals() ->
    Ctx = persistent_term:get(?MODULE),
    Each = [begin
                Entity = warp_core:entity(Ctx, <<"account-", (integer_to_binary(N))/binary>>),
                {ok, Events} = warp_core:export(Entity),
                {ok, Balance} = warp_core:get(Entity, <<"Account">>),
                {length(Events), Balance}
            end || N <- lists:seq(1, ?ENTITIES)],
    {lists:sum([Count || {Count, _} <- Each]), lists:sum([Balance || {_, Balance} <- Each])}.

-spec leave() -> ok.
leave() ->
    ok = warp_cluster:leave(persistent_term:get(?MODULE)).

%% The shards that move or have to, with where they go; and how many each node has.
-spec moving() -> {[{non_neg_integer(), node()}], #{node() => non_neg_integer()}}.
moving() ->
    Ctx = persistent_term:get(?MODULE),
    {ok, #{shards := Shards}} = warp_cluster:status(Ctx),
    {ok, #{under_way := UnderWay, to_move := ToMove}} = warp_cluster:progress(Ctx),
    Now = [{N, To} || #{shard := N, to := To} <- UnderWay],
    {case Now of [] when ToMove > 0 -> [{0, node()}]; _ -> Now end, maps:map(fun(_, Ns) -> length(Ns) end, Shards)}.
