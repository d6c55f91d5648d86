%% @private What the deletion of an entity means for sagas: their logs keep no payload of it, and
%% a saga under way does nothing to it any more.
%%
%% A step that left an event in the entity's log is found there. A step that did not was cleared
%% when its saga turned back; or its saga is still under way, or stuck, and listed.
-module(warp_saga_erase).

-export([check/3, clear/2]).

%% How many sagas one command clears.
-define(CHUNK, 500).

%% @doc Whether the entity's process may judge what a saga asks of it.
-spec check(warp_context:context(), Entity :: binary(), Saga :: binary()) -> ok | {error, entity_deleted}.
check(Context, Entity, Id) ->
    case warp_saga_table:is_doomed(Context, Id, Entity) of
        true -> {error, entity_deleted};
        false -> ok
    end.

%% @doc Clears the payloads of that entity from the logs of all sagas, and from the bytes of the
%% files. Called when all that sagas asked of the entity is carried out, or refused.
-spec clear(warp_context:context(), Entity :: binary()) -> ok | {error, term()}.
clear(Context, Entity) ->
    case applied(Context, Entity) of
        {ok, Applied} ->
            Listed = [{Id, N} || {Id, Entities} <- warp_saga_table:with_entity(Context, Entity),
                                 {N, Of} <- lists:zip(lists:seq(0, length(Entities) - 1), Entities),
                                 Of =:= Entity],
            Empty = maps:from_list([{N, #{}} || N <- warp_saga_table:cleared(Context)]),
            each(maps:to_list(by_shard(Applied ++ Listed, Context, Empty)), Context);
        {error, _} = Error ->
            Error
    end.

%% The steps that left events in the entity's log.
applied(Context, Entity) ->
    case warp_context:locate(Context, Entity) of
        {ok, {N, Handle}} ->
            case warp_nif:correlations(Handle, Entity, warp_saga_plan:infixes()) of
                {ok, Found} ->
                    BySaga = maps:groups_from_list(fun({Id, _}) -> Id end, fun({_, Step}) -> Step end, Found),
                    own(maps:to_list(BySaga), Context, Entity, []);
                {error, closed} -> {error, {shard_unavailable, N}};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% Users choose ids and metadata of their events, so an event can look like that of a step. The plan of the
%% saga tells whether the step is one of the entity.
own([], _Context, _Entity, Own) ->
    {ok, lists:append(Own)};
own([{Id, Ns} | Sagas], Context, Entity, Own) ->
    case read(Context, Id) of
        {ok, #{core := Core}} ->
            #{steps := Steps} = warp_saga_core:plan(Core),
            Of = [N || #{n := N, entity := At} <- Steps, At =:= Entity, lists:member(N, Ns)],
            own(Sagas, Context, Entity, [[{Id, N} || N <- Of] | Own]);
        {error, not_found} ->
            own(Sagas, Context, Entity, Own);
        %% A damaged saga must not keep the entity from being deleted: its steps are taken for the entity's.
        {error, {corrupt, _}} ->
            own(Sagas, Context, Entity, [[{Id, N} || N <- Ns] | Own]);
        {error, _} = Error ->
            Error
    end.

read(Context, Id) ->
    case warp_saga_plan:check_id(Id) of
        ok -> warp_saga_log:read(Context, Id);
        {error, _} -> {error, not_found}
    end.

by_shard(Steps, Context, ByShard) ->
    lists:foldl(
        fun({Id, N}, Acc) ->
            Saga = warp_saga_plan:entity_id(Id),
            {ok, Shard} = warp_context:shard_of(Context, Saga),
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
    case warp_context:registered(Context, {owner, N}) of
        {ok, Owner} -> cleared_by(erlang:monitor(process, Owner), N, Handle, Events);
        none -> {error, {shard_unavailable, N}}
    end.

cleared_by(Monitor, N, Handle, Events) ->
    Result =
        case warp_nif:clear(Handle, Events, warp_saga_plan:cleared_types()) of
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
