%% @private Waiting until a context knows which sagas its files have open. A context starts without
%% waiting for that.
-module(warp_saga_loaded).

-export([await/1, await/2]).

-define(PATIENCE_MS, 10000).
-define(LOOK_AGAIN, {10, infinity}).

%% @equiv await(Context, InTenSeconds)
-spec await(warp_context:context()) ->
    ok | {error, context_stopped | {shard_unavailable, non_neg_integer()}}.
await(Context) ->
    await(Context, warp_deadline:from(?PATIENCE_MS)).

%% @doc Waits until all sagas that the files of the context have open are listed in {@link warp_saga_table}.
-spec await(warp_context:context(), warp_deadline:deadline()) ->
    ok | {error, context_stopped | {shard_unavailable, non_neg_integer()}}.
await(#{ref := Ref, shards := Shards}, Deadline) ->
    IsUnavailable = fun(Result) -> Result =/= ok andalso Result =/= {error, context_stopped} end,
    warp_retry:while(IsUnavailable, ?LOOK_AGAIN, Deadline, fun() -> loaded(Ref, Shards) end).

%% NOTE: the context is looked up each time, since one that was restarted has other tables.
loaded(Ref, Shards) ->
    case warp_context:find(Ref) of
        {ok, Context} ->
            case [N || N <- lists:seq(0, Shards - 1), not warp_saga_table:is_loaded(Context, N)] of
                [] -> ok;
                [N | _] -> {error, {shard_unavailable, N}}
            end;
        not_found ->
            {error, context_stopped}
    end.
