%% Subscriptions: what is delivered live and while catching up, how soon, and what they cost those who append.
-module(warp_bench_subscriptions).
-behaviour(warp_subscriber).

-export([subscriptions/1]).
-export([init/2, handle_event/2]).

-import(warp_bench_run, [with_context/3, callers/3, event/1, title/2, row/3, rate/1, micros/1]).

-define(BATCH, 500).
-define(STORED, 500000).
-define(PACED, 20000).
-define(CALLERS, 256).
-define(ROUNDS, 3).

-spec subscriptions(map()) -> ok.
subscriptions(Options) ->
    title("subscriptions of a context, live", ["events/s", "appended/s"]),
    [live(Options, N) || N <- [1, 10, 100]],
    title("subscription of a context, stored", ["events/s"]),
    catch_up(Options),
    title("from the answer to the subscriber", ["p50", "p99", "appended/s"]),
    latency(Options),
    title("append, one event, 256 callers", ["events/s", "of none"]),
    cost(Options).

settings(#{shards := Shards}) -> #{shards => Shards, aggregates => [warp_bench_run:log()]}.

%% Batches are appended for that many seconds; the time counts until the last subscriber has all.
live(#{dir := Dir, seconds := Seconds} = Options, N) ->
    with_context(Dir, settings(Options), fun(Ctx) ->
        Subscribers = [subscriber(Ctx, #{from => now, credit => 20000}) || _ <- lists:seq(1, N)],
        Events = [event(I) || I <- lists:seq(1, ?BATCH)],
        Start = erlang:monotonic_time(microsecond),
        Until = Start + Seconds * 1000000,
        Self = self(),
        %% No further ahead than half a second's worth, so that what is measured is live.
        Gate = counters:new(1, []),
        Appending = [spawn_link(fun() ->
            Entity = warp_core:entity(Ctx, integer_to_binary(I)),
            Self ! {self(), append(Entity, Events, Until, Gate, hd(Subscribers), 0)}
        end) || I <- lists:seq(1, 4)],
        Appended = lists:sum([receive {Pid, Count} -> Count end || Pid <- Appending]),
        [wait(Pid, Appended) || {Pid, _} <- Subscribers],
        Took = erlang:monotonic_time(microsecond) - Start,
        Rate = N * Appended * 1000000 / Took,
        row(io_lib:format("~b subscriber(s)", [N]), {per_second, Rate}, [rate(Rate), rate(Appended * 1000000 / Took)])
    end).

append(Entity, Events, Until, Gate, {_, Got} = First, Count) ->
    case erlang:monotonic_time(microsecond) < Until of
        true ->
            {ok, _} = warp_core:append_batch(Entity, Events),
            ok = counters:add(Gate, 1, ?BATCH),
            ok = pause(Gate, Got),
            append(Entity, Events, Until, Gate, First, Count + ?BATCH);
        false ->
            Count
    end.

pause(Gate, Got) ->
    case counters:get(Gate, 1) - counters:get(Got, 1) > 20000 of
        true -> timer:sleep(1), pause(Gate, Got);
        false -> ok
    end.

catch_up(#{dir := Dir} = Options) ->
    with_context(Dir, settings(Options), fun(Ctx) ->
        Events = [event(I) || I <- lists:seq(1, ?BATCH)],
        [{ok, _} = warp_core:append_batch(warp_core:entity(Ctx, integer_to_binary(I rem 1000)), Events)
         || I <- lists:seq(1, ?STORED div ?BATCH)],
        Each = [begin
                    Start = erlang:monotonic_time(microsecond),
                    {Pid, _} = subscriber(Ctx, #{from => beginning, credit => Credit}),
                    ok = wait(Pid, ?STORED),
                    ?STORED * 1000000 / (erlang:monotonic_time(microsecond) - Start)
                end || Credit <- [1000, 20000]],
        [row(io_lib:format("credit ~b", [Credit]), {per_second, Rate}, [rate(Rate)])
         || {Credit, Rate} <- lists:zip([1000, 20000], Each)],
        Handled = handled(Ctx),
        row("a subscriber with a name", {per_second, Handled}, [rate(Handled)])
    end).

%% One that Warp runs, and that counts what it handles.
handled(Ctx) ->
    Got = counters:new(1, []),
    Start = erlang:monotonic_time(microsecond),
    Subscriber = warp_subscriber:new(<<"bench">>, ?MODULE, Got, #{from => beginning}),
    {ok, Pid} = warp_subscriber:start_link(Ctx, Subscriber),
    ok = until(Got),
    Rate = ?STORED * 1000000 / (erlang:monotonic_time(microsecond) - Start),
    true = unlink(Pid),
    ok = gen_server:stop(Pid),
    Rate.

until(Got) ->
    case counters:get(Got, 1) of
        ?STORED -> ok;
        _ -> timer:sleep(1), until(Got)
    end.

init(_Ctx, Got) -> {ok, Got}.

handle_event(_Event, Got) ->
    ok = counters:add(Got, 1, 1),
    {ok, Got}.

%% 100 callers that append 20,000 single events a second in all.
latency(#{dir := Dir, seconds := Seconds} = Options) ->
    with_context(Dir, settings(Options), fun(Ctx) ->
        Times = ets:new(times, [public, {write_concurrency, true}]),
        Self = self(),
        Subscriber = spawn_link(fun() ->
            {ok, Sub} = warp_subscription:subscribe(Ctx, #{from => now, credit => 20000}),
            Self ! subscribed,
            timed(Sub, Times, [])
        end),
        receive subscribed -> ok end,
        Start = erlang:monotonic_time(microsecond),
        Callers = [spawn_monitor(fun() ->
            paced(warp_core:entity(Ctx, integer_to_binary(N)), Times, Start, 100 * 1000000 div ?PACED,
                  Start + Seconds * 1000000, 1)
        end) || N <- lists:seq(1, 100)],
        [receive {'DOWN', Monitor, process, _, normal} -> ok end || {_, Monitor} <- Callers],
        Took = erlang:monotonic_time(microsecond) - Start,
        timer:sleep(200),
        Subscriber ! {sample, Self},
        Sample = receive {sample, Received} -> Received end,
        Late = lists:sort([max(0, Time - Answered) * 1000
                           || {Key, Time} <- Sample, {_, Answered} <- ets:lookup(Times, Key)]),
        [P50, P99] = [warp_bench_run:at(Late, Percent) || Percent <- [50, 99]],
        row("20,000 a second", {micros, P50}, [micros(P50), micros(P99), rate(length(Late) * 1000000 / Took)])
    end).

paced(Entity, Times, Start, Pause, Until, N) ->
    Now = erlang:monotonic_time(microsecond),
    case Now < Until of
        true ->
            Due = Start + N * Pause,
            _ = [timer:sleep((Due - Now) div 1000) || Due > Now],
            {ok, Seq} = warp_core:append(Entity, event(N)),
            true = ets:insert(Times, {{element(3, Entity), Seq}, erlang:monotonic_time(microsecond)}),
            paced(Entity, Times, Start, Pause, Until, N + 1);
        false ->
            ok
    end.

timed(Sub, Times, Sample) ->
    receive
        {warp_subscription, Sub, {events, Events}} ->
            Now = erlang:monotonic_time(microsecond),
            ok = warp_subscription:ack(Sub, Events),
            timed(Sub, Times, [{{Entity, Seq}, Now} || #{entity := Entity, seq := Seq} <- Events] ++ Sample);
        {warp_subscription, Sub, _} ->
            timed(Sub, Times, Sample);
        {sample, From} ->
            From ! {sample, Sample}
    end.

%% In turn, since the speed of a machine changes meanwhile.
cost(#{dir := Dir, seconds := Seconds} = Options) ->
    Rounds = [[{N, with_context(Dir, settings(Options), fun(Ctx) ->
                  _ = [subscriber(Ctx, #{from => now, credit => 20000}) || _ <- lists:seq(1, N)],
                  Append = fun(Caller, Round) ->
                      {ok, _} = warp_core:append(warp_core:entity(Ctx, integer_to_binary(Caller)), event(Round))
                  end,
                  {Rate, _, _} = callers(?CALLERS, max(1, Seconds div ?ROUNDS), Append),
                  Rate
              end)} || N <- [0, 10]] || _ <- lists:seq(1, ?ROUNDS)],
    [None, Ten] = [lists:nth((?ROUNDS + 1) div 2, lists:sort([proplists:get_value(N, Round) || Round <- Rounds]))
                   || N <- [0, 10]],
    [row(Name, {per_second, Rate}, [rate(Rate), io_lib:format("~.2f", [Rate / None])])
     || {Name, Rate} <- [{"no subscriber", None}, {"10 subscribers", Ten}]],
    ok.

%% ------------------------------------------------------------------ Subscribers

%% Counts what it gets in the counter.
subscriber(Ctx, Options) ->
    Self = self(),
    Got = counters:new(1, []),
    Pid = spawn_link(fun() ->
        {ok, Sub} = warp_subscription:subscribe(Ctx, Options),
        Self ! {subscribed, self()},
        counted(Sub, Got)
    end),
    receive {subscribed, Pid} -> ok end,
    {Pid, Got}.

counted(Sub, Got) ->
    receive
        {warp_subscription, Sub, {events, Events}} ->
            ok = counters:add(Got, 1, length(Events)),
            ok = warp_subscription:ack(Sub, Events),
            counted(Sub, Got);
        {warp_subscription, Sub, _} ->
            counted(Sub, Got);
        {count, Count, From} ->
            case counters:get(Got, 1) >= Count of
                true -> From ! {counted, self()};
                false -> self() ! {count, Count, From}
            end,
            counted(Sub, Got)
    end.

wait(Pid, Count) ->
    Pid ! {count, Count, self()},
    receive {counted, Pid} -> ok end.
