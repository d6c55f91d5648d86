%% @private Supervises the projectors of a context: one for each shard, and twice as many during a rebuild.
-module(warp_projection_projectors_sup).
-behaviour(supervisor).

-export([start_link/1, start_all/3, stop_all/2]).
-export([init/1]).

-spec start_link(warp_context:membership()) -> supervisor:startlink_ret().
start_link(Membership) ->
    supervisor:start_link(?MODULE, Membership).

%% @doc Starts the projectors of a generation that do not run yet.
-spec start_all(warp_context:membership(), warp_context:context(), pos_integer()) -> ok.
start_all(Membership, #{shards := Shards} = Context, Generation) ->
    {ok, Supervisor} = warp_projection_table:process(Context, projectors),
    lists:foreach(
        fun(N) ->
            _ = supervisor:start_child(Supervisor, #{
                id => {N, Generation},
                start => {warp_projection_projector, start_link, [Membership, N, Generation]}})
        end,
        lists:seq(0, Shards - 1)).

%% @doc Stops the projectors of a generation.
-spec stop_all(warp_context:context(), pos_integer()) -> ok.
stop_all(#{shards := Shards} = Context, Generation) ->
    {ok, Supervisor} = warp_projection_table:process(Context, projectors),
    lists:foreach(
        fun(N) ->
            _ = supervisor:terminate_child(Supervisor, {N, Generation}),
            _ = supervisor:delete_child(Supervisor, {N, Generation}),
            ok = warp_projection_table:take_projector(Context, {N, Generation})
        end,
        lists:seq(0, Shards - 1)).

-spec init(warp_context:membership()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(Membership) ->
    Context = warp_context:mine(Membership),
    ok = warp_projection_table:put_process(Context, projectors, self()),
    {ok, {#{strategy => one_for_one, intensity => 1000, period => 1}, []}}.
