%% @private Finds the process of an entity, and starts it where there is none: through ETS, and
%% the supervisor of the entity's own shard, never through a central process.
-module(warp_entity_registry).

-export([new/0, lookup/1, ensure/3, register/4, unregister/3, unregister_all/2, size/1]).

-include("../base/warp_entity.hrl").

%% @doc The table, which the calling process owns: {Entity, Pid, Pending, Shard}.
-spec new() -> ets:table().
new() ->
    ets:new(warp_registry, [public, set, {read_concurrency, true}, {write_concurrency, true}]).

%% @doc The resident process of an entity.
-spec lookup(#warp_entity{}) -> {ok, pid()} | none.
lookup(#warp_entity{ref = Ref, id = Id}) ->
    case warp_context:find(Ref) of
        {ok, #{registry := Registry}} ->
            case rows(Registry, Id) of
                [{_, Pid, _, _}] -> {ok, Pid};
                [] -> none
            end;
        not_found ->
            none
    end.

%% @doc The process of an entity and its counter of pending requests. `timeout': the supervisor of the
%% shard's entities did not answer by the deadline; it may start the process later.
-spec ensure(warp_context:context(), #warp_entity{}, warp_deadline:deadline()) ->
    {ok, pid(), warp_entity_pending:pending()}
    | {error, {shard_unavailable, non_neg_integer()} | {bad_entity_id, not_a_handle | reserved} | timeout}.
ensure(#{registry := Registry} = Context, #warp_entity{id = Id} = Entity, Deadline) ->
    case rows(Registry, Id) of
        [{_, Pid, Pending, _}] ->
            %% Only its successor takes one that was killed out of the table.
            case is_process_alive(Pid) of
                true -> {ok, Pid, Pending};
                false -> start(Context, Entity, Deadline)
            end;
        [] ->
            start(Context, Entity, Deadline)
    end.

%% A handle that `warp_core:entity/2' did not make, or made for another context, could have it
%% start in a shard that is not its own, or as one of Warp's own entities.
start(_Context, #warp_entity{id = <<"$warp/", _/binary>>}, _Deadline) ->
    {error, {bad_entity_id, reserved}};
start(Context, #warp_entity{id = Id, shard = N} = Entity, Deadline) ->
    case warp_context:shard_of(Context, Id) of
        {ok, N} -> start_in_shard(Context, Entity, Deadline);
        _ -> {error, {bad_entity_id, not_a_handle}}
    end.

start_in_shard(Context, #warp_entity{id = Id, shard = N}, Deadline) ->
    case warp_context:registered(Context, {entity_sup, N}) of
        {ok, Supervisor} -> start_below(Supervisor, Context, Id, N, Deadline);
        none -> {error, {shard_unavailable, N}}
    end.

start_below(Supervisor, #{registry := Registry}, Id, N, Deadline) ->
    %% A handle that came from another node may be cut from its message.
    case warp_call:start_child(Supervisor, [warp_compact:binary(Id)], Deadline) of
        %% Started, or someone else was faster: either way it is there now, unless it has left at
        %% once, for the shard is not open.
        {ok, _} -> started(rows(Registry, Id), N);
        {error, timeout} -> {error, timeout};
        {error, _} -> {error, {shard_unavailable, N}}
    end.

started([{_, Pid, Pending, _}], N) ->
    case is_process_alive(Pid) of
        true -> {ok, Pid, Pending};
        false -> {error, {shard_unavailable, N}}
    end;
started([], N) ->
    {error, {shard_unavailable, N}}.

%% @doc Registers the calling process: as the first, or in place of one that was killed, whose
%% last appends may still be on their way. Not while another one is alive.
-spec register(warp_context:context(), binary(), non_neg_integer(), warp_entity_pending:pending()) ->
    first | successor | taken.
register(#{registry := Registry}, Id, N, Pending) ->
    Row = {Id, self(), Pending, N},
    case ets:insert_new(Registry, Row) of
        true -> first;
        false -> succeed(Registry, Row)
    end.

succeed(Registry, {Id, _, _, _} = Row) ->
    case rows(Registry, Id) of
        [{_, Pid, _, _} = Old] ->
            case is_process_alive(Pid) of
                true ->
                    taken;
                false ->
                    true = ets:delete_object(Registry, Old),
                    case ets:insert_new(Registry, Row) of
                        true -> successor;
                        false -> succeed(Registry, Row)
                    end
            end;
        [] ->
            %% It has just gone, by itself or taken out by another successor.
            case ets:insert_new(Registry, Row) of
                true -> successor;
                false -> succeed(Registry, Row)
            end
    end.

%% @doc Takes the calling process out of the registry.
-spec unregister(warp_context:context(), binary(), warp_entity_pending:pending()) -> ok.
unregister(#{registry := Registry}, Id, Pending) ->
    _ = [true = ets:delete_object(Registry, Row)
         || {_, Pid, P, _} = Row <- rows(Registry, Id), Pid =:= self(), P =:= Pending],
    ok.

%% @doc Takes all processes of a shard out of the registry.
-spec unregister_all(warp_context:context(), non_neg_integer()) -> ok.
unregister_all(#{registry := Registry}, N) ->
    true = ets:match_delete(Registry, {'_', '_', '_', N}),
    ok.

%% @doc How many entities are resident.
-spec size(warp_context:context()) -> non_neg_integer().
size(#{registry := Registry}) ->
    case ets:info(Registry, size) of
        undefined -> 0;
        Size -> Size
    end.

rows(Registry, Id) ->
    try
        ets:lookup(Registry, Id)
    catch
        %% The keeper of the table is being restarted.
        error:badarg -> []
    end.
