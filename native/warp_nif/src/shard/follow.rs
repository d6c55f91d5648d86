//! Following the log of a shard by position.

use super::Reader;
use super::rows::{self, Row};
use crate::error::{Error, Result};

/// Entities whose ids begin so belong to Warp itself: who follows the log does not see them.
const RESERVED: &str = "$warp/";

/// A stretch of the log.
pub struct Stretch {
    /// Its rows, without erased and reserved ones.
    pub rows: Vec<Row>,
    /// The position up to which the log was read.
    pub last: i64,
    /// Whether that is where the log ends.
    pub at_end: bool,
}

impl Reader<'_> {
    /// The log behind `position`, up to about so many bytes.
    ///
    /// An error is one of the first row that cannot be read, with nothing before it.
    pub fn follow(&self, position: i64, max_bytes: usize) -> Result<Stretch> {
        let mut stretch = Stretch {
            rows: Vec::new(),
            last: position,
            at_end: true,
        };
        let mut bytes = 0;
        let read = rows::each_after(self.connection(), position, |at, row, size| {
            stretch.last = at;
            bytes += size + 64;
            stretch
                .rows
                .extend(row.filter(|row| !row.entity.starts_with(RESERVED)));
            stretch.at_end = bytes < max_bytes;
            Ok(stretch.at_end)
        });
        match read {
            Ok(()) => Ok(stretch),
            Err(Error::Corrupt(_)) if stretch.last > position => {
                // What is before the broken row comes first.
                stretch.at_end = false;
                Ok(stretch)
            }
            Err(error) => Err(error),
        }
    }
}
