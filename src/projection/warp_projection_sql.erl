%% @private All SQL of projections. Pure.
%%
%% A table has the columns `id', `_entity' (whose row it is; empty when it only holds counts of
%% many), `_seq' (of the event that wrote it last) and those that commands use. Names were checked
%% before they come here (`warp_projection_command'), and are quoted all the same; values are parameters.
%%
%% What is refused is refused by a NOT NULL that a condition turns up: so it happens in the
%% database, in the same transaction, whatever we believed of its content.
-module(warp_projection_sql).

-export([setup/3, read_meta/0, read_checkpoints/0, read_columns/1, read_aside/1]).
-export([lacking/0, added/1, read_runs/0, set_run/3]).
-export([guard/4, set_meta/2, tally_erasure/1]).
-export([create_table/3, add_column/5, count_column/3, index/6, drop_table/2, rename_table/1]).
-export([merged/3, step/4, erase/4, explain/1]).
-export([read_skipped/0, skip/1]).
-export([set_aside/2, clear_aside/3, begin_building/2, drop_building/0, swap/1]).

-define(FORMAT, 1).
-define(HIGH, "high INTEGER NOT NULL DEFAULT 0").

-type place() :: warp_projection_schema:place().
-type statement() :: warp_projection_target:statement().

%% ------------------------------------------------------------------ Warp's own tables

%% @doc Makes Warp's own tables where they are missing.
-spec setup(binary(), pos_integer(), binary()) -> [statement()].
setup(Context, Shards, Version) ->
    [run(<<"CREATE TABLE IF NOT EXISTS _warp_meta (name TEXT NOT NULL PRIMARY KEY, value NOT NULL) "
           "WITHOUT ROWID">>),
     run(<<"CREATE TABLE IF NOT EXISTS _warp_checkpoints (building INTEGER NOT NULL, "
           "shard INTEGER NOT NULL, position INTEGER NOT NULL, turn INTEGER NOT NULL, "
           "mark INTEGER NOT NULL, events INTEGER NOT NULL, PRIMARY KEY (building, shard)) WITHOUT ROWID">>),
     run(<<"CREATE TABLE IF NOT EXISTS _warp_columns (building INTEGER NOT NULL, tbl TEXT NOT NULL, "
           "col TEXT NOT NULL, type TEXT NOT NULL, counted INTEGER NOT NULL, "
           "PRIMARY KEY (building, tbl, col)) WITHOUT ROWID">>),
     run(<<"CREATE TABLE IF NOT EXISTS _warp_set_aside (building INTEGER NOT NULL, "
           "entity TEXT NOT NULL, shard INTEGER NOT NULL, position INTEGER NOT NULL, "
           "seq INTEGER NOT NULL, aggregate TEXT NOT NULL, type TEXT NOT NULL, "
           "reason TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (building, entity)) "
           "WITHOUT ROWID">>),
     run(<<"CREATE TABLE IF NOT EXISTS _warp_skipped (entity TEXT NOT NULL, seq INTEGER NOT NULL, "
           "shard INTEGER NOT NULL, PRIMARY KEY (entity, seq)) WITHOUT ROWID">>),
     runs_table()]
        ++ counts_table(live, 1)
        ++ [{<<"INSERT INTO _warp_meta VALUES (?1, ?2) ON CONFLICT DO NOTHING">>,
             [[<<"format">>, ?FORMAT], [<<"context">>, Context], [<<"shards">>, Shards],
              [<<"generation">>, 1], [<<"version">>, Version], [<<"building_version">>, <<>>],
              [<<"rebuild">>, <<"none">>], [<<"erasures">>, 0]]},
            {<<"INSERT INTO _warp_checkpoints VALUES (0, ?1, 0, 0, 0, 0) ON CONFLICT DO NOTHING">>,
             [[N] || N <- lists:seq(0, Shards - 1)]}].

counts_table(Place, Generation) ->
    G = integer_to_binary(Generation),
    Counts = counts(Place),
    [run(<<"CREATE TABLE IF NOT EXISTS ", Counts/binary, " (tbl TEXT NOT NULL, id NOT NULL, "
           "col TEXT NOT NULL, entity TEXT NOT NULL, amount NOT NULL, ", ?HIGH, ", "
           "PRIMARY KEY (tbl, id, col, entity)) WITHOUT ROWID">>),
     run(<<"CREATE INDEX IF NOT EXISTS _warp_", G/binary, "_counts ON ", Counts/binary,
           " (entity, tbl)">>)].

