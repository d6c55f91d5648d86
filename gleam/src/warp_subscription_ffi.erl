%% Subscriptions, as `warp/subscription' has them. This module reshapes terms and decides nothing.
-module(warp_subscription_ffi).

-export([subscribe/2, unsubscribe/1, message/2, ack/2, ack_erased/2, more/2, cursor/1]).
-export([entity_place/2, context_place/2, entity_cursor_at/2, context_cursor_at/2]).
-export([parked/2, retry/3, skip/3, forget/2, transaction/4, wait/3, wait_until/5]).
-export([placed/2, event/1]).

-export_type([placed/0]).

%% `Placed' of `warp/subscription'.
-type placed() ::
    {placed, Entity :: binary(), Shard :: non_neg_integer(), Position :: pos_integer(), warp_core:event(),
     Data :: term()}.

-spec subscribe(warp_core:ctx() | warp_core:entity(), warp_subscription:options()) ->
    {ok, warp_subscription:subscription()} | {error, warp_error_ffi:error()}.
subscribe(Of, Options) ->
    result(warp_subscription:subscribe(Of, Options)).

-spec unsubscribe(warp_subscription:subscription()) -> nil.
unsubscribe(Sub) ->
    ok = warp_subscription:unsubscribe(Sub),
    nil.

-spec message({Tag :: term(), warp_subscription:subscription(), warp_subscription:message()},
              fun((warp_core:event()) -> term())) ->
    {events, [placed()]} | {caught_up | checkpoint, warp_subscription:cursor()} | {erased, binary()}
    | {active, [non_neg_integer()]}.
message({_Tag, _Sub, {events, Events}}, Decode) -> {events, [placed(Event, Decode) || Event <- Events]};
message({_Tag, _Sub, Message}, _Decode) -> Message.

%% @doc An event of the engine as a `Placed', with the data that a function makes of it.
-spec placed(warp_core:placed_event(), fun((warp_core:event()) -> term())) -> placed().
placed(#{entity := Entity, shard := Shard, position := Position} = Event, Decode) ->
    Stored = maps:without([entity, shard, position], Event),
    {placed, Entity, Shard, Position, Stored, Decode(Stored)}.

-spec ack(warp_subscription:subscription(), [placed()]) -> nil.
ack(Sub, Events) ->
    ok = warp_subscription:ack(Sub, [event(Event) || Event <- Events]),
    nil.

%% @doc The engine's event of a `Placed'.
-spec event(placed()) -> warp_core:placed_event().
event({placed, Entity, Shard, Position, Event, _Data}) ->
    Event#{entity => Entity, shard => Shard, position => Position}.

-spec ack_erased(warp_subscription:subscription(), binary()) -> nil.
ack_erased(Sub, Entity) ->
    ok = warp_subscription:ack(Sub, {erased, Entity}),
    nil.

-spec more(warp_subscription:subscription(), pos_integer()) -> nil.
more(Sub, Count) ->
    ok = warp_subscription:more(Sub, Count),
    nil.

-spec cursor(warp_subscription:subscription()) -> {ok, warp_subscription:cursor()} | {error, warp_error_ffi:error()}.
cursor(Sub) ->
    result(warp_subscription:cursor(Sub)).

%% A place of an entity or of a shard as a value of Gleam, and the other way round.
-spec entity_place(warp_core:entity(), warp_subscription:cursor()) ->
    {ok, {entity_place, non_neg_integer(), warp_core:seq()}} | {error, warp_error_ffi:error()}.
entity_place(Entity, Cursor) ->
    case warp_subscription:place(Entity, Cursor) of
        {ok, {Life, Seq}} -> {ok, {entity_place, Life, Seq}};
        {error, Reason} -> {error, warp_error_ffi:reason(Reason)}
    end.

