//! Which run wrote a row.

use super::view::{Reader, applied};
use crate::error::Result;
use crate::log::runs;

impl Reader<'_> {
    /// The run that wrote the row at `position`; 0 for rows that are older than runs, and for the
    /// beginning of the log. `None` when the log ends before that position.
    pub fn run_of(&self, position: i64) -> Result<Option<i64>> {
        if position > applied(self.connection())? {
            let tail = self.shared().tail();
            return Ok((position <= tail.position()).then(|| tail.run()));
        }
        runs::at(self.connection(), position).map(Some)
    }
}
