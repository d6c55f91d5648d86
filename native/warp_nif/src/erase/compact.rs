//! Giving back the room of what was erased, when a shard is opened.

use std::time::Duration;

use rusqlite::Connection;

use crate::error::Result;
use crate::log::keys;
use crate::log::overwrite;
use crate::log::schema;

/// Less is not worth rewriting a file for.
const MIN_ERASED_BYTES: i64 = 1024 * 1024;

/// Rewrites the file when more than half of it was erased.
///
/// VACUUM writes every page anew, so no byte of what a page held before survives in the file.
/// The last row stays even when it was erased: positions must never be given twice.
pub fn compact_if_worth(connection: &Connection) -> Result<()> {
    let erased: i64 = schema::meta(connection, "erased_bytes")?;
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    let page: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    if erased < MIN_ERASED_BYTES || erased < pages * page / 2 {
        return Ok(());
    }
    let rewritten = rewrite(connection);
    if rewritten.is_err() {
        // What it wrote before it failed takes room that others need now. The error to tell is
        // the first one.
        let _ = connection.execute_batch("PRAGMA temp_store = MEMORY");
        let _ = crate::sqlite::empty_wal(connection, Duration::ZERO);
    }
    rewritten
}

fn rewrite(connection: &Connection) -> Result<()> {
    // A file in place of memory: what is rewritten can be larger than memory.
    connection.execute_batch("PRAGMA temp_store = FILE")?;
    overwrite::delete_erased(connection)?;
    keys::delete_erased(connection)?;
    // The less stands in the WAL, the less room VACUUM needs.
    crate::sqlite::empty_wal(connection, crate::sqlite::BUSY)?;
    connection.execute_batch("VACUUM; PRAGMA temp_store = MEMORY")?;
    // Only now: after a crash before this, deleting and rewriting is done once more.
    schema::set_meta(connection, "erased_bytes", 0)?;
    crate::sqlite::empty_wal(connection, crate::sqlite::BUSY)
}