-spec context_place(warp_core:ctx(), warp_subscription:cursor()) ->
    {ok, #{non_neg_integer() => tuple()}} | {error, warp_error_ffi:error()}.
context_place(Ctx, Cursor) ->
    case warp_subscription:place(Ctx, Cursor) of
        {ok, Places} -> {ok, maps:map(fun(_, Place) -> shown(Place) end, Places)};
        {error, Reason} -> {error, warp_error_ffi:reason(Reason)}
    end.

shown({Position, Seq}) -> {within, Position, Seq};
shown(Position) -> {up_to, Position}.

-spec entity_cursor_at(warp_core:entity(), {entity_place, non_neg_integer(), warp_core:seq()}) ->
    warp_subscription:cursor().
entity_cursor_at(Entity, {entity_place, Life, Seq}) ->
    {ok, Cursor} = warp_subscription:cursor_at(Entity, {Life, Seq}),
    Cursor.

-spec context_cursor_at(warp_core:ctx(), #{non_neg_integer() => tuple()}) ->
    {ok, warp_subscription:cursor()} | {error, warp_error_ffi:error()}.
context_cursor_at(Ctx, Places) ->
    result(warp_subscription:cursor_at(Ctx, maps:map(fun(_, Place) -> read(Place) end, Places))).

read({within, Position, Seq}) -> {Position, Seq};
read({up_to, Position}) -> Position.

-spec parked(warp_core:ctx(), binary()) -> {ok, [tuple()]} | {error, warp_error_ffi:error()}.
parked(Ctx, Name) ->
    case warp_subscription:parked(Ctx, Name) of
        {ok, All} -> {ok, [waiting(Waiting) || Waiting <- All]};
        {error, Reason} -> {error, warp_error_ffi:reason(Reason)}
    end.

waiting(#{entity := Entity, seq := Seq, shard := Shard, state := State, tries := Tries, why := Why, since := Since}) ->
    {waiting, Entity, Seq, Shard, State, Tries, Why, Since}.

-spec retry(warp_core:ctx(), binary(), binary()) -> {ok, nil} | {error, warp_error_ffi:error()}.
retry(Ctx, Name, Entity) ->
    nil(warp_subscription:retry(Ctx, Name, Entity)).

-spec skip(warp_core:ctx(), binary(), binary()) -> {ok, nil} | {error, warp_error_ffi:error()}.
skip(Ctx, Name, Entity) ->
    nil(warp_subscription:skip(Ctx, Name, Entity)).

-spec forget(warp_core:ctx(), binary()) -> {ok, nil} | {error, warp_error_ffi:error()}.
forget(Ctx, Name) ->
    nil(warp_subscription:forget(Ctx, Name)).

-spec transaction(warp_core:ctx(), binary(), placed(), [warp_subscription:command()]) ->
    {ok, nil} | {error, warp_error_ffi:error()}.
transaction(Ctx, Name, Placed, Commands) ->
    nil(warp_subscription:transaction(Ctx, Name, event(Placed), Commands)).

-spec wait(warp_core:entity(), warp_core:seq(), timeout()) ->
    {ok, warp_core:seq()} | {error, warp_error_ffi:error()}.
wait(Entity, Seq, Timeout) ->
    result(warp_core:wait(Entity, Seq, Timeout)).

-spec wait_until(warp_core:entity(), binary(), fun((warp_core:event()) -> Data), fun((placed()) -> boolean()),
                 timeout()) ->
    {ok, warp_core:seq()} | {error, warp_error_ffi:error()} when Data :: term().
wait_until(Entity, Aggregate, Read, IsIt, Timeout) ->
    Until = fun(#{aggregate := Of} = Event) -> Of =:= Aggregate andalso IsIt(placed(Event, Read)) end,
    result(warp_core:wait(Entity, Until, Timeout)).

nil(ok) -> {ok, nil};
nil({error, Reason}) -> {error, warp_error_ffi:reason(Reason)}.

result({ok, _} = Ok) -> Ok;
result({error, Reason}) -> {error, warp_error_ffi:reason(Reason)}.
