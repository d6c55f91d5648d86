%% Shards that move between nodes while callers append to them.
-module(warp_bench_moves).

-export([moves/1]).

-import(warp_bench_run, [event/1, title/2, row/3, rate/1, micros/1]).

%% How long a caller rests between two appends: a pause may be longer than its longest append by so much.
-define(REST_MS, 10).
%% How many append to the shard that moves alone, on each of the nodes.
-define(CALLERS, 8).
-define(BATCH, 500).

-define(SIZES, #{%% Of the context that grows.
                 shards => 128, entities => 100000,
                 %% Of the shard that moves alone, and how often it does.
                 events => 1000000, moves => 5}).

-spec moves(map()) -> ok.
moves(#{dir := Dir, sizes := Given} = Options) ->
    Sizes = maps:merge(?SIZES, Given),
    warp_bench_cluster:with_vms([a, b, c, d, e], Dir, fun(Vms) -> grow(Vms, Options, Sizes) end),
    warp_bench_cluster:with_vms([a, b], Dir, fun(Vms) -> alone(Vms, Sizes) end).

%% ------------------------------------------------------------------ From three nodes to five

grow([A | _] = Vms, #{seconds := Seconds}, #{shards := Shards, entities := Count}) ->
    {Three, Two} = lists:split(3, Vms),
    Settings = #{shards => Shards, aggregates => [warp_bench_run:ledger()]},
    ok = warp_cluster_vm:open_all(Three, Settings),
    ok = settled(A),
    Entities = warp_cluster_vm:run(A, fun() -> filled(Count) end),
    Pids = warp_cluster_vm:run(A, fun() -> warp_bench_probe:start(maps:to_list(Entities), ?REST_MS) end),
    ok = timer:sleep(Seconds * 500),
    Seen = fun() -> warp_cluster_vm:run(A, fun() -> warp_bench_probe:seen(Pids) end) end,
    _ = Seen(),
    {Around, Before} = timed(fun() -> ok = timer:sleep(Seconds * 3000), Seen() end),
    Owners = owners(A),
    {Took, Meanwhile} = timed(fun() ->
        lists:foreach(fun(Vm) -> ok = warp_cluster_vm:open(Vm, [A], Settings) end, Two),
        ok = settled(A),
        warp_cluster_vm:run(A, fun() -> warp_bench_probe:stop(Pids) end)
    end),
    Now = owners(A),
    Moved = [N || N <- maps:keys(Now), maps:get(N, Now) =/= maps:get(N, Owners)],
    title(io_lib:format("~b entities, 3 to 5 nodes", [Count]), ["appends/s", "p50", "p99", "longest"]),
    ok = said("before", Around, all(Before)),
    ok = said("while shards move", Took, all(Meanwhile)),
    title("settled", ["took", "shards"]),
    row(io_lib:format("of ~b shards", [Shards]), {single, Took}, [micros(Took), integer_to_list(length(Moved))]),
    title("longest append to a shard", ["median", "p99", "longest"]),
    {Of, Others} = lists:partition(fun({N, _}) -> lists:member(N, Moved) end, Meanwhile),
    pauses("that moved", [lists:max([0 | Each]) || {_, Each} <- Of]),
    pauses("that did not", [lists:max([0 | Each]) || {_, Each} <- Others]).

%% So many entities with one event, by their shards.
filled(Count) ->
    Entities = [warp_cluster_vm:entity(<<"account-", (integer_to_binary(N))/binary>>) || N <- lists:seq(1, Count)],
    ok = each(Entities, 64, fun(Entity) -> {ok, _} = warp_core:append(Entity, event(1), #{timeout => 60000}) end),
    lists:foldl(fun(Entity, Acc) ->
        {ok, N} = warp_core:shard_of(Entity),
        maps:update_with(N, fun(Known) -> [Entity | Known] end, [Entity], Acc)
    end, #{}, Entities).

%% Calls Fun with each of the list, in so many processes.
each(List, Processes, Fun) ->
    Tuple = list_to_tuple(List),
    Share = fun(Nth) ->
        lists:foreach(fun(N) -> Fun(element(N, Tuple)) end, lists:seq(Nth, tuple_size(Tuple), Processes))
    end,
    lists:foreach(fun(ok) -> ok end, warp_test:parallel(Processes, Share)).

owners(Vm) ->
    {ok, #{shards := Shards}} = warp_cluster_vm:run(Vm, fun() -> warp_cluster:status(warp_cluster_vm:ctx()) end),
    maps:from_list([{N, Node} || {Node, Ns} <- maps:to_list(Shards), N <- Ns]).

settled(Vm) ->
    warp_cluster_vm:run(Vm, fun() -> warp_cluster:migrate(warp_cluster_vm:ctx(), #{timeout => 600000}) end).

%% ------------------------------------------------------------------ One large shard

%% It moves by itself, there and back: the node that has it leaves, and joins again.
alone([A, B] = Vms, #{events := Events, moves := Moves}) ->
    Settings = #{shards => 1, aggregates => [warp_bench_run:ledger()]},
    ok = warp_cluster_vm:open_all(Vms, Settings),
    ok = settled(A),
    Entities = warp_cluster_vm:run(A, fun() -> with_events(Events) end),
    title(io_lib:format("a shard of ~b events", [Events]), ["took", "pause", "p99", "appends/s"]),
    Pauses = moved(1, Moves, {A, B}, Entities, Settings, []),
    title("pauses of that shard", ["median", "p99", "longest"]),
    pauses(io_lib:format("in ~b moves", [Moves]), Pauses).

with_events(Count) ->
    Entities = [warp_cluster_vm:entity(<<"account-", (integer_to_binary(N))/binary>>)
                || N <- lists:seq(1, min(1000, Count div ?BATCH))],
    Batch = [event(N) || N <- lists:seq(1, ?BATCH)],
    Rounds = Count div ?BATCH div length(Entities),
    ok = each(Entities, 16, fun(Entity) ->
        [{ok, _} = warp_core:append_batch(Entity, Batch, #{timeout => 60000}) || _ <- lists:seq(1, Rounds)]
    end),
    Entities.

moved(Nth, Moves, _, _, _, Pauses) when Nth > Moves ->
    Pauses;
moved(Nth, Moves, {From, To}, Entities, Settings, Pauses) ->
    Callers = [{N, Entities} || N <- lists:seq(1, ?CALLERS)],
    Load = [{Vm, warp_cluster_vm:run(Vm, fun() -> warp_bench_probe:start(Callers, ?REST_MS) end)} || Vm <- [From, To]],
    {Took, Seen} = timed(fun() ->
        ok = warp_cluster_vm:run(From, fun() -> warp_cluster:leave(warp_cluster_vm:ctx(), #{timeout => 600000}) end),
        [warp_cluster_vm:run(Vm, fun() -> warp_bench_probe:stop(Pids) end) || {Vm, Pids} <- Load]
    end),
    ok = warp_cluster_vm:close(From),
    ok = warp_cluster_vm:open(From, [To], Settings),
    Sorted = all(lists:append(Seen)),
    Pause = lists:last(Sorted),
    row(io_lib:format("move ~b", [Nth]), {single, Took},
        [micros(Took), micros(Pause), micros(at(Sorted, 99)), rate(length(Sorted) * 1.0e6 / Took)]),
    moved(Nth + 1, Moves, {To, From}, Entities, Settings, [Pause | Pauses]).

%% ------------------------------------------------------------------ Figures

timed(Fun) ->
    Start = erlang:monotonic_time(microsecond),
    Result = Fun(),
    {erlang:monotonic_time(microsecond) - Start, Result}.

all(Seen) -> lists:sort(lists:append([Took || {_, Took} <- Seen])).

said(Name, Micros, Sorted) ->
    Rate = length(Sorted) * 1.0e6 / Micros,
    row(Name, {per_second, Rate},
        [rate(Rate), micros(at(Sorted, 50)), micros(at(Sorted, 99)), micros(lists:last(Sorted))]).

pauses(_Name, []) ->
    ok;
pauses(Name, Longest) ->
    Sorted = lists:sort(Longest),
    row(Name, {single, at(Sorted, 99)}, [micros(at(Sorted, 50)), micros(at(Sorted, 99)), micros(lists:last(Sorted))]).

%% So many percent of them are at most this.
at(Sorted, Percent) -> lists:nth(max(1, (length(Sorted) * Percent + 99) div 100), Sorted).
