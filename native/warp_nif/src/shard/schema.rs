//! The shard's file: creating it, and checking that it is ours, before anything is touched.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::error::{Error, Result};
use crate::files::{self, Access};
use crate::sqlite;

use super::kinds::Kinds;
use super::upgrade;

/// `application_id` of every shard: the bytes "WARP".
const APPLICATION_ID: u32 = 0x5741_5250;
/// `user_version` of every shard: the version of the format in `docs/file-format.md`.
pub const FORMAT: u32 = 2;
/// What makes a file a shard.
const SHARD: sqlite::Format = sqlite::Format {
    application_id: APPLICATION_ID,
    version: FORMAT,
    foreign: Error::NotAShard,
};
/// How long a writer waits for another program's lock on the file.
pub const BUSY: Duration = Duration::from_secs(5);

const SCHEMA: &str = r"
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
  PRIMARY KEY (hash, incarnation)
) WITHOUT ROWID;
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
CREATE TABLE IF NOT EXISTS erasing (
  incarnation INTEGER PRIMARY KEY,
  hash INTEGER NOT NULL,
  position INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS runs (first_position INTEGER PRIMARY KEY, run INTEGER NOT NULL);
";

/// Whose file it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    /// The context's name.
    pub context: String,
    /// The number of the shard, from 0.
    pub shard: i64,
    /// How many shards the context has: it tells where entities live.
    pub shards: i64,
    /// The number of the journal that it belongs to.
    pub journal: u64,
}

/// Opens the shard at `path` for its writer, creating it where there is none.
///
/// Errors, with the file left as it was: `NotAShard`, `NewerFormat`, `ShardCount`,
/// `WrongIdentity`, `Corrupt`, `Io`, `DiskFull`. A file of format 1 is upgraded.
pub fn open(
    path: &Path,
    identity: &Identity,
    kinds: &Kinds,
    may_create: Option<Access>,
) -> Result<Connection> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        files::check_kind(&files::beside(path, suffix))?;
    }
    if may_create.is_some() {
        finish_creation(path)?;
    }
    let fresh = SHARD.is_missing(path)?;
    match may_create {
        Some(access) if fresh => drop(files::create(path, access)?),
        None if fresh => {
            let what = "this shard of an existing context is missing or empty";
            return Err(Error::corrupt(what).at(path));
        }
        _ => {}
    }
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|error| Error::from(error).at(path))?;
    connection.busy_timeout(BUSY)?;
    if fresh {
        create(&connection, path, identity)?;
    } else {
        check_identity(&connection, path, identity)?;
    }
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA fullfsync = ON;
             PRAGMA checkpoint_fullfsync = ON;
             PRAGMA wal_autocheckpoint = 0;
             PRAGMA secure_delete = ON;
             PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -8192;",
        )
        .map_err(|error| Error::from(error).at(path))?;
    if version < FORMAT {
        upgrade::upgrade(&connection, kinds, identity.journal).map_err(|error| error.at(path))?;
    }
    // What reaches the disk when does not matter before the WAL is moved: the journal has it all.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(connection)
}

/// Opens the shard at `path` for reading only.
pub fn open_reader(path: &Path) -> Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|error| Error::from(error).at(path))?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// Has SQLite roll back a creation that was cut short: until then the header means nothing.
fn finish_creation(path: &Path) -> Result<()> {
    if files::beside(path, "-journal").exists() {
        let connection = Connection::open(path)?;
        let _: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
            .map_err(|error| Error::from(error).at(path))?;
    }
    Ok(())
}

