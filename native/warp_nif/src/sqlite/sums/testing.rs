//! What the tests of the sums share: a database like a shard's, and all that can be asked of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use super::{Sums, open_with_sums};
use crate::error::Result;

pub const WRITES: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);
pub const READS: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

const SCHEMA: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE log (position INTEGER PRIMARY KEY, entity TEXT NOT NULL, data TEXT NOT NULL);
    CREATE INDEX log_by_entity ON log (entity);
    CREATE TABLE ids (hash INTEGER NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (hash, position)) WITHOUT ROWID;
    CREATE TABLE snapshots (slot INTEGER PRIMARY KEY, image BLOB NOT NULL);
    INSERT INTO meta VALUES ('done', 0);
";

/// Every answer that depends on a page: whole tables, in the order of each index.
pub const QUERIES: [&str; 7] = [
    "SELECT * FROM meta",
    "SELECT * FROM log ORDER BY position",
    "SELECT entity, position FROM log INDEXED BY log_by_entity ORDER BY entity, position",
    "SELECT * FROM ids ORDER BY hash, position",
    "SELECT * FROM snapshots ORDER BY slot",
    "SELECT count(*), max(position) FROM log",
    "SELECT position, data FROM log WHERE entity = 'entity-3'",
];

/// A database with its sums, made as a shard is: with a rollback journal at first, then in WAL mode.
pub fn create(path: &Path) -> Result<(Connection, Arc<Sums>)> {
    std::fs::write(path, "").expect("written");
    let sums = Sums::create(path)?;
    let connection = open_with_sums(path, WRITES, &sums)?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA; BEGIN; {SCHEMA} COMMIT;"
    ))?;
    set_up(&connection)?;
    Ok((connection, sums))
}

/// Opens it to write.
pub fn open(path: &Path) -> Result<(Connection, Arc<Sums>)> {
    let sums = Sums::open(path)?;
    let connection = open_with_sums(path, WRITES, &sums)?;
    set_up(&connection)?;
    Ok((connection, sums))
}

fn set_up(connection: &Connection) -> Result<()> {
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0;
         PRAGMA secure_delete = ON; PRAGMA cache_size = -200;",
    )?;
    Ok(())
}

/// One transaction, the one with that number: always the same changes.
pub fn change(connection: &Connection, n: i64) -> Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let done = (|| -> rusqlite::Result<()> {
        for i in 0..8 {
            let position = n * 8 + i;
            let data = format!(
                "{position}-{}",
                "x".repeat((position * 7919 % 700) as usize)
            );
            let entity = format!("entity-{}", position % 11);
            connection.execute(
                "INSERT INTO log VALUES (?1, ?2, ?3)",
                (position, entity, data),
            )?;
            connection.execute(
                "INSERT INTO ids VALUES (?1, ?2)",
                (position * 7919 % 10007, position),
            )?;
        }
        // Some of the images need pages of their own.
        let image = vec![n as u8; (n * 977 % 20_000) as usize];
        connection.execute(
            "INSERT OR REPLACE INTO snapshots VALUES (?1, ?2)",
            (n % 10, image),
        )?;
        connection.execute(
            "UPDATE log SET data = 'erased' WHERE position = ?1",
            [n * 3],
        )?;
        if n % 5 == 0 {
            connection.execute(
                "DELETE FROM log WHERE position BETWEEN ?1 AND ?2",
                [n * 4, n * 4 + 20],
            )?;
        }
        connection.execute("UPDATE meta SET value = ?1 WHERE name = 'done'", [n])?;
        connection.execute_batch("COMMIT")
    })();
    if done.is_err() && !connection.is_autocommit() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    Ok(done?)
}

/// How many of the changes it has.
pub fn done(connection: &Connection) -> Result<i64> {
    Ok(connection.query_row("SELECT value FROM meta", [], |row| row.get(0))?)
}

/// All rows that a query gives.
pub fn rows(connection: &Connection, query: &str) -> Result<Vec<Vec<Value>>> {
    let mut statement = connection.prepare(query)?;
    let columns = statement.column_count();
    let found = statement
        .query_map([], |row| (0..columns).map(|n| row.get(n)).collect())?
        .collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

/// What the database answers when nothing is wrong, after so many changes.
pub fn expected(changes: i64) -> Vec<Vec<Vec<Value>>> {
    let connection = Connection::open_in_memory().expect("opens");
    connection.execute_batch(SCHEMA).expect("creates");
    for n in 1..=changes {
        change(&connection, n).expect("changes");
    }
    let answers = QUERIES.iter().map(|query| rows(&connection, query));
    answers.collect::<Result<_>>().expect("answers")
}

/// SQLite's own check of everything.
pub fn check(connection: &Connection) -> Result<()> {
    let found = rows(connection, "PRAGMA integrity_check")?;
    assert_eq!(found, [[Value::Text("ok".into())]]);
    Ok(())
}

/// The files of a database, as they stand.
#[derive(Clone)]
pub struct Files {
    pub database: Vec<u8>,
    pub sums: Vec<u8>,
    pub wal: Vec<u8>,
}

impl Files {
    pub fn of(path: &Path) -> Self {
        Self {
            database: std::fs::read(path).expect("read"),
            sums: std::fs::read(sums_of(path)).expect("read"),
            wal: std::fs::read(wal_of(path)).unwrap_or_default(),
        }
    }

    pub fn put(&self, path: &Path) {
        let _ = std::fs::remove_file(path.with_extension("db-shm"));
        for (path, bytes) in [
            (path.to_owned(), &self.database),
            (sums_of(path), &self.sums),
            (wal_of(path), &self.wal),
        ] {
            std::fs::write(path, bytes).expect("written");
        }
    }
}

pub fn sums_of(path: &Path) -> PathBuf {
    path.with_extension("sums")
}

pub fn wal_of(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

/// Numbers that look random, the same for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit.max(1)
    }
}
