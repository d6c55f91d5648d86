%% @private The tables and columns that a set of tables has, and what has to be done for those that a batch
%% needs. Pure.
-module(warp_projection_schema).

-export([merge/2, from_rows/1, columns/2, counted/2, tables/1, grow/2, declared/1]).

-export_type([schema/0, set/0, declared/0, change/0]).

%% Which of two sets of tables: those that are queried, or those that a rebuild fills.
-type set() :: live | building.
%% What is to be done to a database, for {@link warp_projection_sql_tables}.
-type change() ::
    {create_table, Table :: binary()}
    | {add_column, Table :: binary(), Column :: binary(),
       {used | declared, warp_projection_command:type()}, Counted :: boolean()}
    | {count_column, Table :: binary(), Column :: binary()}
    %% Number N of its table.
    | {create_index, Table :: binary(), N :: pos_integer(), Unique :: boolean(), On :: [binary()]}.
-type column() :: #{type := warp_projection_command:type(), counted := boolean()}.
-opaque schema() :: #{Table :: binary() => #{Column :: binary() => column()}}.
%% The tables that were declared in the options of a context.
-type declared() :: #{Table :: binary() => #{
    columns := #{binary() => warp_projection_command:type()},
    indexes := [[binary()]],
    keys := [[binary()]]
}}.

-define(MAX_TABLES, 1000).
-define(MAX_COLUMNS, 1000).

%% @doc The tables of both schemas, which have no table in common.
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

%% @doc What has to be done so that a batch finds the tables and columns it needs, and the schema after
%% that.
-spec grow(warp_projection_merge:needs(), schema()) -> {ok, [change()], schema()} | {error, term()}.
grow(Needs, Schema) ->
    try
        {Changes, Grown} = maps:fold(fun table/3, {[], Schema}, Needs),
        {ok, lists:reverse(Changes), Grown}
    catch
        throw:Why -> {error, Why}
    end.

table(Table, Needed, {Changes, Schema}) when is_map_key(Table, Schema) ->
    maps:fold(fun(Column, Need, Acc) -> column(Table, Column, Need, Acc) end, {Changes, Schema}, Needed);
table(_Table, _Needed, {_Changes, Schema}) when map_size(Schema) >= ?MAX_TABLES ->
    throw({too_many_tables, ?MAX_TABLES});
table(Table, Needed, {Changes, Schema}) ->
    table(Table, Needed, {[{create_table, Table} | Changes], Schema#{Table => #{}}}).

column(Table, Column, {Type, Counted}, {Changes, Schema}) ->
    #{Table := Columns} = Schema,
    case Columns of
        #{Column := #{counted := false} = Known} when Counted ->
            {[{count_column, Table, Column} | Changes],
             Schema#{Table := Columns#{Column := Known#{counted := true}}}};
        #{Column := _} ->
            {Changes, Schema};
        #{} when map_size(Columns) >= ?MAX_COLUMNS ->
            throw({too_many_columns, Table, ?MAX_COLUMNS});
        #{} ->
            {[{add_column, Table, Column, {used, Type}, Counted} | Changes],
             Schema#{Table := Columns#{Column => #{type => Type, counted => Counted}}}}
    end.

%% @doc What makes declared tables, where there are none yet, and the schema after that.
-spec declared(declared()) -> {[change()], schema()}.
declared(Declared) ->
    maps:fold(
        fun(Table, #{columns := Columns, indexes := Indexes, keys := Keys}, {Changes, Schema}) ->
            Each = lists:sort(maps:to_list(Columns)),
            Numbered = lists:zip(
                lists:seq(1, length(Indexes) + length(Keys)),
                [{false, I} || I <- Indexes] ++ [{true, K} || K <- Keys]),
            New = [{create_table, Table}]
                ++ [{add_column, Table, Column, {declared, Type}, false} || {Column, Type} <- Each]
                ++ [{create_index, Table, N, Unique, On} || {N, {Unique, On}} <- Numbered],
            Known = maps:from_list([{Column, #{type => Type, counted => false}} || {Column, Type} <- Each]),
            {Changes ++ New, Schema#{Table => Known}}
        end,
        {[], #{}},
        Declared).