-spec read_meta() -> binary().
read_meta() ->
    <<"SELECT name, value FROM _warp_meta">>.

-spec read_checkpoints() -> binary().
read_checkpoints() ->
    <<"SELECT building, shard, position, turn, mark, events FROM _warp_checkpoints">>.

%% @doc What a target of an earlier version lacks, for `added'.
-spec lacking() -> binary().
lacking() ->
    <<"SELECT name FROM sqlite_master WHERE name IN ('_warp_counts', '_warp_counts_new') "
      "AND instr(sql, ', high ') = 0 UNION ALL SELECT '_warp_runs' "
      "WHERE NOT EXISTS (SELECT 1 FROM sqlite_master WHERE name = '_warp_runs')">>.

%% @doc The statements that add it.
-spec added([binary()]) -> [statement()].
added(Lacking) ->
    [case Name of
         <<"_warp_runs">> -> runs_table();
         Counts -> run(<<"ALTER TABLE ", Counts/binary, " ADD COLUMN ", ?HIGH>>)
     end || Name <- Lacking].

runs_table() ->
    run(<<"CREATE TABLE IF NOT EXISTS _warp_runs (building INTEGER NOT NULL, shard INTEGER NOT NULL, "
          "run INTEGER NOT NULL, PRIMARY KEY (building, shard)) WITHOUT ROWID">>).

-spec read_runs() -> binary().
read_runs() ->
    <<"SELECT building, shard, run FROM _warp_runs">>.

%% @doc Notes which run of the shard's writer wrote the row where the checkpoint stands.
-spec set_run(place(), non_neg_integer(), non_neg_integer()) -> statement().
set_run(Place, Shard, Run) ->
    {<<"INSERT INTO _warp_runs VALUES (", (bit(Place))/binary, ", ?1, ?2) "
       "ON CONFLICT (building, shard) DO UPDATE SET run = excluded.run">>, [[Shard, Run]]}.

-spec read_columns(place()) -> binary().
read_columns(Place) ->
    <<"SELECT tbl, col, type, counted FROM _warp_columns WHERE building = ", (bit(Place))/binary>>.

%% @doc Entities of a shard that are set aside, with the seq from which on.
-spec read_aside(place()) -> binary().
read_aside(Place) ->
    <<"SELECT entity, seq FROM _warp_set_aside WHERE shard = ?1 AND building = ",
      (bit(Place))/binary>>.

%% @doc Moves the checkpoint of a shard on, and refuses unless it stands where it is thought to:
%% each transaction of a shard has its turn, and no turn comes twice. The mark tells whose it was:
%% another one may have had the same turn, and come first.
-spec guard(place(), non_neg_integer(),
            {Turn :: non_neg_integer(), Mark :: pos_integer(), Position :: non_neg_integer()},
            Events :: non_neg_integer()) -> statement().
guard(Place, Shard, {Turn, Mark, Position}, Events) ->
    {<<"UPDATE _warp_checkpoints SET position = iif(turn = ?2, ?4, NULL), turn = turn + 1, mark = ?3, "
       "events = events + ?5 WHERE shard = ?1 AND building = ", (bit(Place))/binary>>,
     [[Shard, Turn, Mark, Position, Events]]}.

-spec set_meta(binary(), warp_projection_target:value()) -> statement().
set_meta(Name, Value) ->
    {<<"UPDATE _warp_meta SET value = ?2 WHERE name = ?1">>, [[Name, Value]]}.

%% @doc The guard of an erasure: one that was sent and never heard of must not come after others.
-spec tally_erasure(non_neg_integer()) -> statement().
tally_erasure(Before) ->
    {<<"UPDATE _warp_meta SET value = iif(value = ?1, value + 1, NULL) WHERE name = 'erasures'">>,
     [[Before]]}.

%% ------------------------------------------------------------------ Tables of commands

-spec create_table(place(), pos_integer(), binary()) -> [statement()].
create_table(Place, Generation, Table) ->
    T = physical(Place, Table),
    Index = quote(<<"_warp_", (integer_to_binary(Generation))/binary, "_", Table/binary, "_entity">>),
    [run(<<"CREATE TABLE ", T/binary, " (\"id\" NOT NULL PRIMARY KEY, \"_entity\" TEXT NOT NULL, "
           "\"_seq\" INTEGER NOT NULL) WITHOUT ROWID">>),
     run(<<"CREATE INDEX ", Index/binary, " ON ", T/binary, " (\"_entity\")">>),
     note_column(Place, Table, <<"id">>, any, false)].

%% @doc A column from use has no type but for reading, so that every value keeps its own. A
%% declared one also takes no other values.
-spec add_column(place(), binary(), binary(), {used | declared, warp_projection_command:type()},
                 boolean()) -> [statement()].
add_column(Place, Table, Column, {How, Type}, Counted) ->
    C = quote(Column),
    [run(<<"ALTER TABLE ", (physical(Place, Table))/binary, " ADD COLUMN ", C/binary,
           (type(Type))/binary, (check(How, Type, C))/binary>>),
     note_column(Place, Table, Column, Type, Counted)].

type(bool) -> <<" BOOL BLOB">>;
type(json) -> <<" JSON BLOB">>;
type(_) -> <<>>.

check(used, _, _) -> <<>>;
check(declared, any, _) -> <<>>;
check(declared, bool, C) -> <<" CHECK (", C/binary, " IS NULL OR ", C/binary, " IN (0, 1))">>;
check(declared, json, C) -> is_one_of(C, <<"'text'">>);
check(declared, text, C) -> is_one_of(C, <<"'text'">>);
check(declared, integer, C) -> is_one_of(C, <<"'integer'">>);
check(declared, float, C) -> is_one_of(C, <<"'real', 'integer'">>).

is_one_of(C, Types) ->
    <<" CHECK (typeof(", C/binary, ") IN ('null', ", Types/binary, "))">>.

note_column(Place, Table, Column, Type, Counted) ->
    {<<"INSERT INTO _warp_columns VALUES (", (bit(Place))/binary, ", ?1, ?2, ?3, ?4)">>,
     [[Table, Column, atom_to_binary(Type), case Counted of true -> 1; false -> 0 end]]}.

%% @doc From now on the column is a sum of what each entity has in it: also of what was set so far.
-spec count_column(place(), binary(), binary()) -> [statement()].
count_column(Place, Table, Column) ->
    C = quote(Column),
    [{<<"INSERT INTO ", (counts(Place))/binary, " (tbl, id, col, entity, amount) "
        "SELECT ?1, \"id\", ?2, \"_entity\", ", C/binary,
        " FROM ", (physical(Place, Table))/binary, " WHERE \"_entity\" <> '' AND typeof(", C/binary,
        ") IN ('integer', 'real')">>, [[Table, Column]]},
     {<<"UPDATE _warp_columns SET counted = 1 WHERE tbl = ?1 AND col = ?2 AND building = ",
        (bit(Place))/binary>>, [[Table, Column]]}].

-spec index(place(), pos_integer(), binary(), pos_integer(), boolean(), [binary()]) -> statement().
index(Place, Generation, Table, N, Unique, On) ->
    Name = quote(<<"_warp_", (integer_to_binary(Generation))/binary, "_", Table/binary, "_",
                   (integer_to_binary(N))/binary>>),
    Kind = case Unique of true -> <<"UNIQUE INDEX ">>; false -> <<"INDEX ">> end,
    run(<<"CREATE ", Kind/binary, Name/binary, " ON ", (physical(Place, Table))/binary, " (",
          (commas([quote(C) || C <- On]))/binary, ")">>).

-spec drop_table(place(), binary()) -> statement().
drop_table(Place, Table) ->
    run(<<"DROP TABLE ", (physical(Place, Table))/binary>>).

-spec rename_table(binary()) -> statement().
rename_table(Table) ->
    run(<<"ALTER TABLE ", (physical(building, Table))/binary, " RENAME TO ",
          (physical(live, Table))/binary>>).

%% ------------------------------------------------------------------ What a batch changes

%% @doc The statements of merged changes.
-spec merged(place(), warp_projection_merge:merged(), warp_projection_schema:schema()) ->
    {ok, [statement()]} | {error, term()}.
merged(Place, #{deletes := Deletes, upserts := Upserts, adds := Adds, counts := Counts}, Schema) ->
    Deleting = [S || {Table, Rows} <- lists:sort(maps:to_list(Deletes)),
                     S <- delete(Place, Table, Rows, Schema)],
    Adding = [S || {{Table, Column}, Rows} <- lists:sort(maps:to_list(Adds)),
                   S <- add(Place, Table, Column, Rows)],
    Counting = [count(Place, Counts) || Counts =/= []],
    try
        Setting = [S || {{Table, Columns}, Rows} <- lists:sort(maps:to_list(Upserts)),
                        S <- upsert(Place, Table, Columns, Rows, Schema)],
        %% Shares first: a sum may have to be made of them.
        {ok, Deleting ++ Setting ++ Counting ++ Adding}
    catch
        throw:Why -> {error, Why}
    end.

%% @doc The statements of one command.
-spec step(place(), {binary(), warp_core:seq()}, warp_projection_command:op(), warp_projection_schema:schema()) ->
    {ok, [statement()]} | {error, term()}.
step(Place, {Entity, Seq}, {upsert, Table, Id, Columns}, Schema) ->
    Sorted = lists:sort(maps:to_list(Columns)),
    Row = [Id, Entity, Seq | [V || {_, {_, V}} <- Sorted]],
    try
        {ok, upsert(Place, Table, [C || {C, _} <- Sorted], [Row], Schema)}
    catch
        throw:Why -> {error, Why}
    end;
step(Place, {Entity, _Seq}, {increment, Table, Id, Columns}, _Schema) ->
    Each = lists:sort(maps:to_list(Columns)),
    {ok, [count(Place, [[Table, Id, C, Entity, N] || {C, N} <- Each])
          | [S || {C, N} <- Each, S <- add(Place, Table, C, [[Id, N]])]]};
step(Place, {Entity, _Seq}, {delete, Table, Id}, Schema) ->
    {ok, delete(Place, Table, [{Id, Entity}], Schema)}.

upsert(Place, Table, Columns, Rows, Schema) ->
    case warp_projection_schema:counted(Table, Schema) of
        [] ->
            [{insert(Place, Table, Columns, false), Rows}];
        Counted ->
            Plain = [C || C <- Columns, not lists:member(C, Counted)],
            Split = [{[Id, Entity, Seq], lists:zip(Columns, Values)}
                     || [Id, Entity, Seq | Values] <- Rows],
            [{insert(Place, Table, Plain, true),
              [Key ++ [V || {C, V} <- Values, not lists:member(C, Counted)]
               || {Key, Values} <- Split]}]
                ++ lists:append([share(Place, Table, C, Id, Entity, V)
                                 || {[Id, Entity, _], Values} <- Split, {C, V} <- Values,
                                    lists:member(C, Counted)])
    end.

%% A row of another entity keeps its seq and fails at that: `_seq' may not be null.
insert(Place, Table, Columns, Shared) ->
    Quoted = [quote(C) || C <- Columns],
    Mine =
        case Shared of
            true -> <<"\"_entity\" IN ('', excluded.\"_entity\")">>;
            false -> <<"\"_entity\" = excluded.\"_entity\"">>
        end,
    Sets = [<<"\"_seq\" = iif(", Mine/binary, ", excluded.\"_seq\", NULL)">>]
        ++ [<<"\"_entity\" = excluded.\"_entity\"">> || Shared]
        ++ [<<C/binary, " = excluded.", C/binary>> || C <- Quoted],
    <<"INSERT INTO ", (physical(Place, Table))/binary, " (",
      (commas([<<"\"id\"">>, <<"\"_entity\"">>, <<"\"_seq\"">> | Quoted]))/binary, ") VALUES (",
      (params(3 + length(Columns)))/binary, ") ON CONFLICT (\"id\") DO UPDATE SET ",
      (commas(Sets))/binary>>.

