%% Appends: one by one and in batches, with a fold and without.
-module(warp_bench_writes).

-export([singles/1, batches/1, read_through/1]).

-import(warp_bench_run, [with_context/3, callers/3, event/1, title/2, row/2, rate/1, micros/1]).

-define(BATCH, 500).

-spec singles(map()) -> ok.
singles(Options) ->
    title("append, one event, with a fold", ["events/s", "p50", "p99"]),
    [single(Options, actor, N) || N <- [1, 16, 256, 1000]],
    ok.

-spec batches(map()) -> ok.
batches(Options) ->
    title("append_batch of 500, with a fold", ["events/s", "p50", "p99"]),
    [batch(Options, actor, warp_bench_run:ledger(), N) || N <- [1, 16, 64]],
    title("append_batch of 500, read_through, no fold", ["events/s", "p50", "p99"]),
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
    row(Name, [rate(Calls * PerCall), micros(P50), micros(P99)]).
