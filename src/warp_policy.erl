%% @private A policy as a subscriber, see {@link warp_subscription:policy/3}.
-module(warp_policy).
-behaviour(warp_subscriber).

-export([init/2, handle_event/2]).

-export_type([react/0]).

%% What follows from an event, or why it cannot be said now. One with a second argument gets the context.
-type react() ::
    fun((warp_core:placed_event()) -> commands()) | fun((warp_core:placed_event(), warp_core:ctx()) -> commands()).
-type commands() :: [warp_subscription:command()] | {error, Why :: term()}.

-record(policy, {ctx :: warp_core:ctx(), name :: binary(), react :: react()}).

-spec init(warp_core:ctx(), {Name :: binary(), react()}) -> {ok, #policy{}}.
init(Ctx, {Name, React}) ->
    {ok, #policy{ctx = Ctx, name = Name, react = warp_function:lasting(React)}}.

-spec handle_event(warp_core:placed_event(), #policy{}) -> {ok, #policy{}} | {error, term()}.
handle_event(Event, #policy{ctx = Ctx, name = Name, react = React} = Policy) ->
    case reacted(React, Event, Ctx) of
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
