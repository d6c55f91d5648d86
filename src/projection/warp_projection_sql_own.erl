%% @private The SQL of Warp's own tables in a target: what the projection is and how far it is. Pure.
%%
%% A condition that does not hold makes a NOT NULL column null. So it is the database that refuses, in the
%% same transaction, whatever Warp believed of its content.
-module(warp_projection_sql_own).

-export([setup/3, read_meta/0, read_checkpoints/0, read_columns/1, read_aside/1]).
-export([lacking/0, added/1, read_runs/0, set_run/3]).
-export([read_writers/0, read_layout/0]).
-export([claim/3, guard/4, layout_changes/0, change_layout/1, set_meta/2, tally_erasures/2]).
-export([read_skipped/0, skip/1]).
-export([set_aside/2, clear_aside/3, erase_aside/1, begin_building/2, drop_building/0, swap/1]).

-import(warp_projection_sql, [run/1, bit/1, counts/1]).

-define(FORMAT, 1).
-define(HIGH, "high INTEGER NOT NULL DEFAULT 0").

-type set() :: warp_projection_schema:set().
-type statement() :: warp_projection_target:statement().

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
     runs_table(),
     writers_table()]
        ++ counts_table(live, 1)
        ++ [{<<"INSERT INTO _warp_meta VALUES (?1, ?2) ON CONFLICT DO NOTHING">>,
             [[<<"format">>, ?FORMAT], [<<"context">>, Context], [<<"shards">>, Shards],
              [<<"generation">>, 1], [<<"version">>, Version], [<<"building_version">>, <<>>],
              [<<"rebuild">>, <<"none">>], [<<"erasures">>, 0], [<<"layout">>, 1]]},
            {<<"INSERT INTO _warp_checkpoints VALUES (0, ?1, 0, 0, 0, 0) ON CONFLICT DO NOTHING">>,
             [[N] || N <- lists:seq(0, Shards - 1)]},
            writers()].

counts_table(Set, Generation) ->
    G = integer_to_binary(Generation),
    Counts = counts(Set),
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

%% @doc Lists what a target lacks that an earlier version of Warp made, for `added'.
-spec lacking() -> binary().
lacking() ->
    <<"SELECT name FROM sqlite_master WHERE name IN ('_warp_counts', '_warp_counts_new') "
      "AND instr(sql, ', high ') = 0 UNION ALL SELECT '_warp_runs' "
      "WHERE NOT EXISTS (SELECT 1 FROM sqlite_master WHERE name = '_warp_runs') UNION ALL SELECT '_warp_writers' "
      "WHERE NOT EXISTS (SELECT 1 FROM sqlite_master WHERE name = '_warp_writers')">>.

%% @doc The statements that add what is lacking.
-spec added([binary()]) -> [statement()].
added(Lacking) ->
    lists:append([added_for(Name) || Name <- Lacking]).

added_for(<<"_warp_runs">>) ->
    [runs_table()];
added_for(<<"_warp_writers">>) ->
    [writers_table(), writers(),
     run(<<"INSERT INTO _warp_meta VALUES ('layout', 1) ON CONFLICT DO NOTHING">>),
     %% An erasure of the earlier version whose outcome is unknown is not carried out any more.
     run(<<"UPDATE _warp_meta SET value = value + 1 WHERE name = 'erasures'">>)];
added_for(Counts) ->
    [run(<<"ALTER TABLE ", Counts/binary, " ADD COLUMN ", ?HIGH>>)].

%% Of each shard the highest epoch of those that have written, and how many transactions have erased entities.
writers_table() ->
    run(<<"CREATE TABLE IF NOT EXISTS _warp_writers (shard INTEGER NOT NULL PRIMARY KEY, epoch INTEGER NOT NULL, "
          "erasures INTEGER NOT NULL) WITHOUT ROWID">>).

writers() ->
    run(<<"INSERT INTO _warp_writers SELECT shard, 0, 0 FROM _warp_checkpoints WHERE building = 0 "
          "ON CONFLICT DO NOTHING">>).

-spec read_writers() -> binary().
read_writers() ->
    <<"SELECT shard, epoch, erasures FROM _warp_writers">>.

%% @doc How often tables were changed.
-spec read_layout() -> binary().
read_layout() ->
    <<"SELECT value FROM _warp_meta WHERE name = 'layout'">>.

runs_table() ->
    run(<<"CREATE TABLE IF NOT EXISTS _warp_runs (building INTEGER NOT NULL, shard INTEGER NOT NULL, "
          "run INTEGER NOT NULL, PRIMARY KEY (building, shard)) WITHOUT ROWID">>).

-spec read_runs() -> binary().
read_runs() ->
    <<"SELECT building, shard, run FROM _warp_runs">>.

%% @doc Notes which run of the shard's writer wrote the row where the checkpoint stands.
-spec set_run(set(), non_neg_integer(), non_neg_integer()) -> statement().
set_run(Set, Shard, Run) ->
    {<<"INSERT INTO _warp_runs VALUES (", (bit(Set))/binary, ", ?1, ?2) "
       "ON CONFLICT (building, shard) DO UPDATE SET run = excluded.run">>, [[Shard, Run]]}.

-spec read_columns(set()) -> binary().
read_columns(Set) ->
    <<"SELECT tbl, col, type, counted FROM _warp_columns WHERE building = ", (bit(Set))/binary>>.

%% @doc Entities of a shard that are set aside, with the seq from which on.
-spec read_aside(set()) -> binary().
read_aside(Set) ->
    <<"SELECT entity, seq FROM _warp_set_aside WHERE shard = ?1 AND building = ",
      (bit(Set))/binary>>.

%% @doc The first guard: refuses a node that had the shard before one that has written since, and one that does not know
%% how the tables are by now. From now on nobody writes who had the shard at an earlier epoch.
%%
%% NOTE: the row is always there. That of a checkpoint is not, once another node has exchanged the tables.
-spec claim(Shard :: non_neg_integer(), Epoch :: non_neg_integer(), Layout :: pos_integer()) -> statement().
claim(Shard, Epoch, Layout) ->
    {<<"UPDATE _warp_writers SET epoch = iif(epoch <= ?2 AND ", (is_layout(<<"?3">>))/binary, ", ?2, NULL) "
       "WHERE shard = ?1">>, [[Shard, Epoch, Layout]]}.

is_layout(Param) -> <<"(SELECT value = ", Param/binary, " FROM _warp_meta WHERE name = 'layout')">>.

%% @doc Moves the checkpoint of a shard on, and refuses unless it has the expected turn: each transaction of a
%% shard has a turn of its own. The mark tells which transaction that was, since two may have been sent for
%% the same turn.
-spec guard(set(), non_neg_integer(),
            {Turn :: non_neg_integer(), Mark :: pos_integer(), Position :: non_neg_integer()},
            Events :: non_neg_integer()) -> statement().
guard(Set, Shard, {Turn, Mark, Position}, Events) ->
    {<<"UPDATE _warp_checkpoints SET position = iif(turn = ?2, ?4, NULL), turn = turn + 1, mark = ?3, "
       "events = events + ?5 WHERE shard = ?1 AND building = ", (bit(Set))/binary>>,
     [[Shard, Turn, Mark, Position, Events]]}.

%% @doc Notes that the transaction changes tables. Its first guard has looked whether the writer knows them.
-spec layout_changes() -> statement().
layout_changes() ->
    run(<<"UPDATE _warp_meta SET value = value + 1 WHERE name = 'layout'">>).

%% @doc Likewise, for a transaction without a guard of its own: refuses if the tables were changed meanwhile.
-spec change_layout(pos_integer()) -> statement().
change_layout(Layout) ->
    {<<"UPDATE _warp_meta SET value = iif(value = ?1, value + 1, NULL) WHERE name = 'layout'">>, [[Layout]]}.

-spec set_meta(binary(), warp_projection_target:value()) -> statement().
set_meta(Name, Value) ->
    {<<"UPDATE _warp_meta SET value = ?2 WHERE name = ?1">>, [[Name, Value]]}.

%% @doc The guard of an erasure in shards, `[Shard, Epoch, Erasures]': an erasure whose outcome is unknown must not be
%% carried out after a later one of the shard, nor by a node that had the shard before.
-spec tally_erasures(pos_integer(), [[non_neg_integer()]]) -> statement().
tally_erasures(Layout, Shards) ->
    {<<"UPDATE _warp_writers SET erasures = iif(erasures = ?3 AND epoch <= ?2 AND ", (is_layout(<<"?4">>))/binary,
       ", erasures + 1, NULL), epoch = ?2 WHERE shard = ?1">>,
     [Shard ++ [Layout] || Shard <- Shards]}.

