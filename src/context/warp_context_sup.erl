%% @private One context: its keeper, and behind it its shards.
-module(warp_context_sup).
-behaviour(supervisor).

-export([start_link/2]).
-export([init/1]).

-spec start_link(reference(), warp_context:start()) -> supervisor:startlink_ret().
start_link(Ref, Start) ->
    supervisor:start_link(?MODULE, {Ref, Start}).

-spec init({reference(), warp_context:start()}) ->
    {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({Ref, {Settings, _, _} = Start}) ->
    Projects = maps:get(projections, Settings) =/= none,
    Keeper = #{id => keeper, start => {warp_context, start_link, [Ref, Start]}},
    Shards = #{
        id => shards,
        start => {warp_shards_sup, start_link, [Ref]},
        type => supervisor,
        shutdown => infinity
    },
    %% Not there when nothing is projected.
    Projection = #{
        id => projection,
        start => {warp_projection_sup, start_link, [Ref]},
        type => supervisor,
        shutdown => infinity
    },
    %% Without the keeper's tables nothing behind it can go on.
    {ok, {#{strategy => rest_for_one, intensity => 1000, period => 1},
          [Keeper, Shards] ++ [Projection || Projects]}}.
