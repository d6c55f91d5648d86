//! Which opening of the file wrote a row, so that whoever follows the log can tell when history
//! forked: an older copy of the file that was put back and written on has other runs.
//!
//! A run is a random number that a writer draws when it writes its first row, in the transaction
//! of that row. A writer that writes no row leaves no run.

use rusqlite::{Connection, OptionalExtension};

use super::reader::Reader;
use super::rows;
use crate::error::Result;

/// Notes that a new run begins with the row at `first_position`, in the transaction under way.
pub fn begin(connection: &Connection, first_position: i64) -> Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO runs (first_position, run)
         VALUES (?1, 1 + (random() & 9223372036854775806))",
        [first_position],
    )?;
    Ok(())
}

impl Reader<'_> {
    /// The run that wrote the row at `position`; 0 for rows that are older than runs, and for the
    /// beginning of the log. `None` when the log ends before that position.
    pub fn run_of(&self, position: i64) -> Result<Option<i64>> {
        if position > rows::last_position(self.connection())? {
            return Ok(None);
        }
        let found = self
            .connection()
            .prepare_cached(
                "SELECT run FROM runs WHERE first_position <= ?1
                 ORDER BY first_position DESC LIMIT 1",
            )?
            .query_row([position], |row| row.get(0))
            .optional()?;
        Ok(Some(found.unwrap_or(0)))
    }
}