%% What an entity sets in a counted column is its share of the sum.
share(Place, Table, Column, Id, Entity, N) when is_number(N) ->
    [{<<"INSERT INTO ", (counts(Place))/binary, " (tbl, id, col, entity, amount) VALUES (?1, ?2, ?3, ?4, ?5) "
        "ON CONFLICT (tbl, id, col, entity) DO UPDATE SET amount = excluded.amount, high = 0">>,
      [[Table, Id, Column, Entity, N]]},
     sum(Place, Table, Column, Id)];
share(Place, Table, Column, Id, Entity, null) ->
    [{<<"DELETE FROM ", (counts(Place))/binary,
        " WHERE tbl = ?1 AND id = ?2 AND col = ?3 AND entity = ?4">>, [[Table, Id, Column, Entity]]},
     sum(Place, Table, Column, Id)];
share(_Place, Table, Column, _Id, _Entity, _Text) ->
    throw({counted_column, Table, Column, not_a_number}).

sum(Place, Table, Column, Id) ->
    {<<"UPDATE ", (physical(Place, Table))/binary, " SET ", (quote(Column))/binary,
       " = ", (warp_projection_sums:total(<<"FROM ", (counts(Place))/binary,
                                     " WHERE tbl = ?1 AND id = ?2 AND col = ?3">>))/binary,
       " WHERE \"id\" = ?2">>, [[Table, Id, Column]]}.

