%% The engine's functions for tests, for the Gleam module `warp/testing'.
-module(warp_test_ffi).

-export([append/2, decide/2, with_context/2, await_subscribers/2]).

-spec append(warp_test_aggregate:entity(), [warp_core:new_event()]) ->
    {ok, warp_test_aggregate:entity()} | {error, warp_error_ffi:error()}.
append(Entity, Events) ->
    case warp_test_aggregate:append(Entity, Events) of
        {ok, _} = Ok -> Ok;
        {error, Reason} -> {error, warp_error_ffi:reason(Reason)}
    end.

-spec decide(warp_test_aggregate:entity(), fun((term()) -> warp_core:decision(term()))) ->
    {ok, warp_test_aggregate:entity()} | {error, warp_error_ffi:error()}.
decide(Entity, Fun) ->
    case warp_test_aggregate:decide(Entity, Fun) of
        {ok, _, Next} -> {ok, Next};
        {error, Reason} -> {error, warp_error_ffi:reason(Reason)}
    end.

-spec with_context(map(), fun((warp_core:ctx()) -> Result)) -> {ok, Result} | {error, warp_error_ffi:error()}.
with_context(Settings, Fun) ->
    case warp_test_context:run(options(Settings), fun(Ctx) -> {ok, Fun(Ctx)} end) of
        {ok, _} = Ok -> Ok;
        {error, Reason} -> {error, warp_error_ffi:reason(Reason)}
    end.

-spec await_subscribers(warp_core:ctx(), timeout()) -> {ok, nil} | {error, warp_error_ffi:error()}.
await_subscribers(Ctx, Timeout) ->
    case warp_test_context:await_subscribers(Ctx, Timeout) of
        ok -> {ok, nil};
        {error, Reason} -> {error, warp_error_ffi:reason(Reason)}
    end.

options(Settings) ->
    case maps:without([data_dir, shards, durability], Settings) of
        #{context := <<>>} = Options -> maps:remove(context, Options);
        Options -> Options
    end.
