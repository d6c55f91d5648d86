%% @private Supervises the processes of a context's projection. Only the writer knows where the checkpoints
%% stand, so the processes behind it are restarted with it.
-module(warp_projection_sup).
-behaviour(supervisor).

-export([start_link/1]).
-export([init/1]).

-spec start_link(warp_context:ref()) -> supervisor:startlink_ret().
start_link(Ref) ->
    supervisor:start_link(?MODULE, Ref).

-spec init(warp_context:ref()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(Ref) ->
    {ok, #{projections := #{target := Target}} = Context} = warp_context:find(Ref),
    Membership = warp_context:membership(Context),
    ok = warp_projection_table:new(Context),
    ok = warp_projection_states:clean(Context),
    Children = [
        #{id => writer, start => {warp_projection_writer, start_link, [Membership]}, shutdown => 60000},
        #{id => projectors, start => {warp_projection_projectors_sup, start_link, [Membership]}, type => supervisor,
          shutdown => infinity},
        #{id => manager, start => {warp_projection_rebuild, start_link, [Membership]}}
    ] ++ [#{id => queries, start => {warp_projection_query_pool, start_link, [Membership]}} || Target =:= embedded],
    {ok, {#{strategy => rest_for_one, intensity => 1000, period => 1}, Children}}.