%% What was added to shares, which are written by now, shows in the column.
add(Place, Table, Column, Rows) ->
    T = physical(Place, Table),
    C = quote(Column),
    {Plain, Large} = lists:partition(fun([_Id, N]) -> warp_projection_sums:is_plain(N) end, Rows),
    Total = warp_projection_sums:total(<<"FROM ", (counts(Place))/binary, " WHERE tbl = '", Table/binary,
                                   "' AND id = ", T/binary, ".\"id\" AND col = '", Column/binary, "'">>),
    [{<<"INSERT INTO ", T/binary, " (\"id\", \"_entity\", \"_seq\", ", C/binary, ") VALUES (?1, '', 0, ?2) "
        "ON CONFLICT (\"id\") DO UPDATE SET ", C/binary, " = ",
        (warp_projection_sums:running(C, Total))/binary>>, Plain} || Plain =/= []]
        ++ lists:append(
            [[{<<"INSERT INTO ", T/binary, " (\"id\", \"_entity\", \"_seq\") VALUES (?1, '', 0) "
                 "ON CONFLICT (\"id\") DO NOTHING">>, [[Id]]},
              sum(Place, Table, Column, Id)] || [Id, _] <- Large]).

count(Place, Rows) ->
    {<<"INSERT INTO ", (counts(Place))/binary, " (tbl, id, col, entity, amount, high) "
       "VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (tbl, id, col, entity) DO UPDATE SET amount = ",
       (warp_projection_sums:added_amount())/binary, ", high = ", (warp_projection_sums:added_high())/binary>>,
     [begin
          {Amount, High} = warp_projection_sums:limbs(N),
          [Table, Id, Column, Entity, Amount, High]
      end || [Table, Id, Column, Entity, N] <- Rows]}.

