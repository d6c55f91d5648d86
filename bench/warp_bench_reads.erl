%% Reads, memory and starting.
-module(warp_bench_reads).

-export([resident/1, cold/1, memory/1, start/1]).

-import(warp_bench_run, [with_context/3, callers/3, event/1, title/2, row/3, rate/1, micros/1]).

-define(IDLE, 100000).
-define(EVENTS, 1000000).

-spec resident(map()) -> ok.
resident(#{dir := Dir, shards := Shards, seconds := Seconds}) ->
    title("get, resident", ["calls/s", "per call"]),
    with_context(Dir, #{shards => Shards}, fun(Ctx) ->
        Alice = warp_core:entity(Ctx, <<"alice">>),
        {ok, _} = warp_core:append(Alice, event(1)),
        Get = fun(_, _) -> {ok, _} = warp_core:get(Alice, <<"Ledger">>) end,
        [begin
             {Rate, _, _} = callers(N, Seconds, Get),
             row(io_lib:format("~b caller(s)", [N]), {per_second, Rate}, [rate(Rate), micros(N * 1.0e6 / Rate)])
         end || N <- [1, erlang:system_info(schedulers_online)]],
        ok
    end).

-spec cold(map()) -> ok.
cold(#{dir := Dir, shards := Shards}) ->
    title("get, cold, no snapshot", ["time"]),
    with_context(Dir, #{shards => Shards, snapshot_every => 1 bsl 40}, fun(Ctx) ->
        Alice = warp_core:entity(Ctx, <<"alice">>),
        Others = [warp_core:entity(Ctx, <<"other-", (integer_to_binary(I))/binary>>)
                  || I <- lists:seq(1, 50)],
        %% Rows of others stand between, as they do in a real log.
        Self = self(),
        Pids = [spawn_link(fun() ->
                    [{ok, _} = warp_core:append(E, event(I)) || I <- lists:seq(1, 10000)],
                    Self ! {done, self()}
                end) || E <- [Alice | Others]],
        [receive {done, Pid} -> ok end || Pid <- Pids],
        [_, _, Many | _] = lists:sort([cold_get(Alice) || _ <- lists:seq(1, 5)]),
        row("10,000 single appends", {micros, Many}, [micros(Many)]),
        [Bob | _] = Others,
        {ok, _} = warp_core:get(Bob, <<"Ledger">>),
        New = warp_core:entity(Ctx, <<"new">>),
        {ok, _} = warp_core:append(New, event(1)),
        [_, _, Few | _] = lists:sort([cold_get(New) || _ <- lists:seq(1, 5)]),
        row("1 append", {micros, Few}, [micros(Few)])
    end).

cold_get(Entity) ->
    {ok, Pid} = warp_entity_registry:lookup(Entity),
    Monitor = erlang:monitor(process, Pid),
    Pid ! passivate,
    receive {'DOWN', Monitor, _, _, _} -> ok end,
    {Took, {ok, _}} = timer:tc(fun() -> warp_core:get(Entity, <<"Ledger">>) end),
    Took.

-spec memory(map()) -> ok.
memory(#{dir := Dir, shards := Shards}) ->
    title("memory per idle entity", ["bytes"]),
    with_context(Dir, #{shards => Shards, idle_timeout => infinity}, fun(Ctx) ->
        Before = memory(),
        Workers = 200,
        Self = self(),
        Pids = [spawn_link(fun() ->
                    [{ok, _} = warp_core:append(idle(Ctx, I), event(I))
                     || I <- lists:seq(W, ?IDLE, Workers)],
                    Self ! {done, self()}
                end) || W <- lists:seq(1, Workers)],
        [receive {done, Pid} -> ok end || Pid <- Pids],
        timer:sleep(4000),
        [erlang:garbage_collect(P) || P <- processes(), P =/= self(),
                                      {message_queue_len, 0} =:= process_info(P, message_queue_len),
                                      process_info(P, current_function) =/= {current_function, {erlang, hibernate, 3}}],
        {Beam, Resident} = memory(),
        {Beam0, Resident0} = Before,
        idle_row(io_lib:format("~b entities, BEAM", [?IDLE]), (Beam - Beam0) div ?IDLE),
        idle_row("the same, resident set of the VM", (Resident - Resident0) div ?IDLE)
    end).

idle_row(Name, Bytes) ->
    row(Name, {bytes, Bytes}, [integer_to_list(Bytes)]).

idle(Ctx, I) ->
    warp_core:entity(Ctx, <<"idle-", (integer_to_binary(I))/binary>>).

memory() ->
    {erlang:memory(total), resident_set()}.

resident_set() ->
    case file:read_file("/proc/self/statm") of
        {ok, Statm} ->
            [_, Pages | _] = binary:split(Statm, <<" ">>, [global]),
            binary_to_integer(Pages) * 4096;
        {error, _} ->
            0
    end.

-spec start(map()) -> ok.
start(#{dir := Dir, shards := Shards}) ->
    title("start with 1,000,000 events", ["time"]),
    _ = file:del_dir_r(Dir),
    Settings = #{context => <<"bench">>, data_dir => Dir, shards => Shards,
                 aggregates => [warp_bench_run:ledger()]},
    {ok, Ctx0} = warp_core:start(Settings),
    Workers = 256,
    Self = self(),
    Pids = [spawn_link(fun() ->
                E = warp_core:entity(Ctx0, <<"account-", (integer_to_binary(W))/binary>>),
                [{ok, _} = warp_core:append(E, event(I)) || I <- lists:seq(W, ?EVENTS, Workers)],
                Self ! {done, self()}
            end) || W <- lists:seq(1, Workers)],
    [receive {done, Pid} -> ok end || Pid <- Pids],
    ok = warp_core:stop(Ctx0),
    {Took, {ok, Ctx}} = timer:tc(fun() -> warp_core:start(Settings) end),
    row("after a clean stop", {micros, Took}, [micros(Took)]),
    ok = warp_core:stop(Ctx),
    _ = file:del_dir_r(Dir),
    ok.
