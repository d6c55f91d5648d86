//! Following the log of a shard by position.

use crate::erase::erasing::Hidden;
use crate::error::{Error, Result};
use crate::event::RESERVED;
use crate::journal::RowRef;
use crate::log::rows::{self, Row};
use crate::reader::view::{Reader, applied};

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

/// A part of the log, as a follower sees it.
pub struct Seen {
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
    pub fn follow(&self, position: i64, max_bytes: usize, followed: &Followed) -> Result<Seen> {
        let mut stretch = Seen {
            rows: Vec::new(),
            last: position,
            at_end: true,
        };
        // NOTE: memory first, so that nothing erased is seen that was erased before this call.
        let erased = self.shared().tail().erased();
        let is_gone = |row: &RowRef<'_>| {
            let mut of_row = erased
                .iter()
                .filter(|(entity, _)| entity.as_ref() == row.entity);
            of_row.any(|(_, at)| *at > row.position)
        };
        let hidden = Hidden::read(self.connection())?;
        let is_seen =
            |row: &RowRef<'_>| followed.has(row.entity) && !hidden.has(row) && !is_gone(row);
        let mut bytes = 0;
        let read = rows::each_after(self.connection(), position, |at, row, size| {
            let row = row?;
            stretch.last = at;
            bytes += size + 64;
            stretch.rows.extend(row.filter(is_seen).map(Row::from));
            stretch.at_end = bytes < max_bytes;
            Ok(stretch.at_end)
        });
        match read {
            Ok(()) => {}
            Err(Error::Corrupt(_)) if stretch.last > position => {
                // The caller gets what stands before the broken row, and the error with its next call.
                stretch.at_end = false;
            }
            Err(error) => return Err(error),
        }
        if stretch.at_end {
            // What is no row takes a position as well.
            stretch.last = stretch.last.max(applied(self.connection())?);
            let tail = self.shared().tail();
            while stretch.at_end && stretch.last < tail.position() {
                let next = stretch.last + 1;
                if !tail.has(next) {
                    // It went into the file meanwhile, and this view does not have it.
                    stretch.at_end = false;
                    break;
                }
                stretch.last = next;
                if let Some(row) = tail.row(next) {
                    bytes += row.data.len() + 64;
                    stretch
                        .rows
                        .extend(Some(row).filter(|row| is_seen(&row.borrow())));
                }
                stretch.at_end = bytes < max_bytes;
            }
        }
        Ok(stretch)
    }
}