%% @doc Notes events that were set aside: `[Entity, Shard, Position, Seq, Aggregate, Type, Reason,
%% At]'.
-spec set_aside(set(), [[warp_projection_target:value()]]) -> [statement()].
set_aside(_Set, []) ->
    [];
set_aside(Set, Rows) ->
    [{<<"INSERT INTO _warp_set_aside VALUES (", (bit(Set))/binary, ", ?1, ?2, ?3, ?4, ?5, ?6, ?7, "
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

%% @doc Takes the rows of erased entities, `[Entity]', out of Warp's own tables.
-spec erase_aside([[warp_projection_target:value()]]) -> [statement()].
erase_aside(Entities) ->
    [{<<"DELETE FROM _warp_set_aside WHERE entity = ?1">>, Entities},
     {<<"DELETE FROM _warp_skipped WHERE entity = ?1">>, Entities}].

%% @doc The entity is set aside from that seq on, or no more when that is `done'.
-spec clear_aside(set(), binary(), warp_core:seq() | done) -> [statement()].
clear_aside(Set, Entity, done) ->
    [{<<"DELETE FROM _warp_set_aside WHERE entity = ?1 AND building = ", (bit(Set))/binary>>,
      [[Entity]]}];
clear_aside(Set, Entity, Seq) ->
    [{<<"UPDATE _warp_set_aside SET seq = ?2 WHERE entity = ?1 AND building = ",
        (bit(Set))/binary>>, [[Entity, Seq]]}].

%% @doc Makes the checkpoints and the table of counts for a rebuild.
-spec begin_building(pos_integer(), pos_integer()) -> [statement()].
begin_building(Generation, Shards) ->
    counts_table(building, Generation)
        ++ [{<<"INSERT INTO _warp_checkpoints VALUES (1, ?1, 0, 0, 0, 0)">>,
             [[N] || N <- lists:seq(0, Shards - 1)]}].

%% @doc Drops what a rebuild left, except for its tables of commands.
-spec drop_building() -> [statement()].
drop_building() ->
    [run(<<"DROP TABLE IF EXISTS _warp_counts_new">>),
     run(<<"DELETE FROM _warp_columns WHERE building = 1">>),
     run(<<"DELETE FROM _warp_checkpoints WHERE building = 1">>),
     run(<<"DELETE FROM _warp_runs WHERE building = 1">>),
     run(<<"DELETE FROM _warp_set_aside WHERE building = 1">>)].

%% @doc Replaces the tables that are queried by those of a rebuild: the statements before and after the tables
%% of commands are renamed. The database refuses them unless the generation is the expected one.
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
