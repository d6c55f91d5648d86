%% @private Serves the file of a shard to the node that gets it, page by page. Nothing of it is locked or held up.
-module(warp_cluster_copy).

-export([entities/2, outline/2, pages/3]).

%% @doc About how many entities the shard has; 0 where that cannot be told. A thread of the engine looks at some
%% thousands of them, and nobody waits for it but the caller.
-spec entities(warp_context:ref(), non_neg_integer()) -> {ok, non_neg_integer()} | {error, term()}.
entities(Ref, N) ->
    with_source(Ref, N, fun
        (File) when is_binary(File) ->
            {ok, 0};
        (Shard) ->
            case warp_nif:entity_count(Shard) of
                {ok, Count} -> {ok, Count};
                {error, _} -> {ok, 0}
            end
    end).

%% @doc What the file is to look like: the id of its checksums, how many pages it has, and the checksums. What was
%% committed by now is moved into the file before.
-spec outline(warp_context:ref(), non_neg_integer()) -> {ok, warp_nif:outline()} | {error, term()}.
outline(Ref, N) ->
    with_source(Ref, N, fun
        (File) when is_binary(File) ->
            warp_nif:outline(File);
        (Shard) ->
            %% What cannot be moved now is copied later.
            _ = warp_nif:move_wal(Shard),
            warp_nif:outline(Shard)
    end).

%% @doc Pages of the file, one behind the other.
-spec pages(warp_context:ref(), non_neg_integer(), [pos_integer()]) -> {ok, binary()} | {error, term()}.
pages(Ref, N, Pages) ->
    with_source(Ref, N, fun(Source) -> warp_nif:pages(Source, Pages) end).

%% The file of a shard that is open is read by its handle.
with_source(Ref, N, Fun) ->
    case warp_context:find(Ref) of
        {ok, Context} ->
            case {warp_context:shard(Context, N), warp_context_owners:where(Context, N)} of
                {{ok, Shard}, _} -> Fun(Shard);
                {{error, _} = Error, here} -> Error;
                {{error, _}, _} -> Fun(warp_shard:file(Context, N))
            end;
        not_found ->
            {error, context_stopped}
    end.
