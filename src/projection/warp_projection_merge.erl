%% @private Merges the commands of a batch of projected events: many commands to one row become one change of
%% it. Pure.
%%
%% The commands of one entity to a row are folded in their order. Commands of several entities to one row
%% commute as long as they only count (`increment'). Where two entities set or delete the same row, they
%% do not commute, and the batch has to be carried out command by command.
-module(warp_projection_merge).

-export([work/2, needs/1, mentions/2]).

-export_type([work/0, projected/0, merged/0, step/0, needs/0]).

%% What is to be written of a batch: its commands merged, or one by one.
-type work() :: none | {merged, merged()} | {sequence, [step()], needs()}.

%% An event, and the commands that it led to.
-type projected() :: {Entity :: binary(), warp_core:seq(), [warp_projection_command:op(), ...]}.
-type number_() :: integer() | float().
%% Changes, grouped so that one statement can make each group.
-type merged() :: #{
    deletes := #{Table :: binary() => [{warp_projection_command:row_id(), Entity :: binary()}]},
    %% [Id, Entity, Seq | Values]
    upserts := #{{Table :: binary(), [Column :: binary()]} => [[warp_projection_target:value()]]},
    %% [Id, Number]
    adds := #{{Table :: binary(), Column :: binary()} => [[warp_projection_target:value()]]},
    %% [Table, Id, Column, Entity, Number]
    counts := [[warp_projection_target:value()]],
    needs := needs()
}.
%% One command, with the index of its event in the batch.
-type step() :: {Index :: pos_integer(), Entity :: binary(), warp_core:seq(), warp_projection_command:op()}.
%% The tables and columns that have to be there; counted: the column is incremented.
-type needs() :: #{Table :: binary() => #{Column :: binary() => {warp_projection_command:type(), boolean()}}}.

-record(row, {
    %% The entity that set or deleted the row.
    owner = none :: none | binary(),
    deleted = false :: boolean(),
    set = none :: none | #{binary() => warp_projection_command:typed()},
    seq = 0 :: warp_core:seq(),
    adds = #{} :: #{binary() => #{binary() => number_()}}
}).

%% @doc What is to be written of projected events. One by one, or `together' if their commands commute.
-spec work(together | one_by_one, [projected()]) -> work().
work(_How, []) ->
    none;
work(one_by_one, Batch) ->
    sequence(Batch);
work(together, Batch) ->
    case merge(Batch) of
        {ok, Merged} -> {merged, Merged};
        shared -> sequence(Batch)
    end.

%% @doc The tables and columns that have to be there for it.
-spec needs(work()) -> needs().
needs(none) -> #{};
needs({merged, #{needs := Needs}}) -> Needs;
needs({sequence, _, Needs}) -> Needs.

%% @doc Whether any of it comes from events of the entity.
-spec mentions(Entity :: binary(), work()) -> boolean().
mentions(_Entity, none) ->
    false;
mentions(Entity, {sequence, Steps, _}) ->
    lists:keymember(Entity, 2, Steps);
mentions(Entity, {merged, #{deletes := Deletes, upserts := Upserts, counts := Counts}}) ->
    lists:any(fun(Rows) -> lists:keymember(Entity, 2, Rows) end, maps:values(Deletes))
        orelse lists:any(fun(Rows) -> lists:any(fun([_, Owner | _]) -> Owner =:= Entity end, Rows) end,
                         maps:values(Upserts))
        orelse lists:any(fun([_, _, _, Who, _]) -> Who =:= Entity end, Counts).

merge(Batch) ->
    try
        Rows = lists:foldl(fun event/2, #{}, Batch),
        {ok, sorted(maps:fold(fun emit/3, empty(), Rows))}
    catch
        throw:shared -> shared
    end.

sequence(Batch) ->
    Numbered = lists:zip(lists:seq(1, length(Batch)), Batch),
    Steps = [{Index, Entity, Seq, Op} || {Index, {Entity, Seq, Ops}} <- Numbered, Op <- Ops],
    {sequence, Steps, lists:foldl(fun({_, _, _, Op}, Needs) -> need(Op, Needs) end, #{}, Steps)}.

event({Entity, Seq, Ops}, Rows) ->
    lists:foldl(
        fun(Op, Acc) ->
            Key = {element(2, Op), element(3, Op)},
            Row = maps:get(Key, Acc, #row{}),
            Acc#{Key => change(Op, Entity, Seq, Row)}
        end,
        Rows,
        Ops).

change({increment, _, _, Numbers}, Entity, _Seq, #row{owner = Entity, set = #{} = Set} = Row) ->
    {Set1, Numbers1} = maps:fold(
        fun(Column, N, {Cs, Ns}) ->
            case Cs of
                #{Column := {_, V}} when is_number(V) ->
                    Sum = warp_projection_sums:plus(V, N),
                    case warp_projection_sums:is_plain(Sum) of
                        true -> {Cs#{Column := typed(Sum)}, Ns};
                        %% A value of 64 bits would lose digits that the entity's share keeps.
                        false -> {Cs, Ns#{Column => N}}
                    end;
                %% A value that is no number counts as 0.
                #{Column := _} -> {Cs#{Column := typed(N)}, Ns};
                #{} -> {Cs, Ns#{Column => N}}
            end
        end,
        {Set, #{}},
        Numbers),
    add(Entity, Numbers1, Row#row{set = Set1});
change({increment, _, _, Numbers}, Entity, _Seq, Row) ->
    add(Entity, Numbers, Row);
change(_Op, Entity, _Seq, #row{owner = Owner}) when Owner =/= none, Owner =/= Entity ->
    throw(shared);
change({upsert, _, _, Columns}, Entity, Seq, #row{set = Set, adds = Adds} = Row) ->
    Before = case Set of none -> #{}; _ -> Set end,
    %% Setting a column drops what this entity added to it before.
    Left =
        case Adds of
            #{Entity := Mine} -> without(Entity, maps:without(maps:keys(Columns), Mine), Adds);
            #{} -> Adds
        end,
    Row#row{owner = Entity, set = maps:merge(Before, Columns), seq = Seq, adds = Left};
change({delete, _, _}, Entity, Seq, #row{adds = Adds} = Row) ->
    Row#row{owner = Entity, deleted = true, set = none, seq = Seq, adds = maps:remove(Entity, Adds)}.

add(_Entity, Numbers, Row) when map_size(Numbers) =:= 0 ->
    Row;
add(Entity, Numbers, #row{adds = Adds} = Row) ->
    Mine = maps:get(Entity, Adds, #{}),
    Row#row{adds = Adds#{Entity => maps:merge_with(fun sum_of/3, Mine, Numbers)}}.

sum_of(_Column, A, B) -> warp_projection_sums:plus(A, B).

without(Entity, Mine, Adds) when map_size(Mine) =:= 0 -> maps:remove(Entity, Adds);
without(Entity, Mine, Adds) -> Adds#{Entity := Mine}.

typed(N) when is_integer(N) -> {integer, N};
typed(N) -> {float, N}.

empty() ->
    #{deletes => #{}, upserts => #{}, adds => #{}, counts => [], needs => #{}}.

emit({Table, Id}, Row, Acc) ->
    adds(Table, Id, Row, set(Table, Id, Row, deleted(Table, Id, Row, Acc))).

deleted(Table, Id, #row{deleted = true, owner = Owner}, #{deletes := Deletes} = Acc) ->
    needs({delete, Table, Id}, Acc#{deletes := push(Table, {Id, Owner}, Deletes)});
deleted(_Table, _Id, _Row, Acc) ->
    Acc.

set(_Table, _Id, #row{set = none}, Acc) ->
    Acc;
set(Table, Id, #row{set = Set, owner = Owner, seq = Seq}, #{upserts := Upserts} = Acc) ->
    Sorted = lists:sort(maps:to_list(Set)),
    Key = {Table, [Column || {Column, _} <- Sorted]},
    Values = [Id, Owner, Seq | [Value || {_, {_, Value}} <- Sorted]],
    needs({upsert, Table, Id, Set}, Acc#{upserts := push(Key, Values, Upserts)}).

adds(_Table, _Id, #row{adds = Adds}, Acc) when map_size(Adds) =:= 0 ->
    Acc;
adds(Table, Id, #row{adds = Adds}, #{adds := Sums, counts := Counts} = Acc) ->
    Shares = [[Table, Id, Column, Entity, N]
              || {Entity, Mine} <- maps:to_list(Adds), {Column, N} <- maps:to_list(Mine)],
    Total = maps:fold(
        fun(_, Mine, Sum) -> maps:merge_with(fun sum_of/3, Mine, Sum) end, #{}, Adds),
    NewSums = maps:fold(
        fun(Column, N, S) -> push({Table, Column}, [Id, N], S) end, Sums, Total),
    needs({increment, Table, Id, Total}, Acc#{adds := NewSums, counts := Shares ++ Counts}).

push(Key, Value, Map) ->
    case Map of
        #{Key := Values} -> Map#{Key := [Value | Values]};
        #{} -> Map#{Key => [Value]}
    end.

%% Neighbours in the table are written together.
sorted(#{deletes := Deletes, upserts := Upserts, adds := Adds, counts := Counts} = Merged) ->
    Sort = fun(_, Rows) -> lists:sort(Rows) end,
    Merged#{deletes := maps:map(Sort, Deletes), upserts := maps:map(Sort, Upserts),
            adds := maps:map(Sort, Adds), counts := lists:sort(Counts)}.

needs(Op, #{needs := Needs} = Acc) ->
    Acc#{needs := need(Op, Needs)}.

need({delete, Table, _}, Needs) ->
    case is_map_key(Table, Needs) of
        true -> Needs;
        false -> Needs#{Table => #{}}
    end;
need({upsert, Table, _, Columns}, Needs) ->
    Known = maps:get(Table, Needs, #{}),
    Needs#{Table => maps:fold(fun need_typed/3, Known, Columns)};
need({increment, Table, _, Columns}, Needs) ->
    Known = maps:get(Table, Needs, #{}),
    Needs#{Table => maps:fold(fun(C, _, Acc) -> Acc#{C => {any, true}} end, Known, Columns)}.

need_typed(Column, {Type, _}, Known) ->
    case Known of
        #{Column := {any, Counted}} -> Known#{Column := {Type, Counted}};
        #{Column := _} -> Known;
        #{} -> Known#{Column => {Type, false}}
    end.
