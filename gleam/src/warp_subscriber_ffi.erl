%% The callback module of the subscribers of `warp/subscriber'. This module reshapes terms and decides nothing.
-module(warp_subscriber_ffi).
-behaviour(warp_subscriber).

-export([new/3, start_link/2]).
-export([init/2, handle_event/2, handle_caught_up/1, handle_erased/2]).

%% `Functions' of `warp/subscriber'.
-type functions() ::
    {functions,
     Decode :: fun((warp_core:event()) -> term()),
     Initialise :: fun((warp_core:ctx()) -> result()),
     OnEvent :: fun((term(), warp_subscription_ffi:placed()) -> result()),
     OnCaughtUp :: fun((term()) -> term()),
     OnErased :: fun((term(), binary()) -> result())}.
-type result() :: {ok, term()} | {error, binary()}.
-type state() :: {functions(), Own :: term()}.

-spec new(binary(), functions(), warp_subscriber:options()) -> warp_subscriber:subscriber().
new(Name, Functions, Options) ->
    warp_subscriber:new(Name, ?MODULE, Functions, Options).

-spec start_link(warp_core:ctx(), warp_subscriber:subscriber()) -> {ok, pid()} | {error, warp_error_ffi:error()}.
start_link(Ctx, Subscriber) ->
    case warp_subscriber:start_link(Ctx, Subscriber) of
        {ok, _} = Started -> Started;
        {error, {shutdown, Reason}} -> {error, warp_error_ffi:reason(Reason)};
        {error, Reason} -> {error, warp_error_ffi:reason(Reason)}
    end.

-spec init(warp_core:ctx(), functions()) -> {ok, state()} | {error, binary()}.
init(Ctx, {functions, _, Initialise, _, _, _} = Functions) ->
    next(Functions, fun() -> Initialise(Ctx) end).

-spec handle_event(warp_core:placed_event(), state()) -> {ok, state()} | {error, binary()}.
handle_event(Event, {{functions, Decode, _, OnEvent, _, _} = Functions, Own}) ->
    next(Functions, fun() -> OnEvent(Own, warp_subscription_ffi:placed(Event, Decode)) end).

-spec handle_caught_up(state()) -> {ok, state()} | {error, binary()}.
handle_caught_up({{functions, _, _, _, OnCaughtUp, _} = Functions, Own}) ->
    next(Functions, fun() -> {ok, OnCaughtUp(Own)} end).

-spec handle_erased(binary(), state()) -> {ok, state()} | {error, binary()}.
handle_erased(Entity, {{functions, _, _, _, _, OnErased} = Functions, Own}) ->
    next(Functions, fun() -> OnErased(Own, Entity) end).

%% A crash is shown as elsewhere in Gleam.
next(Functions, Call) ->
    try Call() of
        {ok, Own} -> {ok, {Functions, Own}};
        {error, _} = Error -> Error
    catch
        Class:Reason:Stack -> {error, warp_error_ffi:crash({Class, Reason, Stack})}
    end.
