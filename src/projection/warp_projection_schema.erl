%% @private The tables and columns that a projection has, and what a batch needs beside them. Pure.
-module(warp_projection_schema).

-export([merge/2, from_rows/1, columns/2, counted/2, tables/1, grow/4, declared/1, swap/2, drop/2]).

-export_type([schema/0, place/0, declared/0]).

%% Which of two sets of tables: those that are queried, or those that a rebuild fills.
-type place() :: live | building.
-type column() :: #{type := warp_projection_command:type(), counted := boolean()}.
-opaque schema() :: #{Table :: binary() => #{Column :: binary() => column()}}.
%% What `start' was told of tables.
-type declared() :: #{Table :: binary() => #{
    columns := #{binary() => warp_projection_command:type()},
    indexes := [[binary()]],
    keys := [[binary()]]
}}.

-define(MAX_TABLES, 1000).
-define(MAX_COLUMNS, 1000).

%% @doc The tables of both, which are different ones.
-spec merge(schema(), schema()) -> schema().
merge(Some, Others) -> maps:merge(Some, Others).

%% @doc From the rows of `_warp_columns': table, column, type, counted.
-spec from_rows([[binary() | integer()]]) -> schema().
from_rows(Rows) ->
    lists:foldl(
        fun([Table, Column, Type, Counted], Schema) ->
            Columns = maps:get(Table, Schema, #{}),
            case Column of
                <<"id">> ->
                    Schema#{Table => Columns};
                _ ->
                    Known = #{type => binary_to_existing_atom(Type), counted => Counted =:= 1},
                    Schema#{Table => Columns#{Column => Known}}
            end
        end,
        #{},
        Rows).

-spec tables(schema()) -> [binary()].
tables(Schema) -> lists:sort(maps:keys(Schema)).

-spec columns(binary(), schema()) -> [binary()].
columns(Table, Schema) -> lists:sort(maps:keys(maps:get(Table, Schema, #{}))).

%% @doc The columns of a table that are incremented.
-spec counted(binary(), schema()) -> [binary()].
counted(Table, Schema) ->
    lists:sort([C || {C, #{counted := true}} <- maps:to_list(maps:get(Table, Schema, #{}))]).

%% @doc The statements that make what is needed and not yet there, and the schema after them.
-spec grow(place(), pos_integer(), warp_projection_merge:needs(), schema()) ->
    {ok, [warp_projection_target:statement()], schema()} | {error, term()}.
grow(Place, Generation, Needs, Schema) ->
    try
        {Sql, Grown} = maps:fold(
            fun(Table, Columns, Acc) -> table(Place, Generation, Table, Columns, Acc) end,
            {[], Schema},
            Needs),
        {ok, lists:append(lists:reverse(Sql)), Grown}
    catch
        throw:Why -> {error, Why}
    end.

table(Place, Generation, Table, Needed, {Sql, Schema}) when is_map_key(Table, Schema) ->
    maps:fold(
        fun(Column, Need, Acc) -> column(Place, Generation, Table, Column, Need, Acc) end,
        {Sql, Schema},
        Needed);
table(_Place, _Generation, _Table, _Needed, {_Sql, Schema}) when map_size(Schema) >= ?MAX_TABLES ->
    throw({too_many_tables, ?MAX_TABLES});
table(Place, Generation, Table, Needed, {Sql, Schema}) ->
    New = warp_projection_sql:create_table(Place, Generation, Table),
    table(Place, Generation, Table, Needed, {[New | Sql], Schema#{Table => #{}}}).

column(Place, _Generation, Table, Column, {Type, Counted}, {Sql, Schema}) ->
    #{Table := Columns} = Schema,
    case Columns of
        #{Column := #{counted := false} = Known} when Counted ->
            New = warp_projection_sql:count_column(Place, Table, Column),
            {[New | Sql], Schema#{Table := Columns#{Column := Known#{counted := true}}}};
        #{Column := _} ->
            {Sql, Schema};
        #{} when map_size(Columns) >= ?MAX_COLUMNS ->
            throw({too_many_columns, Table, ?MAX_COLUMNS});
        #{} ->
            New = warp_projection_sql:add_column(Place, Table, Column, {used, Type}, Counted),
            {[New | Sql],
             Schema#{Table := Columns#{Column => #{type => Type, counted => Counted}}}}
    end.

%% @doc The statements that make declared tables, for an empty schema, and the schema after them.
-spec declared({place(), pos_integer(), declared()}) -> {[warp_projection_target:statement()], schema()}.
declared({Place, Generation, Declared}) ->
    maps:fold(
        fun(Table, #{columns := Columns, indexes := Indexes, keys := Keys}, {Sql, Schema}) ->
            Each = lists:sort(maps:to_list(Columns)),
            Numbered = lists:zip(
                lists:seq(1, length(Indexes) + length(Keys)),
                [{false, I} || I <- Indexes] ++ [{true, K} || K <- Keys]),
            New = warp_projection_sql:create_table(Place, Generation, Table)
                ++ lists:append([warp_projection_sql:add_column(Place, Table, C, {declared, T}, false)
                                 || {C, T} <- Each])
                ++ [warp_projection_sql:index(Place, Generation, Table, N, Unique, On)
                    || {N, {Unique, On}} <- Numbered],
            Known = maps:from_list([{C, #{type => T, counted => false}} || {C, T} <- Each]),
            {Sql ++ New, Schema#{Table => Known}}
        end,
        {[], #{}},
        Declared).

%% @doc The statements that put the tables of a rebuild in the place of the old ones.
-spec swap(schema(), schema()) -> [warp_projection_target:statement()].
swap(Live, Building) ->
    [warp_projection_sql:drop_table(live, T) || T <- tables(Live)]
        ++ [warp_projection_sql:rename_table(T) || T <- tables(Building)].

%% @doc The statements that drop all tables.
-spec drop(place(), schema()) -> [warp_projection_target:statement()].
drop(Place, Schema) ->
    [warp_projection_sql:drop_table(Place, T) || T <- tables(Schema)].
