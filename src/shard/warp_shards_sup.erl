%% @private Supervises all shards of a context, each of which has a supervisor of its own: those that are here, and, of
%% those on other nodes, what follows their logs.
-module(warp_shards_sup).
-behaviour(supervisor).

-export([start_link/1, open_here/1, restart_shard/2, end_shard/2]).
-export([init/1]).

%% @doc Starts the processes of all shards.
-spec start_link(warp_context:ref()) -> supervisor:startlink_ret().
start_link(Ref) ->
    supervisor:start_link(?MODULE, Ref).

%% @doc Starts the owners of all shards that are here and have none. The supervisor may have started before it was known
%% that they are here.
-spec open_here(warp_context:context()) -> ok | {error, interrupted}.
open_here(Context) ->
    Started = [reopened(Context, N) || N <- warp_context_owners:here(Context),
                                       warp_context:registered(Context, {owner, N}) =:= none],
    case [Error || {error, _} = Error <- Started] of
        [] -> ok;
        [Error | _] -> Error
    end.

reopened(Context, N) ->
    case end_shard(Context, N) of
        ok -> restart_shard(Context, N);
        {error, _} = Error -> Error
    end.

%% @doc Starts the processes of shard N, after it has come here or has gone. It must have been ended.
-spec restart_shard(warp_context:context(), non_neg_integer()) -> ok | {error, interrupted}.
restart_shard(Context, N) ->
    case ask(Context, {restart_child, N}) of
        {ok, _} -> ok;
        {error, running} -> ok;
        {error, _} -> {error, interrupted}
    end.

%% @doc Ends the processes of shard N, and waits until they have ended, and its file is closed.
-spec end_shard(warp_context:context(), non_neg_integer()) -> ok | {error, interrupted}.
end_shard(Context, N) ->
    case ask(Context, {terminate_child, N}) of
        ok -> ok;
        {error, _} -> {error, interrupted}
    end.

ask(Context, Request) ->
    case warp_context:registered(Context, shards_sup) of
        {ok, Supervisor} -> warp_call:call(Supervisor, Request, infinity);
        none -> {error, interrupted}
    end.

-spec init(warp_context:ref()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(Ref) ->
    {ok, #{shards := Shards} = Context} = warp_context:find(Ref),
    ok = warp_context:register(Context, shards_sup, self()),
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
