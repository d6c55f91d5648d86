%% @private Finds the process of an entity in ETS, and has the supervisor of the entity's shard start it where there
%% is none. No central process is involved.
-module(warp_entity_registry).

-export([await_none/3]).
-export([new/0, lookup/1, ensure/3, register/4, unregister/3, end_all/2, size/1]).

-include("../base/warp_entity.hrl").

%% How often processes that have to leave memory are looked at.
-define(LEAVING_MS, 2).

%% @doc The table, which the calling process owns: {Entity, Pid, Pending, Shard}.
-spec new() -> ets:table().
new() ->
    ets:new(warp_registry, [public, set, {read_concurrency, true}, {write_concurrency, true}]).

%% @doc The process of an entity, if it is in memory.
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

%% @doc The process of an entity and its counters, started if there is none. Errors: `{shard_unavailable, N}';
%% `{bad_entity_id, Why}' for a handle that `warp_core:entity/2' did not make for this context; and `timeout' when the
%% supervisor of the shard's entities did not answer by the deadline, which may start the process later.
-spec ensure(warp_context:context(), #warp_entity{}, warp_deadline:deadline()) ->
    {ok, pid(), warp_entity_pending:pending()}
    | {error, {shard_unavailable, non_neg_integer()} | {bad_entity_id, not_a_handle | reserved} | timeout}.
ensure(#{registry := Registry} = Context, #warp_entity{id = Id} = Entity, Deadline) ->
    case rows(Registry, Id) of
        [{_, Pid, Pending, _}] ->
            %% A killed process stays in the table until its successor takes its place.
            case is_process_alive(Pid) of
                true -> {ok, Pid, Pending};
                false -> start(Context, Entity, Deadline)
            end;
        [] ->
            start(Context, Entity, Deadline)
    end.

%% A handle that `warp_core:entity/2' did not make, or made for another context, could start an entity in a shard
%% that is not its own, or start one of Warp's own entities.
start(_Context, #warp_entity{id = <<"$warp/", _/binary>>}, _Deadline) ->
    {error, {bad_entity_id, reserved}};
start(Context, #warp_entity{id = Id, shard = N} = Entity, Deadline) ->
    case warp_context:shard_of(Context, Id) of
        {ok, N} -> start_in_shard(Context, Entity, Deadline);
        _ -> {error, {bad_entity_id, not_a_handle}}
    end.

%% In a shard that is being handed to another node no process begins.
start_in_shard(Context, #warp_entity{id = Id, shard = N}, Deadline) ->
    case warp_context_owners:is_here(Context, N) andalso warp_context:registered(Context, {entity_sup, N}) of
        {ok, Supervisor} -> start_below(Supervisor, Context, Id, N, Deadline);
        _ -> {error, {shard_unavailable, N}}
    end.

start_below(Supervisor, #{registry := Registry}, Id, N, Deadline) ->
    %% The id in a handle from another node may be cut from that node's message.
    case warp_call:start_child(Supervisor, [warp_compact:binary(Id)], Deadline) of
        %% NOTE: another caller may have started the process first. Either way it is registered now, unless it has
        %% ended at once because the shard is not open.
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

%% @doc Registers the calling process as the process of an entity. `first': there was none. `successor': the previous
%% one was killed, and its last appends may still be in the queue. `taken': another process of the entity is alive,
%% and the caller is not registered.
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
            %% NOTE: the row has just been removed, by that process itself or by another successor.
            case ets:insert_new(Registry, Row) of
                true -> successor;
                false -> succeed(Registry, Row)
            end
    end.

%% @doc Removes the calling process from the registry.
-spec unregister(warp_context:context(), binary(), warp_entity_pending:pending()) -> ok.
unregister(#{registry := Registry}, Id, Pending) ->
    _ = [true = ets:delete_object(Registry, Row)
         || {_, Pid, P, _} = Row <- rows(Registry, Id), Pid =:= self(), P =:= Pending],
    ok.

%% @doc Kills all processes of shard N, waits until they have ended, and removes them from the registry.
%%
%% NOTE: no entity has two processes that live. The first one could publish its state after the second one has looked
%% for what is left of it, and readers would get that state for as long as the second one publishes none.
-spec end_all(warp_context:context(), non_neg_integer()) -> ok.
end_all(#{registry := Registry}, N) ->
    Rows = ets:match_object(Registry, {'_', '_', '_', N}),
    Ending = [{Row, erlang:monitor(process, Pid)} || {_, Pid, _, _} = Row <- Rows, exit(Pid, kill)],
    lists:foreach(
        fun({Row, Monitor}) ->
            receive {'DOWN', Monitor, process, _, _} -> ok end,
            true = ets:delete_object(Registry, Row)
        end,
        Ending).

%% @doc Has all processes of shard N leave memory as soon as they have nothing to do, and waits until they have. None
%% may begin meanwhile.
-spec await_none(warp_context:context(), non_neg_integer(), warp_deadline:deadline()) -> ok | {error, timeout}.
await_none(#{registry := Registry} = Context, N, Deadline) ->
    Pids = [Pid || [Pid] <- ets:match(Registry, {'_', '$1', '_', N}), is_process_alive(Pid)],
    case Pids =:= [] andalso have_ended(Context, N) of
        true ->
            ok;
        false ->
            %% A process that was busy is told again.
            lists:foreach(fun(Pid) -> Pid ! passivate end, Pids),
            case warp_deadline:left(Deadline) of
                0 -> {error, timeout};
                Left ->
                    ok = timer:sleep(min(?LEAVING_MS, Left)),
                    await_none(Context, N, Deadline)
            end
    end.

%% Whether the supervisor has seen the end of all processes: one that leaves memory takes itself out of the table
%% before.
have_ended(Context, N) ->
    case warp_context:registered(Context, {entity_sup, N}) of
        {ok, Supervisor} ->
            case warp_call:call(Supervisor, count_children, infinity) of
                {error, _} -> true;
                Counts -> proplists:get_value(active, Counts) =:= 0
            end;
        none ->
            true
    end.

%% @doc How many entities are in memory. 0 while the keeper of the table is being restarted.
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
