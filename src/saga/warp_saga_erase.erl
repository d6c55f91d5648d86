%% @private What the deletion of an entity means for sagas: their logs keep no payload of it, and
%% a saga under way does nothing to it any more.
%%
%% A step that left an event in the entity's log is found there. A step that did not was cleared
%% when its saga turned back; or its saga is still under way, or stuck, and listed.
%%
%% In a cluster the saga may be on another node than the entity. Its log is cleared there. And before an entity is
%% deleted, each other node that can be reached refuses its sagas under way all that they do to it, and clears them
%% (`elsewhere'); the entity's node is told which they are, since it may have requests of them already. What any saga of
%% another node asks in the meantime is refused for now, so that it is asked again.
-module(warp_saga_erase).

-export([check/3, check_own/3, clear/2, later/2, elsewhere/2, told/3]).
%% Called by other nodes.
-export([clear_there/4]).

%% How many sagas one command clears, and how many one step that is taken later.
-define(CHUNK, 500).
-define(LATER, 100).
%% How long another node may take to clear sagas.
-define(THERE_MS, 5000).
%% How long a node waits for the sagas that its files have open, when another one asks.
-define(LOADED_MS, 2000).
-define(LATER_STEP, "sagas:").

%% @doc Whether the entity's process may judge what a saga asks of it. `interrupted': it may be asked again soon.
-spec check(warp_context:context(), Entity :: binary(), Saga :: binary()) ->
    ok | {error, entity_deleted | interrupted}.
check(#{cluster := single_node} = Context, Entity, Id) ->
    check_own(Context, Entity, Id);
check(Context, Entity, Id) ->
    case check_own(Context, Entity, Id) of
        ok ->
            case warp_context_owners:where(Context, shard_of_saga(Id, Context)) of
                {at, Node} -> check_of(Node, Context, Entity);
                _ -> ok
            end;
        {error, _} = Error ->
            Error
    end.

check_of(Node, Context, Entity) ->
    {ok, N} = warp_context:shard_of(Context, Entity),
    case warp_erasure_holds:is_log_left(Context, Entity)
        orelse warp_cluster_withheld:is_withheld(Context, Node, N, Entity) of
        true -> {error, interrupted};
        false -> ok
    end.

%% @doc Whether a saga may ask anything of the entity, as this node knows. The saga's process asks this before it asks
%% the entity, and the entity's process again.
-spec check_own(warp_context:context(), Entity :: binary(), Saga :: binary()) -> ok | {error, entity_deleted}.
check_own(Context, Entity, Id) ->
    case warp_saga_table:is_doomed(Context, Id, Entity) of
        true -> {error, entity_deleted};
        false -> ok
    end.

%% @doc Has what sagas of this node under way ask of an entity of another node refused from now on, and clears their
%% payloads of it. Gives the ids of these sagas.
-spec elsewhere(warp_context:context(), Entity :: binary()) -> {ok, [binary()]} | {error, term()}.
elsewhere(#{ref := Ref, shards := Shards}, Entity) ->
    case warp_saga_loaded:await(Ref, lists:seq(0, Shards - 1), warp_deadline:from(?LOADED_MS)) of
        {ok, Context} ->
            ok = warp_saga_table:doom(Context, Entity),
            Doomed = [Of || {Id, _} = Of <- warp_saga_table:with_entity(Context, Entity),
                            warp_saga_table:is_doomed(Context, Id, Entity),
                            warp_context_owners:has(Context, shard_of_saga(Id, Context))],
            case each(maps:to_list(by_shard(steps_on(Entity, Doomed), Context, cleared(Context))), Context) of
                ok -> {ok, [Id || {Id, _} <- Doomed]};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Those sagas of another node are refused what they ask of an entity of this one.
-spec told(warp_context:context(), Entity :: binary(), [binary()]) -> ok.
told(Context, Entity, Ids) ->
    warp_saga_table:doom_of_others(Context, Entity, Ids).

%% @doc Clears the payloads of that entity from the logs of all sagas, and from the bytes of the
%% files. Called when all that sagas asked of the entity is carried out, or refused. `later': what is left to clear on
%% nodes that cannot do it now, see {@link later/2}.
-spec clear(warp_context:context(), Entity :: binary()) -> ok | {later, [warp_erasure_list:step()]} | {error, term()}.
clear(Context, Entity) ->
    case applied(Context, Entity) of
        {ok, Applied} ->
            {Here, There} = lists:partition(fun(Saga) -> is_here(Saga, Context) end, Applied),
            {Listed, Gone} = lists:partition(fun(Saga) -> is_here(Saga, Context) end,
                                             warp_saga_table:with_entity(Context, Entity)),
            case own(Here, Context, Entity, []) of
                {ok, Own} ->
                    Steps = Own ++ steps_on(Entity, Listed),
                    case each(maps:to_list(by_shard(Steps, Context, cleared(Context))), Context) of
                        ok -> clear_others(There ++ by_saga(steps_on(Entity, Gone)), Context, Entity);
                        {error, _} = Error -> Error
                    end;
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

is_here({Id, _}, Context) ->
    warp_context_owners:is_here(Context, shard_of_saga(Id, Context)).

shard_of_saga(Id, Context) ->
    {ok, N} = warp_context:shard_of(Context, warp_saga_plan:entity_id(Id)),
    N.

by_saga(Steps) ->
    maps:to_list(maps:groups_from_list(fun({Id, _}) -> Id end, fun({_, N}) -> N end, Steps)).

%% Of a shard that has gone its new node knows.
cleared(Context) ->
    maps:from_list([{N, #{}} || N <- warp_saga_table:cleared(Context), warp_context_owners:is_here(Context, N)]).

steps_on(Entity, Listed) ->
    [{Id, N} || {Id, Entities} <- Listed,
                {N, Of} <- lists:zip(lists:seq(0, length(Entities) - 1), Entities),
                Of =:= Entity].

clear_others(Sagas, Context, Entity) ->
    There = maps:to_list(maps:groups_from_list(fun({Id, _}) -> shard_of_saga(Id, Context) end, Sagas)),
    Self = self(),
    Clear = fun(N, Of) ->
        Ref = make_ref(),
        {_, Monitor} = spawn_monitor(fun() -> Self ! {Ref, clear_at_owner(Context, Entity, N, Of)}, ok end),
        {Ref, Monitor}
    end,
    Asked = [{Of, Clear(N, Of)} || {N, Of} <- There],
    case lists:append([later_steps(Of) || {Of, Pending} <- Asked, answer(Pending) =/= ok]) of
        [] -> ok;
        Later -> {later, Later}
    end.

answer({Ref, Monitor}) ->
    receive
        {'DOWN', Monitor, process, _, _} -> receive {Ref, Answer} -> Answer after 0 -> {error, interrupted} end
    end.

clear_at_owner(#{ref := Ref} = Context, Entity, N, Sagas) ->
    Call = {?MODULE, clear_there, [Ref, Entity, N, Sagas]},
    warp_cluster_call:run(Context, N, Call, {repeatable, fun() -> warp_deadline:from(?THERE_MS) end},
                          fun() -> clear_there(Ref, Entity, N, Sagas) end).

%% The sagas, in one shard, are named in the step, with the numbers of their steps.
later_steps([]) ->
    [];
later_steps(Sagas) ->
    {Now, Rest} = lists:split(min(?LATER, length(Sagas)), Sagas),
    {ok, Json} = warp_json:encode_long(#{sagas => [[Id, Ns] || {Id, Ns} <- Now]}),
    [<<?LATER_STEP, Json/binary>> | later_steps(Rest)].

%% @doc Takes a step that {@link clear/2} has left, once its node can be reached.
-spec later(warp_context:context(), {warp_erasure_list:step(), Entity :: binary()}) -> ok | {error, term()}.
later(Context, {<<?LATER_STEP, Json/binary>>, Entity}) ->
    {ok, #{<<"sagas">> := [[First, _] | _] = Sagas}} = warp_json:decode(Json),
    clear_at_owner(Context, Entity, shard_of_saga(First, Context), [{Id, Ns} || [Id, Ns] <- Sagas]).

%% @doc Clears the payloads of an entity of any node from the logs of these sagas, all in shard N, which is here. Those
%% that are under way do nothing to the entity any more: their processes may have read their logs before.
-spec clear_there(warp_context:ref(), Entity :: binary(), non_neg_integer(),
                  [{Saga :: binary(), [non_neg_integer()]}]) -> ok | {error, term()}.
clear_there(Ref, Entity, N, Sagas) ->
    case warp_context:find(Ref) of
        {ok, Context} ->
            case warp_context_owners:where(Context, N) of
                here -> clear_here(Context, Entity, N, Sagas);
                _ -> {error, {not_here, node()}}
            end;
        not_found ->
            {error, context_stopped}
    end.

clear_here(Context, Entity, N, Sagas) ->
    case own(Sagas, Context, Entity, []) of
        {ok, Own} ->
            Listed = [Id || {Id, _} <- warp_saga_table:with_entity(Context, Entity)],
            ok = warp_saga_table:doom_these(Context, Entity, [Id || Id <- lists:usort([Id || {Id, _} <- Own]),
                                                                    lists:member(Id, Listed)]),
            each(maps:to_list(by_shard(Own, Context, #{N => #{}})), Context);
        {error, _} = Error ->
            Error
    end.

%% The steps that left events in the entity's log, by saga.
applied(Context, Entity) ->
    case warp_context:locate(Context, Entity) of
        {ok, {N, Handle}} ->
            case warp_nif:correlations(Handle, Entity, warp_saga_plan:infixes()) of
                {ok, Found} ->
                    BySaga = by_saga(Found),
                    {ok, [Of || {Id, _} = Of <- BySaga, warp_saga_plan:check_id(Id) =:= ok]};
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
    case warp_saga_log:read(Context, Id) of
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