fn create(connection: &Connection, path: &Path, identity: &Identity) -> Result<()> {
    let create = || -> rusqlite::Result<()> {
        // SQLite may find the WAL of a file that was emptied, which must not come back to life.
        connection.pragma_update(None, "journal_mode", "DELETE")?;
        connection.pragma_update(None, "synchronous", "EXTRA")?;
        let transaction = connection.unchecked_transaction()?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        connection.pragma_update(None, "user_version", FORMAT)?;
        connection.execute_batch(SCHEMA)?;
        let mut insert = connection.prepare("INSERT INTO meta (name, value) VALUES (?1, ?2)")?;
        insert.execute(("context", &identity.context))?;
        insert.execute(("shard", identity.shard))?;
        insert.execute(("shards", identity.shards))?;
        insert.execute(("flushed", 0))?;
        insert.execute(("erased_bytes", 0))?;
        insert.execute(("last_row", 0))?;
        insert.execute(("journal", identity.journal.cast_signed()))?;
        transaction.commit()
    };
    create().map_err(|error| Error::from(error).at(path))?;
    Ok(())
}

/// Notes, in the transaction under way, to which journal a file belongs, whose log ends at this row.
pub fn join(connection: &Connection, journal: u64, last_row: i64) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO meta (name, value) VALUES ('journal', ?1), ('last_row', ?2)";
    connection.execute(sql, (journal.cast_signed(), last_row))?;
    connection.execute("DELETE FROM meta WHERE name = 'seals'", []).map(drop)
}

fn check_identity(connection: &Connection, path: &Path, expected: &Identity) -> Result<()> {
    let found = (|| -> Result<Identity> {
        let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok(Identity {
            journal: if version < FORMAT {
                // It is given one when it is upgraded.
                expected.journal
            } else {
                meta::<i64>(connection, "journal")?.cast_unsigned()
            },
            context: meta(connection, "context")?,
            shard: meta(connection, "shard")?,
            shards: meta(connection, "shards")?,
        })
    })()
    .map_err(|error| error.at(path))?;
    if found.shards != expected.shards {
        return Err(Error::ShardCount(found.shards, expected.shards));
    }
    if found.journal != expected.journal && found.context == expected.context {
        let what = "this shard belongs to another journal than the one in its folder: a file was \
                    copied alone, or the file `lock` or the journal was lost. Put back the files of \
                    one time, all of them";
        return Err(Error::corrupt(what).at(path));
    }
    if found != *expected {
        let found = format!("shard {} of context {}", found.shard, found.context);
        return Err(Error::WrongIdentity(path.to_owned(), found));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(shards: i64) -> Identity {
        Identity {
            context: "bank".into(),
            shard: 0,
            shards,
            journal: 7,
        }
    }

    fn open_in(dir: &Path, shards: i64) -> Result<Connection> {
        open(
            &dir.join("s.db"),
            &identity(shards),
            &Kinds::default(),
            Some(Access::Owner),
        )
    }

    #[test]
    fn a_shard_opens_again_only_as_what_it_was() {
        let dir = tempfile::tempdir().expect("temp dir");
        drop(open_in(dir.path(), 4).expect("created"));
        drop(open_in(dir.path(), 4).expect("opened again"));
        assert!(matches!(
            open_in(dir.path(), 8),
            Err(Error::ShardCount(4, 8))
        ));
    }

    #[test]
    fn foreign_and_newer_files_are_refused_untouched() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("s.db");
        std::fs::write(&path, "shopping list").expect("written");
        assert!(matches!(open_in(dir.path(), 4), Err(Error::NotAShard(_))));
        assert_eq!(std::fs::read(&path).expect("read"), b"shopping list");

        std::fs::remove_file(&path).expect("removed");
        let other = Connection::open(&path).expect("opened");
        other.execute_batch("CREATE TABLE t(x)").expect("created");
        drop(other);
        assert!(matches!(open_in(dir.path(), 4), Err(Error::NotAShard(_))));

        std::fs::remove_file(&path).expect("removed");
        let ours = open_in(dir.path(), 4).expect("created");
        ours.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA user_version = 9")
            .expect("changed");
        drop(ours);
        assert!(matches!(
            open_in(dir.path(), 4),
            Err(Error::NewerFormat(_, 9))
        ));
    }

    #[test]
    fn an_emptied_shard_of_an_existing_context_is_not_made_anew() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("s.db");
        std::fs::write(&path, "").expect("written");
        let opened = open(&path, &identity(4), &Kinds::default(), None);
        assert!(matches!(opened, Err(Error::Corrupt(_))));
    }
}
