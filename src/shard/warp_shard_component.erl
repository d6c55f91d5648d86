%% @private The shards of a context, as the context's first component.
-module(warp_shard_component).
-behaviour(warp_component).

-export([new/1, children/2, await_started/1, stats/1]).

-spec new(warp_component:settings()) -> #{followers := warp_follower:followers()}.
new(#{shards := Shards}) ->
    #{followers => warp_follower:new(Shards)}.

-spec children(reference(), warp_component:settings()) -> [supervisor:child_spec()].
children(Ref, _Settings) ->
    [#{id => shards, start => {warp_shards_sup, start_link, [Ref]}, type => supervisor,
       shutdown => infinity}].

%% @doc All shards are opening by now, side by side: this only collects the results.
-spec await_started(warp_context:context()) -> ok | {error, term()}.
await_started(#{shards := Shards} = Context) ->
    Each = [warp_shard:status(Context, N) || N <- lists:seq(0, Shards - 1)],
    case [Error || {error, _} = Error <- Each] of
        [] -> ok;
        [Error | _] -> Error
    end.

-spec stats(warp_context:context()) -> #{atom() => term()}.
stats(Context) ->
    warp_shard_stats:read(Context).
