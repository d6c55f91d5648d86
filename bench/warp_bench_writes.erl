%% Appends: one by one, pipelined and in batches, with a fold and without.
-module(warp_bench_writes).

-export([singles/1, pipelined/1, batches/1, read_through/1]).

-import(warp_bench_run, [with_context/3, callers/3, event/1, title/2, row/3, rate/1, micros/1]).

-define(BATCH, 500).
-define(CALLERS, 256).
-define(IN_FLIGHT, [1, 256, 1000, 10000]).
%% How often callers and one process are measured in turn.
-define(ROUNDS, 3).

-spec singles(map()) -> ok.
singles(Options) ->
    title("append, one event, with a fold", ["events/s", "p50", "p99"]),
    [single(Options, actor, N) || N <- [1, 16, 256, 1000]],
    ok.

%% One process that keeps so many appends in flight, against many callers that wait for each, on the same entities.
-spec pipelined(map()) -> ok.
pipelined(#{dir := Dir, shards := Shards, seconds := Seconds}) ->
    title("append_request, one event, with a fold", ["events/s", "p50", "p99", "of callers"]),
    with_context(Dir, #{shards => Shards}, fun(Ctx) ->
        Entities = entities(Ctx, ?CALLERS),
        Append = fun(Caller, Round) -> {ok, _} = warp_core:append(element(Caller, Entities), event(Round)) end,
        Each = max(1, Seconds div ?ROUNDS),
        Measures = [fun() -> callers(?CALLERS, Each, Append) end
                    | [fun() -> one_process(N, Each, Entities) end || N <- ?IN_FLIGHT]],
        Names = [callers_text(?CALLERS) | [io_lib:format("1 process, ~b in flight", [N]) || N <- ?IN_FLIGHT]],
        [{Of, _, _} | _] = Figures = warp_bench_run:in_turn(?ROUNDS, Measures),
        [row(Name, {per_second, Rate}, [rate(Rate), micros(P50), micros(P99), io_lib:format("~.2f", [Rate / Of])])
         || {Name, {Rate, P50, P99}} <- lists:zip(Names, Figures)],
        ok
    end).

%% Gives what `callers' gives: a fifth of the time is to warm up, and one request in 16 is timed.
one_process(InFlight, Seconds, Entities) ->
    Self = self(),
    Pid = spawn_link(fun() ->
        Full = lists:foldl(fun(Round, Requests) -> request(Round, Entities, Requests) end,
                           warp_core:reqids_new(), lists:seq(1, InFlight)),
        {Warm, Round, _} = answers(Full, InFlight, Entities, erlang:monotonic_time(millisecond) + 200 * Seconds, []),
        Start = erlang:monotonic_time(microsecond),
        {_, Last, Sample} = answers(Warm, Round, Entities, erlang:monotonic_time(millisecond) + 1000 * Seconds, []),
        Took = erlang:monotonic_time(microsecond) - Start,
        Self ! {self(), {(Last - Round) * 1000000 / Took, Sample}}
    end),
    receive
        {Pid, {Rate, Sample}} ->
            Sorted = lists:sort(Sample),
            {Rate, warp_bench_run:at(Sorted, 50), warp_bench_run:at(Sorted, 99)}
    end.

request(Round, Entities, Requests) ->
    Entity = element(1 + Round rem tuple_size(Entities), Entities),
    Made = case Round rem 16 of 0 -> erlang:monotonic_time(); _ -> untimed end,
    warp_core:append_request(Entity, event(Round), #{}, Made, Requests).

%% A new request for each answer, until that time.
answers(Requests, Round, Entities, Until, Sample) ->
    {{ok, _}, Made, Rest} = warp_core:receive_response(Requests, infinity, true),
    Next = request(Round + 1, Entities, Rest),
    case Made of
        untimed ->
            answers(Next, Round + 1, Entities, Until, Sample);
        _ ->
            Took = erlang:convert_time_unit(erlang:monotonic_time() - Made, native, nanosecond),
            case erlang:monotonic_time(millisecond) < Until of
                true -> answers(Next, Round + 1, Entities, Until, [Took | Sample]);
                false -> {Next, Round + 1, [Took | Sample]}
            end
    end.

-spec batches(map()) -> ok.
batches(Options) ->
    title("append_batch of 500, with a fold", ["events/s", "p50", "p99"]),
    [batch(Options, actor, warp_bench_run:ledger(), N) || N <- [1, 16, 64]],
    title("append_batch of 500, no fold", ["events/s", "p50", "p99"]),
    [batch(Options, read_through, warp_bench_run:log(), N) || N <- [1, 16, 64]],
    ok.

-spec read_through(map()) -> ok.
read_through(Options) ->
    title("read_through, with a fold", ["calls/s", "p50", "p99"]),
    [single(Options, read_through, N) || N <- [1, 16, 256]],
    #{dir := Dir, shards := Shards, seconds := Seconds} = Options,
    with_context(Dir, #{shards => Shards, mode => read_through}, fun(Ctx) ->
        Entities = entities(Ctx, 16),
        [{ok, _} = warp_core:append_batch(E, [event(I) || I <- lists:seq(1, 100)])
         || E <- tuple_to_list(Entities)],
        [begin
             Get = fun(Caller, _) -> {ok, _} = warp_core:get(element(Caller, Entities), <<"Ledger">>) end,
             report(["get, 100 events, ", callers_text(N)], 1, callers(N, Seconds, Get))
         end || N <- [1, 16]],
        ok
    end).

single(#{dir := Dir, shards := Shards, seconds := Seconds}, Mode, N) ->
    with_context(Dir, #{shards => Shards, mode => Mode}, fun(Ctx) ->
        Entities = entities(Ctx, N),
        Append = fun(Caller, Round) ->
            {ok, _} = warp_core:append(element(Caller, Entities), event(Round))
        end,
        Name = case Mode of actor -> ""; read_through -> "append, " end,
        report([Name, callers_text(N)], 1, callers(N, Seconds, Append))
    end).

batch(#{dir := Dir, shards := Shards, seconds := Seconds}, Mode, Aggregate, N) ->
    Settings = #{shards => Shards, mode => Mode, aggregates => [Aggregate]},
    with_context(Dir, Settings, fun(Ctx) ->
        Entities = entities(Ctx, N),
        Events = [event(I) || I <- lists:seq(1, ?BATCH)],
        Append = fun(Caller, _Round) ->
            {ok, _} = warp_core:append_batch(element(Caller, Entities), Events)
        end,
        report(callers_text(N), ?BATCH, callers(N, Seconds, Append))
    end).

entities(Ctx, N) ->
    list_to_tuple([warp_core:entity(Ctx, <<"account-", (integer_to_binary(I))/binary>>)
                   || I <- lists:seq(1, N)]).

callers_text(1) -> "1 caller";
callers_text(N) -> [integer_to_list(N), " callers"].

report(Name, PerCall, {Calls, P50, P99}) ->
    row(Name, {per_second, Calls * PerCall}, [rate(Calls * PerCall), micros(P50), micros(P99)]).
