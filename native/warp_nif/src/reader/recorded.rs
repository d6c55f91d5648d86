//! Where in the log a time is.

use rusqlite::OptionalExtension;

use super::view::{Reader, applied};
use crate::error::Result;

impl Reader<'_> {
    /// The position of the last row that was recorded before `time`, in microseconds since 1970; 0 when
    /// there is none. Looks from the end, since times can go back.
    pub fn position_before(&self, time: i64) -> Result<i64> {
        let file = applied(self.connection())?;
        {
            let tail = self.shared().tail();
            let mut position = tail.position();
            while position > file {
                if tail.row(position).is_some_and(|row| row.recorded_at < time) {
                    return Ok(position);
                }
                position -= 1;
            }
        }
        let found = self
            .connection()
            .prepare_cached(
                "SELECT position FROM log WHERE recorded_at < ?1 AND typeof(entity) = 'text'
                 ORDER BY position DESC LIMIT 1",
            )?
            .query_row([time], |row| row.get(0))
            .optional()?;
        Ok(found.unwrap_or(0))
    }
}
