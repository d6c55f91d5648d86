%% @private What the deletion of an entity means for sagas: their logs keep no payload of it, and
%% a saga under way does nothing to it any more.
%%
%% A step that left an event in the entity's log is found there. A step that did not was cleared
%% when its saga turned back; or its saga is still under way, or stuck, and listed.
-module(warp_saga_erase).

-export([doom/2, is_doomed/3, clear/3]).

%% How many sagas one command clears.
-define(CHUNK, 500).

%% @doc The entity is about to be deleted: what sagas that are listed by now ask of it from here
%% on is refused. Called by its process, so that all they asked before comes before the deletion.
-spec doom(warp_context:context(), binary()) -> ok.
doom(Context, Entity) ->
    warp_saga_table:doom(Context, Entity).

%% @doc Whether a saga's steps on that entity are refused.
-spec is_doomed(warp_context:context(), binary(), binary()) -> boolean().
is_doomed(Context, Id, Entity) ->
    warp_saga_table:is_doomed(Context, Id, Entity).

%% @doc Clears the payloads of that entity from the logs of all sagas, and from the bytes of the
%% files. A process of its own, started when all that sagas asked of the entity is carried out, or
%% refused. It ends with `{cleared, ok | {error, Reason}}'.
-spec clear(warp_context:context(), warp_nif:shard(), binary()) -> no_return().
clear(Context, Handle, Entity) ->
    exit({cleared, cleared(Context, Handle, Entity)}).

cleared(#{shards := Shards} = Context, Handle, Entity) ->
    case warp_nif:saga_steps(Handle, Entity) of
        {ok, Applied} ->
            Listed = [{Id, N} || {Id, Entities} <- warp_saga_table:with_entity(Context, Entity),
                                 {N, Of} <- lists:zip(lists:seq(0, length(Entities) - 1), Entities),
                                 Of =:= Entity],
            Empty = maps:from_list([{N, #{}} || N <- warp_saga_table:cleared(Context)]),
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
each([{N, BySaga} | Shards], Context) ->
    %% Before: what is cleared along with an append in the meantime is for the next deletion.
    ok = warp_saga_table:unset_cleared(Context, N),
    Events = [{Saga, warp_saga_plan:seqs(lists:usort(Ns))} || {Saga, Ns} <- maps:to_list(BySaga)],
    case clear_shard(Context, N, Events) of
        ok ->
            each(Shards, Context);
        {error, _} = Error ->
            ok = warp_saga_table:set_cleared(Context, N),
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
clear_chunk(Context, N, Handle, Events) ->
    {ok, Owner} = warp_context:registered(Context, {owner, N}),
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