%% Of a row an entity takes out what is its own; when nothing is left, the row goes.
delete(Place, Table, Rows, Schema) ->
    T = physical(Place, Table),
    Params = [[Entity, Id] || {Id, Entity} <- Rows],
    case warp_projection_schema:counted(Table, Schema) of
        [] ->
            [{<<"UPDATE ", T/binary, " SET \"_seq\" = NULL WHERE \"id\" = ?2 AND \"_entity\" <> ?1">>,
              Params},
             {<<"DELETE FROM ", T/binary, " WHERE \"id\" = ?2 AND \"_entity\" = ?1">>, Params}];
        _ ->
            Mine = <<"EXISTS (SELECT 1 FROM ", (counts(Place))/binary, " WHERE tbl = '",
                     Table/binary, "' AND id = ?2 AND entity = ?1)">>,
            Sql = [<<"UPDATE ", T/binary, " SET \"_seq\" = NULL WHERE \"id\" = ?2 AND "
                     "\"_entity\" NOT IN ('', ?1) AND NOT ", Mine/binary>>
                   | withdraw(Place, Table, {<<"= ?2">>, Mine}, exact, Schema)],
            %% Row by row: what one takes out may be what lets another's go.
            [{S, [Row]} || Row <- Params, S <- Sql]
    end.

