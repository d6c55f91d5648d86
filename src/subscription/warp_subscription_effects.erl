%% @private Where the effects of a subscriber begin: its option `effects_from'. Events before that count as handled, and
%% its code is not called for them. Pure.
-module(warp_subscription_effects).

-export([option/1, new/2, is_before/2]).

-export_type([from/0, effects/0]).

-type from() :: {time, warp_core:micros()} | {cursor, warp_subscription_cursor:cursor()}.
-opaque effects() :: none | {time, warp_core:micros()} | {places, warp_subscription_cursor:places()}.

%% @doc A check: what the option has. Whether a cursor belongs to a context is seen by {@link new/2}.
-spec option(term()) -> {ok, from()} | {error, neither_time_nor_cursor}.
option({time, Time} = From) when is_integer(Time) -> {ok, From};
option({cursor, _} = From) -> {ok, From};
option(_) -> {error, neither_time_nor_cursor}.

%% @doc Where the effects begin in a context with so many shards, by checked options of a subscriber.
-spec new(#{effects_from := none | from(), _ => _}, Shards :: pos_integer()) ->
    {ok, effects()} | {error, {bad_cursor, term()}}.
new(#{effects_from := {cursor, Cursor}}, Shards) ->
    case warp_subscription_cursor:decode({shards, Shards}, Cursor) of
        {ok, Places} -> {ok, {places, Places}};
        {error, Why} -> {error, {bad_cursor, Why}}
    end;
new(#{effects_from := From}, _Shards) ->
    {ok, From}.

%% @doc Whether an event is one before the effects begin.
-spec is_before(warp_core:placed_event(), effects()) -> boolean().
is_before(_Event, none) ->
    false;
is_before(#{recorded_at := Recorded}, {time, Time}) ->
    Recorded < Time;
is_before(#{shard := N, position := Position, seq := Seq}, {places, Places}) ->
    case maps:get(N, Places, 0) of
        {At, Upto} -> {Position, Seq} =< {At, Upto};
        At -> Position =< At
    end.
