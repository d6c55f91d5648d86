%% @private The table of the sagas of a context that are under way or stuck, and the counts of what
%% became of sagas. No other module knows the shape of its rows:
%% ```
%% {{saga, Id}, Shard, Runner, Entities, Phase, StartedAt}   one for each saga
%% {{doomed, Id, Entity}}                                     steps of that saga on that entity are refused
%% {{doomed, Id, Entity}, Seconds}                            likewise, of a saga of another node, since then
%% {{loaded, Shard}, Keeper}                                  the keeper has listed what the file has open
%% {{cleared, Shard}}                                         the WAL may hold what was cleared
%% '''
%% The context's keeper owns the table. Processes of sagas die with it, so their functions crash when the
%% table is gone. The functions for everybody else find the table empty then.
-module(warp_saga_table).

-export([new/0]).
-export([add_new/4, add_found/4, set_entities/3, set_runner/3, set_phase/3, set_stuck/2, remove/2]).
-export([forget/2, ids/2, runners/2, with_entity/2, under_way/1, stuck/1, waiting/2]).
-export([doom/2, doom_these/3, doom_of_others/3, is_doomed/3]).
-export([set_loaded/2, unset_loaded/2, is_loaded/2]).
-export([set_cleared/2, unset_cleared/2, cleared/1]).
-export([count/2, counts/1]).

-export_type([sagas/0, phase/0, waiting/0, found/0, counted/0]).

-opaque sagas() :: {ets:table(), counters:counters_ref()}.
-type phase() :: warp_saga_core:phase() | {waiting, waiting()}.
%% The step that can be neither done nor reversed before the context is started with what it lacks now.
-type waiting() :: #{
    step := non_neg_integer(),
    entity := binary(),
    direction := forward | compensate,
    reason := term(),
    since := warp_core:micros()
}.
%% A saga that the file of a shard has open.
-type found() :: #{
    entities := [binary()],
    phase := warp_saga_core:phase(),
    started_at := warp_core:micros()
}.
%% Sagas that came to their end since the context was started, that became stuck (again, after a retry
%% too), or that were found unfinished.
-type counted() :: committed | compensated | became_stuck | resolved | recovered | removed.

-define(COUNTED, [committed, compensated, became_stuck, resolved, recovered, removed]).
%% Behind those: how often an entity of a saga under way was deleted.
-define(DOOMED, (length(?COUNTED) + 1)).

%% For how long sagas of other nodes are refused: longer than any request of them is under way.
-define(REMEMBERED_S, 600).

-define(RUNNER, 3).
-define(ENTITIES, 4).
-define(PHASE, 5).

%% @doc For a context that is starting: the calling process owns the table.
-spec new() -> sagas().
new() ->
    Options = [public, set, {read_concurrency, true}, {write_concurrency, true}],
    {ets:new(warp_sagas, Options), counters:new(?DOOMED, [])}.

%% @doc Lists a saga that the calling process is about to store and to carry out. Those who delete an
%% entity do not find it before {@link set_entities/3}.
-spec add_new(warp_context:context(), binary(), non_neg_integer(), warp_core:micros()) -> ok.
add_new(#{sagas := {Table, _}}, Id, Shard, StartedAt) ->
    true = ets:insert(Table, {{saga, Id}, Shard, self(), [], forward, StartedAt}),
    ok.

%% @doc Lists a saga that the file of its shard has open. Its process calls {@link set_runner/3} when it
%% has started; a stuck saga has none.
-spec add_found(warp_context:context(), binary(), non_neg_integer(), found()) -> ok.
add_found(#{sagas := {Table, _}}, Id, Shard, #{entities := Entities, phase := Phase, started_at := At}) ->
    Runner = case Phase of stuck -> stuck; _ -> starting end,
    true = ets:insert(Table, {{saga, Id}, Shard, Runner, Entities, Phase, At}),
    ok.

%% @doc Says which entities the steps of a saga are on, in the order of the steps.
-spec set_entities(warp_context:context(), binary(), [binary()]) -> ok.
set_entities(Context, Id, Entities) ->
    update(Context, Id, [{?ENTITIES, Entities}]).

%% @doc Says that the calling process carries out a listed saga from now on.
-spec set_runner(warp_context:context(), binary(), phase()) -> ok.
set_runner(Context, Id, Phase) ->
    update(Context, Id, [{?RUNNER, self()}, {?PHASE, Phase}]).

-spec set_phase(warp_context:context(), binary(), phase()) -> ok.
set_phase(Context, Id, Phase) ->
    update(Context, Id, [{?PHASE, Phase}]).

%% @doc Says that an operator has to decide about a saga: no process carries it out any more.
-spec set_stuck(warp_context:context(), binary()) -> ok.
set_stuck(Context, Id) ->
    update(Context, Id, [{?RUNNER, stuck}]).

update(#{sagas := {Table, _}}, Id, Elements) ->
    true = ets:update_element(Table, {saga, Id}, Elements),
    ok.

%% @doc A saga has come to its end, or turned out not to be open: takes it from the table, and what was
%% refused to it.
-spec remove(warp_context:context(), binary()) -> ok.
remove(#{sagas := {Table, _} = Sagas}, Id) ->
    case ets:take(Table, {saga, Id}) of
        [{_, _, _, Entities, _, _}] ->
            _ = [ets:delete(Table, {doomed, Id, Entity}) || is_any_doomed(Sagas), Entity <- Entities],
            ok;
        [] ->
            ok
    end.

%% @doc A shard has gone to another node: nothing of it is listed any more.
-spec forget(warp_context:context(), non_neg_integer()) -> ok.
forget(#{sagas := {Table, _}} = Context, Shard) ->
    ok = lists:foreach(fun(Id) -> remove(Context, Id) end, ids(Context, Shard)),
    true = ets:delete(Table, {loaded, Shard}),
    unset_cleared(Context, Shard).

%% @doc The ids of the sagas that are listed of a shard.
-spec ids(warp_context:context(), non_neg_integer()) -> [binary()].
ids(#{sagas := {Table, _}}, Shard) ->
    ets:select(Table, [{{{saga, '$1'}, Shard, '_', '_', '_', '_'}, [], ['$1']}]).

%% @doc The processes that carry out sagas of a shard, or did so last.
-spec runners(warp_context:context(), non_neg_integer()) -> [pid()].
runners(#{sagas := {Table, _}}, Shard) ->
    ets:select(Table, [{{{saga, '_'}, Shard, '$1', '_', '_', '_'}, [{is_pid, '$1'}], ['$1']}]).

%% @doc The listed sagas that have a step on that entity, each with the entities of its steps.
-spec with_entity(warp_context:context(), binary()) -> [{Id :: binary(), Entities :: [binary()]}].
with_entity(#{sagas := {Table, _}}, Entity) ->
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
        Table).

%% @doc The sagas that have neither ended nor are stuck, each behind its shard.
-spec under_way(warp_context:context()) ->
    [{non_neg_integer(), Id :: binary(), phase(), StartedAt :: warp_core:micros()}].
under_way(Context) ->
    Row = {{saga, '$1'}, '$2', '$3', '_', '$4', '$5'},
    select(Context, {Row, [{'=/=', '$3', stuck}], [{{'$2', '$1', '$4', '$5'}}]}).

%% @doc The ids of the sagas that are stuck, each behind its shard.
-spec stuck(warp_context:context()) -> [{non_neg_integer(), binary()}].
stuck(Context) ->
    select(Context, {{{saga, '$1'}, '$2', stuck, '_', '_', '_'}, [], [{{'$2', '$1'}}]}).

select(#{sagas := {Table, _}}, Match) ->
    try
        ets:select(Table, [Match])
    catch
        error:badarg -> []
    end.

%% @doc What a saga waits for, if it does.
-spec waiting(warp_context:context(), binary()) -> {ok, waiting()} | none.
waiting(#{sagas := {Table, _}}, Id) ->
    try ets:lookup_element(Table, {saga, Id}, ?PHASE) of
        {waiting, Waiting} -> {ok, Waiting};
        _ -> none
    catch
        error:badarg -> none
    end.

%% @doc Has the steps of all sagas that are listed by now refused on that entity.
-spec doom(warp_context:context(), Entity :: binary()) -> ok.
doom(Context, Entity) ->
    doom_these(Context, Entity, [Id || {Id, _Entities} <- with_entity(Context, Entity)]).

%% @doc Likewise the steps of these sagas, which are listed.
-spec doom_these(warp_context:context(), Entity :: binary(), [binary()]) -> ok.
doom_these(#{sagas := Sagas}, Entity, Ids) ->
    lists:foreach(fun(Id) -> doomed({{doomed, Id, Entity}}, Sagas) end, Ids).

%% @doc Likewise the steps of sagas of another node, which refuses them by itself too from now on. So this is for what
%% it has sent before, and is forgotten after a while.
-spec doom_of_others(warp_context:context(), Entity :: binary(), [binary()]) -> ok.
doom_of_others(#{sagas := {Table, _} = Sagas}, Entity, Ids) ->
    Now = erlang:monotonic_time(second),
    _ = [ets:select_delete(Table, [{{{doomed, '_', '_'}, '$1'}, [{'<', '$1', Now - ?REMEMBERED_S}], [true]}])
         || Ids =/= []],
    lists:foreach(fun(Id) -> doomed({{doomed, Id, Entity}, Now}, Sagas) end, Ids).

doomed(Row, {Table, Counts}) ->
    %% NOTE: the count first. Who reads it as zero does not look at the table.
    ok = counters:add(Counts, ?DOOMED, 1),
    true = ets:insert(Table, Row),
    ok.

%% @doc Whether the steps of a saga on that entity are refused.
-spec is_doomed(warp_context:context(), Id :: binary(), Entity :: binary()) -> boolean().
is_doomed(#{sagas := {Table, _} = Sagas}, Id, Entity) ->
    is_any_doomed(Sagas) andalso ets:member(Table, {doomed, Id, Entity}).

is_any_doomed({_Table, Counts}) ->
    counters:get(Counts, ?DOOMED) > 0.

%% @doc Says that the keeper has listed all sagas that the file of a shard has open.
-spec set_loaded(warp_context:context(), non_neg_integer()) -> ok.
set_loaded(#{sagas := {Table, _}}, Shard) ->
    true = ets:insert(Table, {{loaded, Shard}, self()}),
    ok.

-spec unset_loaded(warp_context:context(), non_neg_integer()) -> ok.
unset_loaded(#{sagas := {Table, _}}, Shard) ->
    true = ets:delete(Table, {loaded, Shard}),
    ok.

%% @doc Whether all sagas that the file of a shard has open are listed, by a keeper that is alive.
-spec is_loaded(warp_context:context(), non_neg_integer()) -> boolean().
is_loaded(#{sagas := {Table, _}}, Shard) ->
    try
        is_process_alive(ets:lookup_element(Table, {loaded, Shard}, 2))
    catch
        error:badarg -> false
    end.

%% @doc Says that the WAL of a shard may hold payloads that were cleared from its file.
-spec set_cleared(warp_context:context(), non_neg_integer()) -> ok.
set_cleared(#{sagas := {Table, _}}, Shard) ->
    true = ets:insert(Table, {{cleared, Shard}}),
    ok.

-spec unset_cleared(warp_context:context(), non_neg_integer()) -> ok.
unset_cleared(#{sagas := {Table, _}}, Shard) ->
    true = ets:delete(Table, {cleared, Shard}),
    ok.

%% @doc The shards that were said to be so.
-spec cleared(warp_context:context()) -> [non_neg_integer()].
cleared(#{sagas := {Table, _}}) ->
    ets:select(Table, [{{{cleared, '$1'}}, [], ['$1']}]).

-spec count(counted(), warp_context:context()) -> ok.
count(What, #{sagas := {_, Counts}}) ->
    counters:add(Counts, index(What), 1).

-spec counts(warp_context:context()) -> #{counted() => non_neg_integer()}.
counts(#{sagas := {_, Counts}}) ->
    maps:from_list([{What, counters:get(Counts, index(What))} || What <- ?COUNTED]).

index(committed) -> 1;
index(compensated) -> 2;
index(became_stuck) -> 3;
index(resolved) -> 4;
index(recovered) -> 5;
index(removed) -> 6.