%% @doc Takes an entity out of a table. `exact' can be refused: by a CHECK or an index on a counted
%% column, for what is left of the sum. `lenient' cannot: where the sum would be refused it leaves
%% null, until the next increment.
-spec erase(place(), binary(), exact | lenient, warp_projection_schema:schema()) -> [binary()].
erase(Place, Table, How, Schema) ->
    case warp_projection_schema:counted(Table, Schema) of
        [] ->
            [<<"DELETE FROM ", (physical(Place, Table))/binary, " WHERE \"_entity\" = ?1">>];
        _ ->
            Own = <<"(SELECT id FROM ", (counts(Place))/binary, " WHERE tbl = '", Table/binary,
                    "' AND entity = ?1)">>,
            withdraw(Place, Table,
                     {<<"IN (SELECT \"id\" FROM ", (physical(Place, Table))/binary,
                        " WHERE \"_entity\" = ?1 UNION ALL SELECT id FROM ", (counts(Place))/binary,
                        " WHERE tbl = '", Table/binary, "' AND entity = ?1)">>,
                      <<"\"id\" IN ", Own/binary>>},
                     How, Schema)
    end.

%% Which: the condition on the id. Counts: whether the entity has counts in the row.
withdraw(Place, Table, {Which, Mine}, How, Schema) ->
    T = physical(Place, Table),
    Counts = counts(Place),
    Counted = warp_projection_schema:counted(Table, Schema),
    Others = <<"FROM ", Counts/binary, " WHERE tbl = '", Table/binary, "' AND id = ", T/binary,
               ".\"id\" AND entity <> ?1">>,
    Own = [<<"\"_seq\" = iif(\"_entity\" = ?1, 0, \"_seq\")">>,
           <<"\"_entity\" = iif(\"_entity\" = ?1, '', \"_entity\")">>]
        ++ [<<(quote(C))/binary, " = iif(\"_entity\" = ?1, NULL, ", (quote(C))/binary, ")">>
            || C <- warp_projection_schema:columns(Table, Schema), not lists:member(C, Counted)],
    Left = [{quote(C), warp_projection_sums:total(<<Others/binary, " AND col = '", C/binary, "'">>)} || C <- Counted],
    Sets = [<<C/binary, " = ", Total/binary>> || {C, Total} <- Left],
    Of = <<" WHERE \"id\" ", Which/binary, " AND (\"_entity\" = ?1 OR ", Mine/binary, ")">>,
    Updates =
        case How of
            exact ->
                [<<"UPDATE ", T/binary, " SET ", (commas(Own ++ Sets))/binary, Of/binary>>];
            lenient ->
                Not = [<<C/binary, " IS NOT ", Total/binary>> || {C, Total} <- Left],
                Nulls = [<<C/binary, " = NULL">> || {C, _} <- Left],
                [<<"UPDATE OR IGNORE ", T/binary, " SET ", (commas(Own ++ Sets))/binary, Of/binary>>,
                 <<"UPDATE ", T/binary, " SET ", (commas(Own ++ Nulls))/binary, Of/binary, " AND (",
                   (iolist_to_binary(lists:join(<<" OR ">>, [<<"\"_entity\" = ?1">> | Not])))/binary, ")">>]
        end,
    [<<"DELETE FROM ", T/binary, " WHERE \"id\" ", Which/binary, " AND (\"_entity\" = ?1 OR "
       "\"_entity\" = '' AND ", Mine/binary, ") AND NOT EXISTS (SELECT 1 ", Others/binary, ")">>]
        ++ Updates
        ++ [<<"DELETE FROM ", Counts/binary, " WHERE tbl = '", Table/binary, "' AND entity = ?1 AND id ",
              Which/binary>>].

%% @doc SQLite's message, in words that say what to do.
-spec explain(binary()) -> binary().
explain(Message) ->
    case re:run(Message, "NOT NULL constraint failed: (?:_warp_new_)?([^.]+)\\._seq",
                [{capture, [1], binary}]) of
        {match, [Table]} ->
            <<"the row of table ", Table/binary, " belongs to another entity: only increment may be "
              "used on rows of others">>;
        nomatch ->
            Message
    end.

%% ------------------------------------------------------------------ Set aside

