//! Overwriting rows where they stand: erasing them, and changing what they say.
//!
//! NOTE: every column keeps its size, so SQLite overwrites the row where it stands. Deleting it
//! could make SQLite move neighbouring rows between pages, and the bytes that a move leaves
//! behind are not covered by `secure_delete`.

use rusqlite::Connection;

use super::row::{ERASED, Row, takes_time};
use crate::error::Result;
use crate::journal::RowRef;

/// Overwrites a row in place with as many zeros. The row itself stays, as a gap in the log.
pub fn erase(connection: &Connection, position: i64) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE log SET entity = zeroblob(octet_length(entity)),
                            aggregate = zeroblob(octet_length(aggregate)),
                            data = zeroblob(octet_length(data)),
                            recorded_at = iif(recorded_at < 1 << 47, recorded_at, ?2),
                            checksum = ?2
             WHERE position = ?1",
        )?
        .execute((position, ERASED))?;
    Ok(())
}

/// Overwrites a row's data with as many other bytes, where it stands, and renews its checksum.
pub fn data(connection: &Connection, row: &Row, data: &str) -> Result<()> {
    let changed = RowRef {
        data,
        ..row.borrow()
    };
    connection
        .prepare_cached("UPDATE log SET data = ?2, checksum = ?3 WHERE position = ?1")?
        .execute((row.position, data, changed.checksum()))?;
    Ok(())
}

/// Writes a row with this checksum, as it stands elsewhere, in the place of the one at its position, if that is not erased.
pub fn row(connection: &Connection, row: &RowRef<'_>, checksum: i64) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE log SET recorded_at = ?2, data = ?3, checksum = ?4
             WHERE position = ?1 AND checksum <> ?5",
        )?
        .execute((row.position, row.recorded_at, row.data, checksum, ERASED))?;
    Ok(())
}

/// Deletes erased rows, but for one in last position: a position is never given twice.
pub fn delete_erased(connection: &Connection) -> Result<()> {
    connection.execute(
        "DELETE FROM log WHERE checksum = ?1 AND entity = zeroblob(octet_length(entity))
                           AND aggregate = zeroblob(octet_length(aggregate))
                           AND data = zeroblob(octet_length(data))
                           AND position < (SELECT max(position) FROM log)",
        [ERASED],
    )?;
    Ok(())
}

/// Overwrites a row's time where it stands, and renews its checksum, if it `takes_time`.
pub fn time(connection: &Connection, row: &Row, recorded_at: i64) -> Result<()> {
    if !takes_time(row, recorded_at) {
        return Ok(());
    }
    let changed = RowRef {
        recorded_at,
        ..row.borrow()
    };
    connection
        .prepare_cached("UPDATE log SET recorded_at = ?2, checksum = ?3 WHERE position = ?1")?
        .execute((row.position, recorded_at, changed.checksum()))?;
    Ok(())
}
