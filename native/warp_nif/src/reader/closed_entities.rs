//! Reading which entities of a kind are closed for long.

use crate::error::{Error, Result};
use crate::index::{entities, open_table};
use crate::log::rows;
use crate::reader::page::PIECE_ROWS;
use crate::reader::view::Reader;

/// Some of the closed entities of a kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClosedEntities {
    /// Their ids, with the seqs of their last events.
    pub found: Vec<(String, u64)>,
    /// From where to go on; none when all were looked at.
    pub next: Option<i64>,
}

impl Reader<'_> {
    /// The closed entities of the kind with that prefix whose last row is older than `before`, in microseconds since
    /// 1970, in the order in which they began, behind the one that `after` says: so many at most, and as many as
    /// one piece of a long read has. Only of what is in the file.
    ///
    /// One whose rows cannot be read is left out. Errors: `Internal` when the shard was opened without that kind;
    /// those of reading.
    pub fn closed_entities(
        &self,
        prefix: &str,
        before: i64,
        after: i64,
        limit: usize,
    ) -> Result<ClosedEntities> {
        self.shared().kinds.check(prefix)?;
        let file = self.connection();
        let closed = open_table::closed(file, after, PIECE_ROWS)?;
        let is_last_piece = closed.len() < PIECE_ROWS;
        let mut entities = ClosedEntities::default();
        for incarnation in closed {
            if entities.found.len() == limit {
                return Ok(entities);
            }
            entities.next = Some(incarnation);
            let first = match rows::at(file, incarnation) {
                Ok(Some(first)) if first.entity.starts_with(prefix) => first,
                Ok(_) | Err(Error::Corrupt(_)) => continue,
                Err(error) => return Err(error),
            };
            // Those that began later have ended later too.
            if first.recorded_at >= before {
                entities.next = None;
                return Ok(entities);
            }
            match entities::find(file, &first.entity) {
                Ok(Some((info, head))) if head.recorded_at < before => {
                    entities.found.push((first.entity, info.seq));
                }
                Ok(_) | Err(Error::Corrupt(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if is_last_piece {
            entities.next = None;
        }
        Ok(entities)
    }
}
