%% @private Supervises the projectors of a context: one for each shard that the node projects, and twice as many during
%% a rebuild.
-module(warp_projection_projectors_sup).
-behaviour(supervisor).

-export([start_link/1, start_all/3, stop_all/2, start/4, stop/2]).
-export([init/1]).

-spec start_link(warp_context:membership()) -> supervisor:startlink_ret().
start_link(Membership) ->
    supervisor:start_link(?MODULE, Membership).

%% @doc Starts the projectors of a generation that do not run yet.
-spec start_all(warp_context:membership(), warp_context:context(), pos_integer()) -> ok.
start_all(Membership, Context, Generation) ->
    lists:foreach(fun(N) -> ok = start(Membership, Context, N, Generation) end,
                  warp_projection_table:followed(Context)).

%% @doc Starts the projector of a shard, if it does not run yet.
-spec start(warp_context:membership(), warp_context:context(), non_neg_integer(), pos_integer()) -> ok.
start(Membership, Context, N, Generation) ->
    {ok, Supervisor} = warp_projection_table:process(Context, projectors),
    _ = supervisor:start_child(Supervisor, #{
        id => {N, Generation},
        start => {warp_projection_projector, start_link, [Membership, N, Generation]}}),
    ok.

%% @doc Stops the projectors of a generation.
-spec stop_all(warp_context:context(), pos_integer()) -> ok.
stop_all(#{shards := Shards} = Context, Generation) ->
    lists:foreach(fun(N) -> ok = stop(Context, {N, Generation}) end, lists:seq(0, Shards - 1)).

%% @doc Stops a projector, if it runs.
-spec stop(warp_context:context(), warp_projection_table:key()) -> ok.
stop(Context, Key) ->
    {ok, Supervisor} = warp_projection_table:process(Context, projectors),
    _ = supervisor:terminate_child(Supervisor, Key),
    _ = supervisor:delete_child(Supervisor, Key),
    warp_projection_table:take_projector(Context, Key).

-spec init(warp_context:membership()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(Membership) ->
    Context = warp_context:mine(Membership),
    ok = warp_projection_table:put_process(Context, projectors, self()),
    {ok, {#{strategy => one_for_one, intensity => 1000, period => 1}, []}}.
