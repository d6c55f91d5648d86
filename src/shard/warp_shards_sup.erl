%% @private Supervises all shards of a context, each of which has a supervisor of its own.
-module(warp_shards_sup).
-behaviour(supervisor).

-export([start_link/1]).
-export([init/1]).

%% @doc Starts the processes of all shards.
-spec start_link(reference()) -> supervisor:startlink_ret().
start_link(Ref) ->
    supervisor:start_link(?MODULE, Ref).

-spec init(reference()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(Ref) ->
    {ok, #{shards := Shards} = Context} = warp_context:find(Ref),
    Membership = warp_context:membership(Context),
    Children = [
        #{
            id => N,
            start => {warp_shard_sup, start_link, [Membership, N]},
            type => supervisor,
            shutdown => infinity
        }
     || N <- lists:seq(0, Shards - 1)
    ],
    {ok, {#{strategy => one_for_one, intensity => 1000, period => 1}, Children}}.
