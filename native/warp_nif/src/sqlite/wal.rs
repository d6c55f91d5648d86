//! The write-ahead log of a file.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::error::Result;
use crate::files::{Watch, beside};

/// How long a connection waits for another program's lock on the file: not for long, since the other shards
/// wait as well.
pub const BUSY: Duration = Duration::from_millis(250);

/// Moves the WAL into the file, in one of SQLite's modes: `PASSIVE`, `RESTART`, `TRUNCATE`. Whether it
/// could be done; not when something read the file for as long as the busy timeout.
pub fn checkpoint(connection: &Connection, mode: &str) -> Result<bool> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    let busy: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
    Ok(busy == 0)
}

/// Moves as much of the WAL into the file, synced, as can be moved beside reads. Whether that was all.
pub fn checkpoint_all(connection: &Connection) -> Result<bool> {
    let moved = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        let (busy, pages, moved): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(busy == 0 && pages == moved)
    })?;
    Ok(moved)
}

/// Moves everything out of the WAL and empties it, waiting up to `patience` for readers.
///
/// Error: `Io` when another program is reading the file and does not stop for that long.
pub fn empty_wal(connection: &Connection, patience: Duration) -> Result<()> {
    connection.busy_timeout(patience)?;
    let emptied = checkpoint(connection, "TRUNCATE");
    connection.busy_timeout(BUSY)?;
    if emptied? {
        return Ok(());
    }
    Err(crate::error::Error::Io(
        "the write-ahead log cannot be emptied: another program is reading the file".into(),
    ))
}

/// Before the last connection to the file at `path` closes: has it leave a WAL alone that another
/// program has put there. SQLite would otherwise move it into the file, and remove it.
pub fn spare_foreign_wal(connection: &Connection, watch: &Watch, path: &Path) {
    if !watch.is_ours_or_gone(&beside(path, "-wal")) {
        // It cannot fail: the setting is known.
        let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }
}
