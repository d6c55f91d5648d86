%% @private Waiting until a context knows which sagas its files have open. A context starts without
%% waiting for that.
-module(warp_saga_loaded).

-export([await/1, await/3]).

-define(PATIENCE_MS, 10000).
-define(LOOK_AGAIN, {10, infinity}).

%% @doc Waits, for ten seconds at most, until all sagas that the files on this node have open are listed in {@link
%% warp_saga_table}.
-spec await(warp_context:context()) ->
    ok | {error, context_stopped | {shard_unavailable, non_neg_integer()}}.
await(#{ref := Ref, shards := Shards}) ->
    case await(Ref, lists:seq(0, Shards - 1), warp_deadline:from(?PATIENCE_MS)) of
        {ok, _Context} -> ok;
        {error, _} = Error -> Error
    end.

%% @doc Waits until the open sagas are listed of those among these shards that are on this node. Gives the context in
%% which they are.
-spec await(warp_context:ref(), [non_neg_integer()], warp_deadline:deadline()) ->
    {ok, warp_context:context()} | {error, context_stopped | {shard_unavailable, non_neg_integer()}}.
await(Ref, Ns, Deadline) ->
    IsUnavailable = fun(Result) -> is_tuple(element(2, Result)) end,
    warp_retry:while(IsUnavailable, ?LOOK_AGAIN, Deadline, fun() -> loaded(Ref, Ns) end).

%% NOTE: the context is looked up each time, since one that was restarted has other tables.
loaded(Ref, Ns) ->
    case warp_context:find(Ref) of
        {ok, Context} ->
            case [N || N <- Ns, warp_context_owners:is_here(Context, N), not warp_saga_table:is_loaded(Context, N)] of
                [] -> {ok, Context};
                [N | _] -> {error, {shard_unavailable, N}}
            end;
        not_found ->
            {error, context_stopped}
    end.
