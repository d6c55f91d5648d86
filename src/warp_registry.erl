%% @private Finds the process of an entity, and starts it where there is none: through ETS, and
%% the supervisor of the entity's own shard, never through a central process.
-module(warp_registry).

-export([lookup/1, ensure/2, register/4, unregister/3, forget/2]).

-include("warp.hrl").

%% @doc The resident process of an entity.
-spec lookup(#warp_entity{}) -> {ok, pid()} | none.
lookup(#warp_entity{ref = Ref, id = Id}) ->
    case warp_context:find(Ref) of
        {ok, #context{registry = Registry}} ->
            case rows(Registry, Id) of
                [{_, Pid, _, _}] -> {ok, Pid};
                [] -> none
            end;
        not_found ->
            none
    end.

%% @doc The process of an entity and its counter of pending requests.
-spec ensure(warp_context:context(), #warp_entity{}) ->
    {ok, pid(), atomics:atomics_ref()} | {error, {shard_unavailable, non_neg_integer()}}.
ensure(#context{registry = Registry} = Context, #warp_entity{id = Id} = Entity) ->
    case rows(Registry, Id) of
        [{_, Pid, Pending, _}] -> {ok, Pid, Pending};
        [] -> start(Context, Entity)
    end.

start(#context{running = Running} = Context, #warp_entity{id = Id, shard = N} = Entity) ->
    try
        Supervisor = ets:lookup_element(Running, {entity_sup, N}, 2),
        supervisor:start_child(Supervisor, [Id])
    of
        %% Started, or someone else was faster: either way it is there now.
        {ok, _} -> ensure(Context, Entity);
        {error, _} -> {error, {shard_unavailable, N}}
    catch
        error:badarg -> {error, {shard_unavailable, N}};
        exit:_ -> {error, {shard_unavailable, N}}
    end.

%% @doc Registers the calling process. False when another living one is registered.
-spec register(warp_context:context(), binary(), non_neg_integer(), atomics:atomics_ref()) ->
    boolean().
register(#context{registry = Registry} = Context, Id, N, Pending) ->
    case ets:insert_new(Registry, {Id, self(), Pending, N}) of
        true ->
            true;
        false ->
            case rows(Registry, Id) of
                [{_, Pid, _, _} = Row] ->
                    case is_process_alive(Pid) of
                        true ->
                            false;
                        false ->
                            true = ets:delete_object(Registry, Row),
                            register(Context, Id, N, Pending)
                    end;
                [] ->
                    register(Context, Id, N, Pending)
            end
    end.

%% @doc Takes the calling process out of the registry.
-spec unregister(warp_context:context(), binary(), atomics:atomics_ref()) -> ok.
unregister(#context{registry = Registry}, Id, Pending) ->
    _ = [true = ets:delete_object(Registry, Row)
         || {_, Pid, P, _} = Row <- rows(Registry, Id), Pid =:= self(), P =:= Pending],
    ok.

%% @doc Takes a process that is gone out of the registry.
-spec forget(warp_context:context(), {binary(), pid()}) -> ok.
forget(#context{registry = Registry}, {Id, Gone}) ->
    _ = [ets:delete_object(Registry, Row) || {_, Pid, _, _} = Row <- rows(Registry, Id), Pid =:= Gone],
    ok.

rows(Registry, Id) ->
    try
        ets:lookup(Registry, Id)
    catch
        %% The keeper of the table is being restarted.
        error:badarg -> []
    end.
