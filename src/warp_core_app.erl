%% @private The application: starts the supervisor of all contexts, and gives up their locks when it stops.
-module(warp_core_app).
-behaviour(application).

-export([start/2, stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    case warp_core_sup:start_link() of
        {ok, Pid} -> {ok, Pid};
        {error, _} = Error -> Error
    end.

-spec stop(term()) -> ok.
stop(_State) ->
    warp_contexts:forget_all().
