%% @private Waiting until a context knows which sagas its files have open. A context starts without
%% waiting for that.
-module(warp_saga_loaded).

-export([await/1]).

-define(PATIENCE_MS, 10000).
-define(LOOK_AGAIN_MS, 10).

%% @doc Waits, for ten seconds at most, until all sagas that the files of the context have open are
%% listed in {@link warp_saga_table}.
-spec await(warp_context:context()) ->
    ok | {error, context_stopped | {shard_unavailable, non_neg_integer()}}.
await(#{ref := Ref, shards := Shards}) ->
    await(0, Shards, Ref, erlang:monotonic_time(millisecond) + ?PATIENCE_MS).

await(Shards, Shards, _Ref, _Deadline) ->
    ok;
await(N, Shards, Ref, Deadline) ->
    %% Looked up anew each time: a context that is being restarted has other tables.
    case warp_context:find(Ref) of
        {ok, Context} ->
            case warp_saga_table:is_loaded(Context, N) of
                true ->
                    await(N + 1, Shards, Ref, Deadline);
                false ->
                    case erlang:monotonic_time(millisecond) > Deadline of
                        true ->
                            {error, {shard_unavailable, N}};
                        false ->
                            ok = timer:sleep(?LOOK_AGAIN_MS),
                            await(N, Shards, Ref, Deadline)
                    end
            end;
        not_found ->
            {error, context_stopped}
    end.
