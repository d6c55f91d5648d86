//! Where in the log a time is.

use rusqlite::OptionalExtension;

use super::view::{Reader, applied};
use crate::error::Result;
use crate::event::imported_at;
use crate::log::rows::Row;

fn is_before(row: &Row, time: i64) -> bool {
    row.recorded_at < time && imported_at(&row.data).is_none_or(|at| at < time)
}

impl Reader<'_> {
    /// The position of the last row that was recorded before `time`, in microseconds since 1970; 0 when
    /// there is none. Looks from the end, since times can go back. What was put back counts as recorded when that was
    /// done: it stands behind what was recorded until then.
    pub fn position_before(&self, time: i64) -> Result<i64> {
        let file = applied(self.connection())?;
        {
            let tail = self.shared().tail();
            let mut position = tail.position();
            while position > file {
                if tail.row(position).is_some_and(|row| is_before(&row, time)) {
                    return Ok(position);
                }
                position -= 1;
            }
        }
        let found = self
            .connection()
            .prepare_cached(
                "SELECT position FROM log WHERE recorded_at < ?1 AND typeof(entity) = 'text'
                 AND NOT (substr(data, 1, 13) = '[{\"imported\":'
                          AND CAST(substr(data, 14, 20) AS INTEGER) >= ?1)
                 ORDER BY position DESC LIMIT 1",
            )?
            .query_row([time], |row| row.get(0))
            .optional()?;
        Ok(found.unwrap_or(0))
    }
}
