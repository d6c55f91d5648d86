%% @private Holds on entities that are being deleted. A follower of the log does not show a new life of such an entity
%% before the old life is gone everywhere. No other module knows the shape of this table.
-module(warp_erasure_holds).

-export([new/0, hold/3, left/3, release/2, all/1, count/1, is_held/3, is_held/4, is_log_left/2]).
-export([hold_for_another/3, release_for_another/3]).

-export_type([life/0]).

%% The incarnation of what is being deleted, 0 for an entity without events; `unknown' until the deletion is noted.
-type life() :: non_neg_integer() | unknown.

%% @doc The table, which the calling process owns: {Entity, Incarnation, Since, Steps that are left or `all', Whose},
%% where Whose is `own', or `another' for an entity whose shard is on another node.
-spec new() -> ets:table().
new() ->
    ets:new(warp_holds, [public, set, {read_concurrency, true}]).

%% @doc Says that this life of the entity is being deleted.
-spec hold(warp_context:context(), Entity :: binary(), life()) -> ok.
hold(#{holds := Holds}, Entity, Incarnation) ->
    true = ets:insert(Holds, {Entity, Incarnation, os:system_time(microsecond), all, own}),
    ok.

%% @doc Says that the log of an entity that is held was erased, and which steps of its deletion are left.
-spec left(warp_context:context(), Entity :: binary(), [warp_erasure_list:step()]) -> ok.
left(#{holds := Holds}, Entity, Steps) ->
    _ = ets:update_element(Holds, Entity, {4, Steps}),
    ok.

%% @doc Says that no life of the entity is being deleted any more.
-spec release(warp_context:context(), Entity :: binary()) -> ok.
release(#{holds := Holds}, Entity) ->
    true = ets:delete(Holds, Entity),
    ok.

%% @doc As {@link hold/3}, for the node that has the entity's shard, which says when the hold ends.
-spec hold_for_another(warp_context:context(), Entity :: binary(), life()) -> ok.
hold_for_another(#{holds := Holds}, Entity, Incarnation) ->
    true = ets:insert(Holds, {Entity, Incarnation, os:system_time(microsecond), all, another}),
    ok.

%% @doc Takes {@link hold_for_another/3} back, unless another life is held by now.
-spec release_for_another(warp_context:context(), Entity :: binary(), life()) -> ok.
release_for_another(#{holds := Holds}, Entity, Incarnation) ->
    true = ets:match_delete(Holds, {Entity, Incarnation, '_', '_', another}),
    ok.

%% @doc All holds on entities of this node.
-spec all(warp_context:context()) -> [{Entity :: binary(), life()}].
all(#{holds := Holds}) ->
    [{Entity, Incarnation} || {Entity, Incarnation, _Since, _Left, own} <- ets:tab2list(Holds)].

%% @doc How many entities are being deleted, and since when the first of them is, in microseconds since 1970: since the
%% last start of the context, for a deletion that it resumed.
-spec count(warp_context:context()) -> {non_neg_integer(), Since :: warp_core:micros() | none}.
count(#{holds := Holds}) ->
    try [Since || {_, _, Since, _, _} <- ets:tab2list(Holds)] of
        [] -> {0, none};
        All -> {length(All), lists:min(All)}
    catch
        %% The keeper of the table is being restarted.
        error:badarg -> {0, none}
    end.

%% @doc Whether the row of the entity at that position begins a new life while an earlier one is still
%% being deleted.
-spec is_held(warp_context:context(), Entity :: binary(), {Position :: pos_integer(), warp_core:seq()}) ->
    boolean().
is_held(Context, Entity, Row) ->
    case steps_left(Context, Entity, Row) of
        none -> false;
        Left -> Left =/= []
    end.

%% @doc Likewise, for as long as that step of the deletion is left.
-spec is_held(warp_context:context(), Entity :: binary(), {Position :: pos_integer(), warp_core:seq()},
              warp_erasure_list:step()) -> boolean().
is_held(Context, Entity, Row, Step) ->
    case steps_left(Context, Entity, Row) of
        none -> false;
        all -> true;
        Left -> lists:member(Step, Left)
    end.

%% @doc Whether an entity of this node is being deleted, and its log may still be there.
-spec is_log_left(warp_context:context(), Entity :: binary()) -> boolean().
is_log_left(#{holds := Holds}, Entity) ->
    case ets:lookup(Holds, Entity) of
        [{_, _, _, all, own}] -> true;
        _ -> false
    end.

steps_left(#{holds := Holds}, Entity, {Position, 1}) ->
    try ets:lookup(Holds, Entity) of
        [{_, Incarnation, _Since, Left, _Whose}] when Position =/= Incarnation -> Left;
        _ -> none
    catch
        %% The keeper of the table is being restarted, and the followers with it.
        error:badarg -> all
    end;
steps_left(_Context, _Entity, _Later) ->
    none.
