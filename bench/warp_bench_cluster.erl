%% A context on several nodes, each a VM of its own on this machine: one hop against the same call where the entity is,
%% what a lookup costs, and moving shards ({@link warp_bench_moves}).
-module(warp_bench_cluster).

-export([cluster/1, with_vms/3]).

-import(warp_bench_run, [event/1, title/2, row/3, rate/1, micros/1]).

-define(BATCH, 500).
%% How often a call where the entity is and one over a hop are measured in turn, and by how many callers.
-define(SIZES, #{rounds => 3, callers => [1, 16, 256]}).
-define(LOOKUPS, 1000000).

%% `sizes' in the options replaces some of the sizes, here and in {@link warp_bench_moves}: a test makes it short by
%% that.
-spec cluster(map()) -> ok.
cluster(#{dir := Dir, shards := Shards} = Given) ->
    Options = Given#{sizes => maps:merge(?SIZES, maps:get(sizes, Given, #{}))},
    io:format("~nSeveral nodes: all of their VMs share the ~b cores of this machine, and its disk. What~n"
              "moves, and what is asked over a hop, takes from the same cores as what it is compared with.~n",
              [erlang:system_info(schedulers_online)]),
    with_vms([a, b], Dir, fun([A, B] = Vms) ->
        ok = warp_cluster_vm:open_all(Vms, #{shards => max(2, Shards), aggregates => [warp_bench_run:ledger()]}),
        ok = warp_cluster_vm:run(A, fun() -> warp_cluster:migrate(warp_cluster_vm:ctx(), #{timeout => 60000}) end),
        Of = #{local => entities(A, A), hop => entities(A, B)},
        ok = appends(A, Of, Options),
        ok = reads(A, Of, Options),
        ok = routing(A)
    end),
    ok = warp_bench_moves:moves(Options),
    not_measured().

%% VMs without busy waiting, which would take from each other.
-spec with_vms([atom()], file:filename(), fun(([term()]) -> Result)) -> Result.
with_vms(Names, Dir, Fun) ->
    _ = file:del_dir_r(Dir),
    Args = ["-pa", filename:dirname(code:which(?MODULE)), "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"],
    Absolute = filename:absname(Dir),
    Vms = [warp_cluster_vm:start(Name, Absolute, Args) || Name <- Names],
    try
        _ = [ok = warp_cluster_vm:run(Vm, fun() -> logger:set_primary_config(level, error) end) || Vm <- Vms],
        Fun(Vms)
    after
        lists:foreach(fun warp_cluster_vm:kill/1, Vms),
        _ = file:del_dir_r(Dir)
    end.

%% As many entities as there are callers at most, which are on that node.
entities(A, Vm) ->
    Node = warp_cluster_vm:node_of(Vm),
    warp_cluster_vm:run(A, fun() ->
        All = [warp_cluster_vm:entity(<<"account-", (integer_to_binary(N))/binary>>) || N <- lists:seq(1, 2000)],
        list_to_tuple(lists:sublist([Entity || Entity <- All, warp_cluster:owner(Entity) =:= {ok, Node}], 256))
    end).

appends(A, Of, #{sizes := #{callers := Callers}} = Options) ->
    title("append, two nodes", ["events/s", "p50", "p99", "of local"]),
    Single = fun(Entity, Round) -> {ok, _} = warp_core:append(Entity, event(Round)) end,
    [compare(A, Of, Options, N, 1, Single) || N <- Callers],
    title("append_batch of 500, two nodes", ["events/s", "p50", "p99", "of local"]),
    Events = [event(N) || N <- lists:seq(1, ?BATCH)],
    Batch = fun(Entity, _Round) -> {ok, _} = warp_core:append_batch(Entity, Events) end,
    [compare(A, Of, Options, N, ?BATCH, Batch) || N <- Callers, N < 256],
    ok.

reads(A, Of, #{sizes := #{callers := Callers}} = Options) ->
    title("get, resident, two nodes", ["calls/s", "p50", "p99", "of local"]),
    Get = fun(Entity, _Round) -> {ok, _} = warp_core:get(Entity, <<"Ledger">>) end,
    [compare(A, Of, Options, N, 1, Get) || N <- Callers],
    ok.

%% The same calls from one node, to entities on it and on the other one, in turn.
compare(A, Of, #{seconds := Seconds, sizes := #{rounds := Rounds}}, N, PerCall, Call) ->
    Each = max(1, Seconds div Rounds),
    Measure = fun(Where) ->
        Entities = maps:get(Where, Of),
        fun() ->
            warp_cluster_vm:run(A, fun() ->
                warp_bench_run:callers(N, Each, fun(Caller, Round) -> Call(element(Caller, Entities), Round) end)
            end)
        end
    end,
    [Local, Hop] = warp_bench_run:in_turn(Rounds, [Measure(local), Measure(hop)]),
    [begin
         Share = io_lib:format("~.3f", [Calls / element(1, Local)]),
         row([integer_to_list(N), " caller(s), ", Name], {per_second, Calls * PerCall},
             [rate(Calls * PerCall), micros(P50), micros(P99), Share])
     end || {Name, {Calls, P50, P99}} <- [{"local", Local}, {"one hop", Hop}]].

%% What each call of a cluster's context does more than one of a single node: it looks where the shard is.
routing(A) ->
    title("routing", ["per call"]),
    {Where, Run} = warp_cluster_vm:run(A, fun() ->
        {ok, Context} = warp_context:of_handle(warp_cluster_vm:ctx()),
        [Here | _] = warp_context_owners:here(Context),
        How = {once, fun() -> infinity end},
        Call = {warp_core, append, []},
        {per_lookup(fun() -> warp_context_owners:where(Context, Here) end),
         per_lookup(fun() -> warp_cluster_call:run(Context, Here, Call, How, fun() -> ok end) end)}
    end),
    row("where a shard is", {micros, Where}, [micros(Where)]),
    row("a call that goes nowhere", {micros, Run}, [micros(Run)]).

per_lookup(Fun) ->
    max(0, micros_of(Fun) - micros_of(fun() -> ok end)).

micros_of(Fun) ->
    {Took, ok} = timer:tc(fun() -> repeat(Fun, ?LOOKUPS) end),
    Took / ?LOOKUPS.

repeat(_Fun, 0) ->
    ok;
repeat(Fun, N) ->
    _ = Fun(),
    repeat(Fun, N - 1).

not_measured() ->
    io:format("~nNot measured, but to be expected on machines of their own: a hop adds the network's round~n"
              "trip to the latency. The rates over a hop are higher, since the node of the caller and the~n"
              "node of the entity each have cores of their own for their part of a call. A move takes from~n"
              "the two nodes of the shard alone, and callers wait less, as nobody else takes their cores.~n").
