//! What is left of entities that nobody finds any more: erasing it piece by piece.

use std::collections::VecDeque;

use rusqlite::Connection;

use crate::erase::erasing::{self, Remainder};
use crate::error::Result;
use crate::sqlite::in_transaction;

/// What is still to be erased of a shard.
pub struct Pieces {
    /// The next first.
    left: VecDeque<Remainder>,
}

impl Pieces {
    /// What the file says is left.
    pub fn of(connection: &Connection) -> Result<Self> {
        let left = erasing::left(connection)?.into();
        Ok(Self { left })
    }

    /// Adds what is left of entities whose erasure has begun.
    pub fn add(&mut self, begun: Vec<Remainder>) {
        self.left.extend(begun);
    }

    /// Whether nothing is left.
    pub fn are_done(&self) -> bool {
        self.left.is_empty()
    }

    /// Whose turn is next: the hash of the entity's id.
    pub fn next(&self) -> Option<i64> {
        self.left.front().map(|left| left.hash)
    }

    /// Whether something is left of an entity whose id has this hash.
    pub fn are_of(&self, hash: i64) -> bool {
        self.left.iter().any(|left| left.hash == hash)
    }

    /// Erases the next one, in a transaction: the positions whose records in the journal are to be blanked.
    /// On an error nothing of it was kept, and the next entity's turn comes first.
    pub fn erase_next(&mut self, connection: &Connection) -> Result<Vec<i64>> {
        let mut blank = Vec::new();
        let Some(left) = self.left.pop_front() else {
            return Ok(blank);
        };
        let erased = in_transaction(connection, || {
            let rest = erasing::go_on(connection, &left, &mut blank)?;
            #[cfg(feature = "fault")]
            crate::fault::at_commit()?;
            Ok(rest)
        });
        match erased {
            Ok(rest) => {
                #[cfg(feature = "fault")]
                crate::fault::after_commit();
                if let Some(rest) = rest {
                    self.left.push_front(rest);
                }
                Ok(blank)
            }
            Err(error) => {
                self.left.push_back(left);
                Err(error)
            }
        }
    }
}
