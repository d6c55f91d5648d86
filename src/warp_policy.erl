%% @private A policy as a subscriber, see {@link warp_subscription:policy/4}.
-module(warp_policy).
-behaviour(warp_subscriber).

-export([init/2, handle_event/2]).

-export_type([react/0]).

%% What follows from an event, or why it cannot be said now. One with a second argument gets the context.
-type react() ::
    fun((warp_core:placed_event()) -> commands()) | fun((warp_core:placed_event(), warp_core:ctx()) -> commands()).
-type commands() :: [warp_subscription:command()] | {error, Why :: term()}.

-record(policy, {ctx :: warp_core:ctx(), name :: binary(), react :: react(), from :: from()}).

%% With which events effects begin: all, those from a time on, or by shard those behind a mark.
-type from() :: none | warp_core:micros() | warp_subscription_cursor:places().

-spec init(warp_core:ctx(), {Name :: binary(), react(), warp_subscription:policy_options()}) ->
    {ok, #policy{}} | {error, warp_check:error() | context_stopped}.
init(Ctx, {Name, React, Options}) ->
    case warp_context:of_handle(Ctx) of
        {ok, #{shards := Shards}} -> init(Ctx, Name, React, Options, Shards);
        not_found -> {error, context_stopped}
    end.

init(Ctx, Name, React, Options, Shards) ->
    Checked = warp_check:options(Options, [{effects_from, none, fun(From) -> from(From, Shards) end}]),
    case Checked of
        {ok, #{effects_from := From}} ->
            {ok, #policy{ctx = Ctx, name = Name, react = warp_function:lasting(React), from = From}};
        {error, _} = Error ->
            Error
    end.

-spec handle_event(warp_core:placed_event(), #policy{}) ->
    {ok, #policy{}} | {error, term()}.
handle_event(Event, #policy{ctx = Ctx, name = Name, react = React, from = From} = Policy) ->
    case is_before(Event, From) orelse reacted(React, Event, Ctx) of
        true ->
            {ok, Policy};
        {error, _} = Error ->
            Error;
        Commands ->
            case warp_subscription:transaction(Ctx, Name, Event, Commands) of
                ok -> {ok, Policy};
                {error, _} = Error -> Error
            end
    end.

reacted(React, Event, _Ctx) when is_function(React, 1) -> React(Event);
reacted(React, Event, Ctx) -> React(Event, Ctx).

from({cursor, Cursor}, Shards) -> warp_subscription_cursor:decode({shards, Shards}, Cursor);
from(Time, _Shards) -> {ok, Time}.

is_before(_Event, none) ->
    false;
is_before(#{recorded_at := Time}, From) when is_integer(From) ->
    Time < From;
is_before(#{shard := N, position := Position, seq := Seq}, Places) ->
    case maps:get(N, Places, 0) of
        {At, Upto} -> {Position, Seq} =< {At, Upto};
        At -> Position =< At
    end.
