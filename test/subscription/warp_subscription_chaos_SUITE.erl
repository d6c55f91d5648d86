%% Subscriptions with names while everything that they depend on is killed: what each consumer got, against the logs.
-module(warp_subscription_chaos_SUITE).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/assert.hrl").

-import(warp_test, [incremented/0]).

suite() -> [{timetrap, {minutes, 60}}].

all() -> [nothing_is_missed_or_out_of_order_or_doubled].

init_per_suite(Config) -> warp_killer:quiet(Config).
end_per_suite(Config) -> warp_killer:loud(Config).
init_per_testcase(_, Config) -> warp_test:init_case(Config).
end_per_testcase(_, Config) -> warp_test:end_case(Config).

-define(ENTITIES, 12).

nothing_is_missed_or_out_of_order_or_doubled(Config) ->
    {Rounds, Millis} = case os:getenv("WARP_LONG") of false -> {2, 3000}; _ -> {40, 15000} end,
    [begin
         Seed = rand:seed(exsss),
         ct:pal("round ~b, seed ~p", [Round, rand:export_seed_s(Seed)]),
         a_round(Config, integer_to_binary(Round), Millis)
     end || Round <- lists:seq(1, Rounds)].

a_round(Config, Context, Millis) ->
    Ctx = warp_test:start(Config, #{context => Context, shards => 3, durability => normal}),
    Seen = ets:new(seen, [public, bag]),
    Confirmed = ets:new(confirmed, [public]),
    Is = atomics:new(1, []),
    Run = fun(Fun) -> spawn_monitor(fun() -> Fun() end) end,
    Consumers = [Run(fun() -> consumers(Ctx, Of, {Seen, Confirmed, Is}) end)
                 || Of <- [{<<"one">>, 1, 50}, {<<"one">>, 1, 3}, {<<"two">>, 2, 100}, {<<"two">>, 2, 7},
                           {<<"slow">>, 1, 1}]],
    Appenders = [Run(fun() -> until(Is, fun() -> append(Ctx) end) end) || _ <- [1, 2]],
    Killer = Run(fun() -> until(Is, fun() -> timer:sleep(rand:uniform(100)), kill(Ctx) end) end),
    timer:sleep(Millis),
    ok = atomics:put(Is, 1, 1),
    [ok = ended(Of) || Of <- [Killer | Appenders]],
    ok = warp_test_context:await_subscribers(Ctx, 60000),
    ok = atomics:put(Is, 1, 2),
    [ok = ended(Of) || Of <- Consumers],
    {ok, #{events := All}} = warp_core:events(Ctx, #{limit => 10000}),
    ct:pal("~b events in the log, ~b deliveries", [length(All), ets:info(Seen, size)]),
    ?assert(length(All) > 20),
    [?assertEqual({Name, []}, {Name, [place(E) || E <- All, not ets:member(Seen, {Name, place(E)})]})
     || Name <- [<<"one">>, <<"two">>, <<"slow">>]],
    ok = warp_test:stop(Ctx).

ended({Pid, Monitor}) ->
    receive {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(normal, Reason), ok
    after 60000 -> error({not_ended, process_info(Pid, current_stacktrace)})
    end.

until(Is, Fun) ->
    case atomics:get(Is, 1) of
        0 -> _ = Fun(), until(Is, Fun);
        _ -> ok
    end.

%% Answers are not looked at: what counts is in the log.
append(Ctx) ->
    Entity = warp_core:entity(Ctx, integer_to_binary(rand:uniform(?ENTITIES))),
    case rand:uniform(60) of
        1 -> warp_core:delete(Entity, #{timeout => 2000});
        N when N < 10 -> warp_core:append_batch(Entity, lists:duplicate(rand:uniform(9), incremented()));
        _ -> warp_core:append(Entity, incremented())
    end,
    timer:sleep(rand:uniform(3)).

kill(Ctx) ->
    OfWarp = [Pid || {Part, Pid} <- warp_test:processes(Ctx), lists:member(Part, [owner, live, subscription_names])],
    Subs = [Pid || #{pid := Pid} <- subscriptions(Ctx), is_pid(Pid)],
    Which = case rand:uniform(3) of 1 -> OfWarp; _ -> Subs end,
    [exit(lists:nth(rand:uniform(length(Which)), Which), kill) || Which =/= []].

subscriptions(Ctx) -> maps:get(subscriptions, warp_core:stats(Ctx)).

%% One consumer after the other, each of which dies some day.
consumers(Ctx, Of, {_, _, Is} = Tables) ->
    case atomics:get(Is, 1) of
        2 ->
            ok;
        _ ->
            ok = in_between(ended(spawn_monitor(fun() -> consumer(Ctx, Of, Tables) end))),
            consumers(Ctx, Of, Tables)
    end.

in_between(ok) -> timer:sleep(rand:uniform(5)).

consumer(Ctx, {Name, Consumers, Credit}, Tables) ->
    Options = #{name => Name, consumers => Consumers, from => beginning, credit => Credit},
    case warp_subscription:subscribe(Ctx, Options) of
        {ok, Sub} -> consume(Sub, Name, Tables, #{});
        {error, Why} when Why =:= interrupted; element(1, Why) =:= shard_unavailable -> ok
    end.

%% Last: of each entity the last seq.
consume(Sub, Name, {Seen, Confirmed, Is} = Tables, Last) ->
    Monitor = warp_subscription:monitor_of(Sub),
    receive
        {warp_subscription, Sub, {events, Events}} ->
            Next = lists:foldl(fun(Event, Acc) -> taken(Event, Sub, Name, Tables, Acc) end, Last, Events),
            timer:sleep(rand:uniform(3) - 1),
            ok = acknowledge(rand:uniform(4), Sub, Events),
            case rand:uniform(30) of
                1 when Name =/= <<"slow">> -> ok;
                N when N < 6 -> confirm(Sub, Name, Confirmed, Events), consume(Sub, Name, Tables, Next);
                _ -> consume(Sub, Name, Tables, Next)
            end;
        {warp_subscription, Sub, {erased, Id}} ->
            ok = warp_subscription:ack(Sub, {erased, Id}),
            consume(Sub, Name, Tables, maps:remove(Id, Last));
        {warp_subscription, Sub, _} ->
            consume(Sub, Name, Tables, Last);
        {'DOWN', Monitor, process, _, _} ->
            ok
    after 100 ->
        case atomics:get(Is, 1) of
            2 -> true = ets:info(Seen, size) > 0, warp_subscription:unsubscribe(Sub);
            _ -> consume(Sub, Name, Tables, Last)
        end
    end.

%% In order and without a gap, but for what an earlier consumer got; and nothing that is known to be acknowledged.
taken(#{entity := Id, seq := Seq, shard := N} = Event, Sub, Name, {Seen, Confirmed, _}, Last) ->
    true = ets:insert(Seen, {{Name, place(Event)}}),
    case Last of
        #{Id := Before} when Seq =/= Before + 1 -> exit({out_of_order, Name, place(Event), Before});
        #{} -> ok
    end,
    _ = [exit({acknowledged_before, Name, place(Event), Upto})
         || {_, Upto} <- ets:lookup(Confirmed, {Name, N}), element(2, place(Event)) =< Upto, is_consumer(Sub)],
    Last#{Id => Seq}.

%% One whose subscription was killed may have events left that the next one has acknowledged meanwhile.
is_consumer(Sub) -> {error, subscription_ended} =/= warp_subscription:cursor(Sub).

place(#{shard := N, position := Position, seq := Seq}) -> {N, {Position, Seq}}.

%% In any order.
acknowledge(1, Sub, Events) -> ack(Sub, Events);
acknowledge(2, Sub, Events) -> ack(Sub, lists:reverse(Events));
acknowledge(_, Sub, Events) -> ack(Sub, maps:values(maps:from_list([{N, E} || #{shard := N} = E <- Events]))).

ack(Sub, Events) -> lists:foreach(fun(Event) -> ok = warp_subscription:ack(Sub, Event) end, Events).

confirm(Sub, Name, Confirmed, Events) ->
    case warp_subscription:cursor(Sub) of
        {ok, _} ->
            [true = ets:insert(Confirmed, {{Name, N}, Place}) || {N, Place} <- lists:sort([place(E) || E <- Events])];
        {error, _} ->
            []
    end.