%% @doc Notes events that were set aside: `[Entity, Shard, Position, Seq, Aggregate, Type, Reason,
%% At]'.
-spec set_aside(place(), [[warp_projection_target:value()]]) -> [statement()].
set_aside(_Place, []) ->
    [];
set_aside(Place, Rows) ->
    [{<<"INSERT INTO _warp_set_aside VALUES (", (bit(Place))/binary, ", ?1, ?2, ?3, ?4, ?5, ?6, ?7, "
        "?8) ON CONFLICT (building, entity) DO UPDATE SET position = excluded.position, "
        "seq = excluded.seq, aggregate = excluded.aggregate, type = excluded.type, "
        "reason = excluded.reason, at = excluded.at">>, Rows}].

%% @doc Events of a shard that an operator left out.
-spec read_skipped() -> binary().
read_skipped() ->
    <<"SELECT entity, seq FROM _warp_skipped WHERE shard = ?1">>.

%% @doc Notes events that an operator left out: `[Entity, Seq, Shard]'.
-spec skip([[warp_projection_target:value()]]) -> [statement()].
skip([]) ->
    [];
skip(Rows) ->
    [{<<"INSERT INTO _warp_skipped VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING">>, Rows}].

%% @doc The entity goes on from that seq; all of it was projected when that is `done'.
-spec clear_aside(place(), binary(), warp_core:seq() | done) -> [statement()].
clear_aside(Place, Entity, done) ->
    [{<<"DELETE FROM _warp_set_aside WHERE entity = ?1 AND building = ", (bit(Place))/binary>>,
      [[Entity]]}];
clear_aside(Place, Entity, Seq) ->
    [{<<"UPDATE _warp_set_aside SET seq = ?2 WHERE entity = ?1 AND building = ",
        (bit(Place))/binary>>, [[Entity, Seq]]}].

%% ------------------------------------------------------------------ Rebuilding

%% @doc Makes room for the tables of a rebuild.
-spec begin_building(pos_integer(), pos_integer()) -> [statement()].
begin_building(Generation, Shards) ->
    counts_table(building, Generation)
        ++ [{<<"INSERT INTO _warp_checkpoints VALUES (1, ?1, 0, 0, 0, 0)">>,
             [[N] || N <- lists:seq(0, Shards - 1)]}].

%% @doc Drops what a rebuild left, but for its tables.
-spec drop_building() -> [statement()].
drop_building() ->
    [run(<<"DROP TABLE IF EXISTS _warp_counts_new">>),
     run(<<"DELETE FROM _warp_columns WHERE building = 1">>),
     run(<<"DELETE FROM _warp_checkpoints WHERE building = 1">>),
     run(<<"DELETE FROM _warp_runs WHERE building = 1">>),
     run(<<"DELETE FROM _warp_set_aside WHERE building = 1">>)].

%% @doc Puts a rebuild in place, once its tables were renamed. Refused unless the generation is
%% the one it is thought to be.
-spec swap(pos_integer()) -> {[statement()], [statement()]}.
swap(Generation) ->
    {[{<<"UPDATE _warp_meta SET value = iif(value = ?1, value + 1, NULL) WHERE name = 'generation'">>,
       [[Generation]]}],
     [run(<<"DROP TABLE _warp_counts">>),
      run(<<"ALTER TABLE _warp_counts_new RENAME TO _warp_counts">>)]
         ++ [S || Own <- [<<"_warp_columns">>, <<"_warp_checkpoints">>, <<"_warp_runs">>,
                          <<"_warp_set_aside">>],
                  S <- [run(<<"DELETE FROM ", Own/binary, " WHERE building = 0">>),
                        run(<<"UPDATE ", Own/binary, " SET building = 0">>)]]
         ++ [run(<<"UPDATE _warp_meta SET value = (SELECT value FROM _warp_meta "
                   "WHERE name = 'building_version') WHERE name = 'version'">>),
             set_meta(<<"rebuild">>, <<"none">>)]}.

%% ------------------------------------------------------------------ Pieces

run(Sql) -> {Sql, [[]]}.

bit(live) -> <<"0">>;
bit(building) -> <<"1">>.

physical(live, Table) -> quote(Table);
physical(building, Table) -> quote(<<"_warp_new_", Table/binary>>).

counts(live) -> <<"_warp_counts">>;
counts(building) -> <<"_warp_counts_new">>.

quote(Name) -> <<$", Name/binary, $">>.

commas(Parts) -> iolist_to_binary(lists:join(<<", ">>, Parts)).

params(N) -> commas([<<$?, (integer_to_binary(I))/binary>> || I <- lists:seq(1, N)]).
