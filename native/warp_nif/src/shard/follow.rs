//! Following the log of a shard by position.

use super::erasing::Hidden;
use super::reader::Reader;
use super::rows::{self, Row};
use crate::error::{Error, Result};
use crate::event::RESERVED;

/// Whose rows a follower sees.
pub enum Followed {
    /// Those of all entities but Warp's own.
    Users,
    /// Those of entities whose ids begin so.
    Kind(String),
    /// All.
    All,
}

impl Followed {
    fn has(&self, entity: &str) -> bool {
        match self {
            Self::Users => !entity.starts_with(RESERVED),
            Self::Kind(prefix) => entity.starts_with(prefix.as_str()),
            Self::All => true,
        }
    }
}

/// A stretch of the log.
pub struct Stretch {
    /// Its rows of those that are followed, without such as are erased or being erased.
    pub rows: Vec<Row>,
    /// The position up to which the log was read.
    pub last: i64,
    /// Whether that is where the log ends.
    pub at_end: bool,
}

impl Reader<'_> {
    /// The log behind `position`, up to about so many bytes of all its rows: also where none of them is
    /// followed, a call reads no more.
    ///
    /// An error is one of the first row that cannot be read, with nothing before it.
    pub fn follow(&self, position: i64, max_bytes: usize, followed: &Followed) -> Result<Stretch> {
        let mut stretch = Stretch {
            rows: Vec::new(),
            last: position,
            at_end: true,
        };
        let hidden = Hidden::read(self.connection())?;
        let is_seen = |row: &Row| followed.has(&row.entity) && !hidden.has(row);
        let mut bytes = 0;
        let read = rows::each_after(self.connection(), position, |at, row, size| {
            stretch.last = at;
            bytes += size + 64;
            stretch.rows.extend(row.filter(is_seen));
            stretch.at_end = bytes < max_bytes;
            Ok(stretch.at_end)
        });
        match read {
            Ok(()) => Ok(stretch),
            Err(Error::Corrupt(_)) if stretch.last > position => {
                // The caller gets what stands before the broken row, and the error with its next call.
                stretch.at_end = false;
                Ok(stretch)
            }
            Err(error) => Err(error),
        }
    }
}
