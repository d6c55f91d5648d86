%% @private What the deletion of an entity means for sagas: their logs keep no payload of it, and
%% a saga under way does nothing to it any more.
%%
%% A step that left an event in the entity's log is found there. A step that did not was cleared
%% when its saga turned back; or its saga is still under way, or stuck, and listed.
-module(warp_saga_erase).

-export([await_loaded/1, doom/2, is_doomed/3, forget/3, clear/3]).

-define(PATIENCE_MS, 10000).
-define(LOOK_AGAIN_MS, 10).
%% How many sagas one command clears.
-define(CHUNK, 500).

%% @doc Waits until all sagas that the files have open are listed.
-spec await_loaded(warp_context:context()) ->
    ok | {error, context_stopped | {shard_unavailable, non_neg_integer()}}.
await_loaded(#{ref := Ref, shards := Shards}) ->
    await_loaded(0, Shards, Ref, erlang:monotonic_time(millisecond) + ?PATIENCE_MS).

await_loaded(Shards, Shards, _Ref, _Deadline) ->
    ok;
await_loaded(N, Shards, Ref, Deadline) ->
    %% Found anew each time: its tables go with their keeper.
    case warp_context:find(Ref) of
        {ok, Context} ->
            case warp_saga_keeper:is_loaded(Context, N) of
                true ->
                    await_loaded(N + 1, Shards, Ref, Deadline);
                false ->
                    case erlang:monotonic_time(millisecond) > Deadline of
                        true ->
                            {error, {shard_unavailable, N}};
                        false ->
                            ok = timer:sleep(?LOOK_AGAIN_MS),
                            await_loaded(N, Shards, Ref, Deadline)
                    end
            end;
        not_found ->
            {error, context_stopped}
    end.

%% @doc The entity is about to be deleted: what sagas that are listed by now ask of it from here
%% on is refused. Called by its process, so that all they asked before comes before the deletion.
-spec doom(warp_context:context(), binary()) -> ok.
doom(#{sagas := Sagas, saga_counts := Counts}, Entity) ->
    lists:foreach(
        fun({Id, _Entities}) ->
            ok = warp_saga_stats:add(doomed, Counts),
            true = ets:insert(Sagas, {{doomed, Id, Entity}})
        end,
        listed(Sagas, Entity)).

%% @doc Whether a saga's steps on that entity are refused.
-spec is_doomed(warp_context:context(), binary(), binary()) -> boolean().
is_doomed(#{sagas := Sagas} = Context, Id, Entity) ->
    warp_saga_stats:is_any_doomed(Context) andalso ets:member(Sagas, {doomed, Id, Entity}).

%% @doc The saga has come to its end.
-spec forget(warp_context:context(), binary(), [warp_saga_plan:step()]) -> ok.
forget(#{sagas := Sagas} = Context, Id, Steps) ->
    case warp_saga_stats:is_any_doomed(Context) of
        true ->
            lists:foreach(
                fun(#{entity := Entity}) -> true = ets:delete(Sagas, {doomed, Id, Entity}) end, Steps);
        false ->
            ok
    end.

listed(Sagas, Entity) ->
    ets:foldl(
        fun
            ({{saga, Id}, _, _, Entities, _, _}, Acc) ->
                case lists:member(Entity, Entities) of
                    true -> [{Id, Entities} | Acc];
                    false -> Acc
                end;
            (_, Acc) ->
                Acc
        end,
        [],
        Sagas).

%% @doc Clears the payloads of that entity from the logs of all sagas, and from the bytes of the
%% files. A process of its own, started when all that sagas asked of the entity is carried out, or
%% refused. It ends with `{cleared, ok | {error, Reason}}'.
-spec clear(warp_context:context(), warp_nif:shard(), binary()) -> no_return().
clear(Context, Handle, Entity) ->
    exit({cleared, cleared(Context, Handle, Entity)}).

cleared(#{sagas := Sagas, shards := Shards, running := Running} = Context, Handle, Entity) ->
    case warp_nif:saga_steps(Handle, Entity) of
        {ok, Applied} ->
            Listed = [{Id, N} || {Id, Entities} <- listed(Sagas, Entity),
                                 {N, Of} <- lists:zip(lists:seq(0, length(Entities) - 1), Entities),
                                 Of =:= Entity],
            Cleared = [N || [N] <- ets:match(Running, {{cleared, '$1'}, true})],
            Empty = maps:from_list([{N, #{}} || N <- Cleared]),
            each(maps:to_list(by_shard(Applied ++ Listed, Shards, Empty)), Context);
        {error, _} = Error ->
            Error
    end.

by_shard(Steps, Shards, ByShard) ->
    lists:foldl(
        fun({Id, N}, Acc) ->
            Saga = warp_saga_plan:entity_id(Id),
            {ok, Shard} = warp_nif:shard_of(Saga, Shards),
            Seqs = maps:get(Shard, Acc, #{}),
            Acc#{Shard => maps:update_with(Saga, fun(Ns) -> [N | Ns] end, [N], Seqs)}
        end,
        ByShard,
        Steps).

each([], _Context) ->
    ok;
each([{N, BySaga} | Shards], #{running := Running} = Context) ->
    %% Before: what is cleared along with an append in the meantime is for the next deletion.
    true = ets:delete(Running, {cleared, N}),
    Events = [{Saga, warp_saga_plan:seqs(lists:usort(Ns))} || {Saga, Ns} <- maps:to_list(BySaga)],
    case clear_shard(Context, N, Events) of
        ok ->
            each(Shards, Context);
        {error, _} = Error ->
            true = ets:insert(Running, {{cleared, N}, true}),
            Error
    end.

clear_shard(Context, N, Events) ->
    case warp_context:shard(Context, N) of
        {ok, Handle} -> chunks(Context, N, Handle, Events);
        {error, _} = Error -> Error
    end.

chunks(Context, N, Handle, Events) ->
    {Now, Later} = lists:split(min(?CHUNK, length(Events)), Events),
    case clear_chunk(Context, N, Handle, Now) of
        ok when Later =:= [] -> ok;
        ok -> chunks(Context, N, Handle, Later);
        Error -> Error
    end.

%% The answer comes through the shard's owner: without it there is none.
clear_chunk(#{running := Running}, N, Handle, Events) ->
    Owner = ets:lookup_element(Running, {owner, N}, 2),
    Monitor = erlang:monitor(process, Owner),
    Result =
        case warp_nif:clear(Handle, Events) of
            ok ->
                receive
                    {warp_reply, cleared} -> ok;
                    {warp_reply, {failed, closed}} -> {error, {shard_unavailable, N}};
                    {warp_reply, {failed, Reason}} -> {error, Reason};
                    {'DOWN', Monitor, process, _, _} -> {error, {shard_unavailable, N}}
                end;
            {error, closed} ->
                {error, {shard_unavailable, N}};
            {error, _} = Error ->
                Error
        end,
    true = erlang:demonitor(Monitor, [flush]),
    Result.
