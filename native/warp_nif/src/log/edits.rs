//! What has become of rows that a backup may have: which lives were erased, and which rows were changed. A backup reads
//! them by position, as it reads rows.
//!
//! There are none of rows for which no keys were made: no backup has them, and the next one finds them as they are then.

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;

use super::keys;
use crate::error::{Error, Result};

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The life that began at the position `of` was erased.
    Erased = 1,
    /// The row at the position `of` was changed: payloads were cleared, or its time was corrected.
    Changed = 2,
}

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The position that it took in the log.
    pub position: i64,
    /// What it was.
    pub what: What,
    /// The position of what it became of.
    pub of: i64,
    /// When it was brought into the file: microseconds since 1970.
    pub at: i64,
}

/// Notes an edit at this position, in the transaction under way, if a backup may have what it is of. Whether it may.
pub fn note(connection: &Connection, position: i64, what: What, of: i64) -> Result<bool> {
    let is_kept = keys::cover(connection, of)?;
    if is_kept {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let at = since.map_or(0, |since| since.as_micros());
        connection
            .prepare_cached("INSERT INTO edits (position, of, what, at) VALUES (?1, ?2, ?3, ?4)")?
            .execute((
                position,
                of,
                what as i64,
                i64::try_from(at).unwrap_or(i64::MAX),
            ))?;
    }
    Ok(is_kept)
}

/// Calls `each` with the edits behind one position up to another, in order. Error: `Corrupt`, when one is none.
pub fn between(
    connection: &Connection,
    range: (i64, i64),
    mut each: impl FnMut(Edit) -> Result<()>,
) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT position, of, what, at FROM edits WHERE position > ?1 AND position <= ?2 ORDER BY position, of",
    )?;
    let mut found = statement.query(range)?;
    while let Some(row) = found.next()? {
        let position = row.get(0)?;
        let what = match row.get_ref(2)?.as_i64() {
            Ok(1) => What::Erased,
            Ok(2) => What::Changed,
            _ => return Err(broken(position, "of no kind that there is")),
        };
        each(Edit {
            position,
            what,
            of: row.get(1)?,
            at: row.get(3)?,
        })?;
    }
    Ok(())
}

/// An edit that is not what it has to be.
pub fn broken(position: i64, what: &str) -> Error {
    Error::corrupt(format!("the edit at position {position}: {what}"))
}
