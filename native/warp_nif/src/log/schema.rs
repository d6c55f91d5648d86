//! What stands in a shard's file: its tables, and the numbers that say what it is.

use rusqlite::{Connection, OptionalExtension};

use crate::error::{Error, Result};

/// `application_id` of every shard: the bytes "WARP".
pub const APPLICATION_ID: u32 = 0x5741_5250;
/// `user_version` of a shard that has no keys: the version of the format in `docs/file-format.md`.
pub const FORMAT: u32 = 3;
/// `user_version` of one that has keys.
pub const WITH_KEYS: u32 = 4;

/// The tables.
pub const SCHEMA: &str = r"
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;

-- One row per append, in position order. What finds an entity's rows is written behind.
CREATE TABLE log (
  position INTEGER PRIMARY KEY,
  entity TEXT NOT NULL,
  aggregate TEXT NOT NULL,
  seq INTEGER NOT NULL,
  count INTEGER NOT NULL,
  recorded_at INTEGER NOT NULL,
  prev INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  data TEXT NOT NULL
);

-- Integers only, so that moving rows between pages never leaves a copy of anything personal.
CREATE TABLE entities (
  hash INTEGER NOT NULL,
  incarnation INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  head INTEGER NOT NULL,
  rows INTEGER NOT NULL,
  aggregates INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (hash, incarnation)
) WITHOUT ROWID;
CREATE TABLE aggregates (number INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE marks (
  incarnation INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (incarnation, seq)
) WITHOUT ROWID;
CREATE TABLE ids (
  incarnation INTEGER NOT NULL,
  hash INTEGER NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (incarnation, hash, position)
) WITHOUT ROWID;
CREATE TABLE snapshots (slot INTEGER PRIMARY KEY, image BLOB NOT NULL);
CREATE TABLE snapshot_slots (
  incarnation INTEGER NOT NULL,
  aggregate INTEGER NOT NULL,
  slot INTEGER NOT NULL,
  size INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  version INTEGER NOT NULL,
  recorded_at INTEGER NOT NULL,
  PRIMARY KEY (incarnation, aggregate)
) WITHOUT ROWID;

CREATE TABLE open_sagas (incarnation INTEGER PRIMARY KEY);
CREATE TABLE closed_sagas (incarnation INTEGER PRIMARY KEY);
CREATE TABLE erasing (
  incarnation INTEGER PRIMARY KEY,
  hash INTEGER NOT NULL,
  position INTEGER NOT NULL
);
CREATE TABLE runs (first_position INTEGER PRIMARY KEY, run INTEGER NOT NULL);

CREATE VIEW events AS
SELECT log.position AS position,
       log.entity AS entity,
       log.seq + item.key AS seq,
       coalesce(json_extract(item.value, '$.id'), log.entity || '#' || (log.seq + item.key)) AS id,
       coalesce(json_extract(item.value, '$.aggregate'), log.aggregate) AS aggregate,
       json_extract(item.value, '$.type') AS type,
       coalesce(json_extract(item.value, '$.schema_vsn'), 1) AS schema_vsn,
       json_extract(item.value, '$.payload') AS payload,
       coalesce(json_extract(item.value, '$.metadata'), '{}') AS metadata,
       strftime('%Y-%m-%dT%H:%M:%S', log.recorded_at / 1000000, 'unixepoch')
         || printf('.%06dZ', log.recorded_at % 1000000) AS recorded_at
FROM log, json_each(log.data) AS item
WHERE typeof(log.entity) = 'text';
";

/// What files of earlier versions of Warp lack.
pub const ADDED: &str = r"
CREATE TABLE IF NOT EXISTS open_sagas (incarnation INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS closed_sagas (incarnation INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS erasing (
  incarnation INTEGER PRIMARY KEY,
  hash INTEGER NOT NULL,
  position INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS runs (first_position INTEGER PRIMARY KEY, run INTEGER NOT NULL);
";

/// What files of format 2 lack: the index does not say yet of which aggregates an entity has events.
pub const ADDED_AGGREGATES: &str = r"
CREATE TABLE aggregates (number INTEGER PRIMARY KEY, name TEXT NOT NULL);
ALTER TABLE entities ADD COLUMN aggregates INTEGER NOT NULL DEFAULT 0;
";

/// What shards of format 4 have beside: see `keys` and `edits`.
pub const ADDED_KEYS: &str = r"
CREATE TABLE keys (position INTEGER PRIMARY KEY, key BLOB NOT NULL);
CREATE TABLE edits (
  position INTEGER NOT NULL,
  of INTEGER NOT NULL,
  what INTEGER NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (position, of)
) WITHOUT ROWID;
INSERT INTO meta (name, value) VALUES ('keyed', 0);
";

/// Notes, in the transaction under way, to which journal a file belongs, whose log ends at this row.
pub fn join(connection: &Connection, journal: u64, last_row: i64) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO meta (name, value) VALUES ('journal', ?1), ('last_row', ?2)";
    connection.execute(sql, (journal.cast_signed(), last_row))?;
    connection
        .execute("DELETE FROM meta WHERE name = 'seals'", [])
        .map(drop)
}

/// A value of the table `meta`. Error: `Corrupt` when there is none by that name.
pub fn meta<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> Result<T> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?
        .ok_or_else(|| Error::corrupt(format!("the table meta has no row {name}")))
}

/// Sets a number of the table `meta`.
pub fn set_meta(connection: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE meta SET value = ?2 WHERE name = ?1")?
        .execute((name, value))
        .map(drop)
}
