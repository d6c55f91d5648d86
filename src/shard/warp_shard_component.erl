%% @private The component for the shards of a context. It is the first in the list.
-module(warp_shard_component).
-behaviour(warp_component).

-export([new/1, children/2, await_started/1, stats/1]).

%% @doc The table of the followers.
-spec new(warp_component:settings()) -> #{followers := warp_follower:followers()}.
new(#{shards := Shards}) ->
    #{followers => warp_follower:new(Shards)}.

%% @doc The owner of the journal, and the supervisor of all shards.
-spec children(warp_context:ref(), warp_component:settings()) -> [supervisor:child_spec()].
children(Ref, _Settings) ->
    %% An owner that closes the journal brings all of it into the shards, which can take long on a slow disk.
    [#{id => journal, start => {warp_journal, start_link, [Ref]}, shutdown => 60000},
     #{id => shards, start => {warp_shards_sup, start_link, [Ref]}, type => supervisor,
       shutdown => infinity}].

%% @doc Waits until each shard that is here is open, or gives the first error. The shards open side by side.
-spec await_started(warp_context:context()) -> ok | {error, term()}.
await_started(Context) ->
    case warp_shards_sup:open_here(Context) of
        ok -> each_is_open(Context);
        {error, _} = Error -> Error
    end.

each_is_open(Context) ->
    Each = [warp_shard:status(Context, N) || N <- warp_context_owners:here(Context)],
    case [Error || {error, _} = Error <- Each] of
        [] -> ok;
        [Error | _] -> Error
    end.

%% @doc The counters of the shards, see {@link warp_shard_stats:read/1}.
-spec stats(warp_context:context()) -> #{atom() => term()}.
stats(Context) ->
    warp_shard_stats:read(Context).
