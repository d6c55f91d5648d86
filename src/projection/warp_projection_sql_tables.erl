%% @private The SQL that makes, changes and exchanges the tables of commands. Pure.
-module(warp_projection_sql_tables).

-export([statements/3, drop/2, put_live/1]).

-import(warp_projection_sql, [run/1, bit/1, table/2, counts/1, quote/1, commas/1]).

-type set() :: warp_projection_schema:set().
-type statement() :: warp_projection_target:statement().

%% @doc The statements that change tables as a schema wants it. The generation is in the names of
%% indexes, which have to differ between the two sets of tables.
-spec statements(set(), pos_integer(), [warp_projection_schema:change()]) -> [statement()].
statements(Set, Generation, Changes) ->
    [Statement || Change <- Changes, Statement <- change(Set, Generation, Change)].

change(Set, Generation, {create_table, Table}) -> create_table(Set, Generation, Table);
change(Set, _, {add_column, Table, Column, Type, Counted}) -> add_column(Set, Table, Column, Type, Counted);
change(Set, _, {count_column, Table, Column}) -> count_column(Set, Table, Column);
change(Set, Generation, {create_index, Table, N, Unique, On}) -> [index(Set, Generation, Table, N, Unique, On)].

%% @doc Drops tables of a set.
-spec drop(set(), [binary()]) -> [statement()].
drop(Set, Tables) ->
    [run(<<"DROP TABLE ", (table(Set, Table))/binary>>) || Table <- Tables].

%% @doc Gives tables that a rebuild made the names of those that are queried.
-spec put_live([binary()]) -> [statement()].
put_live(Tables) ->
    [run(<<"ALTER TABLE ", (table(building, Table))/binary, " RENAME TO ", (table(live, Table))/binary>>)
     || Table <- Tables].

create_table(Set, Generation, Table) ->
    T = table(Set, Table),
    Index = quote(<<"_warp_", (integer_to_binary(Generation))/binary, "_", Table/binary, "_entity">>),
    [run(<<"CREATE TABLE ", T/binary, " (\"id\" NOT NULL PRIMARY KEY, \"_entity\" TEXT NOT NULL, "
           "\"_seq\" INTEGER NOT NULL) WITHOUT ROWID">>),
     run(<<"CREATE INDEX ", Index/binary, " ON ", T/binary, " (\"_entity\")">>),
     note_column(Set, Table, <<"id">>, any, false)].

%% A column that a command made has a type for reading only, so that every value keeps its own type. A
%% declared column also refuses values of other types, and one of numbers compares itself with text by its number.
add_column(Set, Table, Column, {How, Type}, Counted) ->
    C = quote(Column),
    [run(<<"ALTER TABLE ", (table(Set, Table))/binary, " ADD COLUMN ", C/binary,
           (type(How, Type))/binary, (check(How, Type, C))/binary>>),
     note_column(Set, Table, Column, Type, Counted)].

type(_, bool) -> <<" BOOL BLOB">>;
type(_, json) -> <<" JSON BLOB">>;
type(declared, integer) -> <<" INTEGER">>;
type(declared, float) -> <<" REAL">>;
type(_, _) -> <<>>.

check(used, _, _) -> <<>>;
check(declared, any, _) -> <<>>;
check(declared, bool, C) -> <<" CHECK (", C/binary, " IS NULL OR ", C/binary, " IN (0, 1))">>;
check(declared, json, C) -> is_one_of(C, <<"'text'">>);
check(declared, text, C) -> is_one_of(C, <<"'text'">>);
check(declared, integer, C) -> is_one_of(C, <<"'integer'">>);
check(declared, float, C) -> is_one_of(C, <<"'real', 'integer'">>).

is_one_of(C, Types) ->
    <<" CHECK (typeof(", C/binary, ") IN ('null', ", Types/binary, "))">>.

note_column(Set, Table, Column, Type, Counted) ->
    {<<"INSERT INTO _warp_columns VALUES (", (bit(Set))/binary, ", ?1, ?2, ?3, ?4)">>,
     [[Table, Column, atom_to_binary(Type), case Counted of true -> 1; false -> 0 end]]}.

%% From now on the column is the sum of each entity's share; values that were set so far are shares too.
count_column(Set, Table, Column) ->
    C = quote(Column),
    [{<<"INSERT INTO ", (counts(Set))/binary, " (tbl, id, col, entity, amount) "
        "SELECT ?1, \"id\", ?2, \"_entity\", ", C/binary,
        " FROM ", (table(Set, Table))/binary, " WHERE \"_entity\" <> '' AND typeof(", C/binary,
        ") IN ('integer', 'real')">>, [[Table, Column]]},
     {<<"UPDATE _warp_columns SET counted = 1 WHERE tbl = ?1 AND col = ?2 AND building = ",
        (bit(Set))/binary>>, [[Table, Column]]}].

index(Set, Generation, Table, N, Unique, On) ->
    Name = quote(<<"_warp_", (integer_to_binary(Generation))/binary, "_", Table/binary, "_",
                   (integer_to_binary(N))/binary>>),
    Kind = case Unique of true -> <<"UNIQUE INDEX ">>; false -> <<"INDEX ">> end,
    run(<<"CREATE ", Kind/binary, Name/binary, " ON ", (table(Set, Table))/binary, " (",
          (commas([quote(C) || C <- On]))/binary, ")">>).
