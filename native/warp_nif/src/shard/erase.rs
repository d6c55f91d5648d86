//! Erasing an entity: from the log, from what finds it, and from the bytes of the files.

use std::time::Duration;

use rusqlite::Connection;

use super::entities::EntityInfo;
use super::{chain, rows, schema, snapshots};
use crate::error::{Error, Result};
use crate::hash::hash64;

/// Erases everything of an entity, in the transaction under way.
pub fn erase(connection: &Connection, entity: &str, info: &EntityInfo) -> Result<()> {
    let mut bytes = 0;
    let mut position = info.head;
    while position != 0 {
        let row = chain::link(connection, entity, position)?;
        rows::erase(connection, position)?;
        bytes += row.data.len() + row.entity.len();
        position = row.prev;
    }
    let incarnation = info.incarnation;
    snapshots::erase(connection, incarnation)?;
    for sql in [
        "DELETE FROM marks WHERE incarnation = ?1",
        "DELETE FROM ids WHERE incarnation = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([incarnation])?;
    }
    connection
        .prepare_cached("DELETE FROM entities WHERE hash = ?1 AND incarnation = ?2")?
        .execute((hash64(entity.as_bytes()).cast_signed(), incarnation))?;
    let before: i64 = schema::meta(connection, "erased_bytes")?;
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    schema::set_meta(connection, "erased_bytes", before.saturating_add(bytes))?;
    Ok(())
}

/// Moves everything out of the WAL and empties it, waiting up to `patience` for readers.
///
/// Error: `Io` when another program is reading the file and does not stop for that long.
pub fn empty_wal(connection: &Connection, patience: Duration) -> Result<()> {
    connection.busy_timeout(patience)?;
    let busy: rusqlite::Result<i64> =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
    connection.busy_timeout(schema::BUSY)?;
    if busy? == 0 {
        return Ok(());
    }
    Err(Error::Io(
        "erased, but old bytes are still in the write-ahead log: another program is reading the \
         file; delete again when it has finished"
            .into(),
    ))
}
