//! The write-ahead log of a file.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::error::Result;
use crate::files::{Watch, beside};

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

/// Before the last connection to the file at `path` closes: has it leave a WAL alone that another
/// program has put there. SQLite would otherwise move it into the file, and remove it.
pub fn spare_foreign_wal(connection: &Connection, watch: &Watch, path: &Path) {
    if !watch.is_ours_or_gone(&beside(path, "-wal")) {
        // It cannot fail: the setting is known.
        let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }
}
