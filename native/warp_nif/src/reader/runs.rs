//! Which run wrote a row.

use rusqlite::OptionalExtension;

use super::view::{Reader, applied};
use crate::error::Result;

impl Reader<'_> {
    /// The run that wrote the row at `position`; 0 for rows that are older than runs, and for the
    /// beginning of the log. `None` when the log ends before that position.
    pub fn run_of(&self, position: i64) -> Result<Option<i64>> {
        if position > applied(self.connection())? {
            let tail = self.shared().tail();
            return Ok((position <= tail.position()).then(|| tail.run()));
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
