%% @private
-module(warp_core_app).
-behaviour(application).

-export([start/2, stop/1]).

-spec start(application:start_type(), term()) -> supervisor:startlink_ret().
start(_Type, _Args) ->
    warp_core_sup:start_link().

-spec stop(term()) -> ok.
stop(_State) ->
    warp_context:forget_all().
