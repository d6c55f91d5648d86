//! Reading which entities of a kind are open.
//!
//! There can be many, so they are read in pieces, between which the view of the file is given up: one
//! that stays for long makes the WAL grow.

use crate::error::{Error, Result};
use crate::index::open_table;
use crate::log::rows::Log;
use crate::reader::page::{PAGE_BYTES, PIECE_ROWS};
use crate::reader::view::with_reader;
use crate::shard::shared::Shared;

/// The entities of a kind that are not closed.
#[derive(Default)]
pub struct OpenEntities {
    /// Their ids.
    pub ids: Vec<String>,
    /// What is wrong with open entities whose first row cannot be read. Of which kind they are is
    /// not known: they are among the answer for every kind.
    pub broken: Vec<String>,
}

/// The open entities whose ids begin with `prefix`. Error: `Internal` when the shard was opened
/// without that kind.
pub fn open_entities(shared: &Shared, prefix: &str) -> Result<OpenEntities> {
    shared.kinds.check(prefix)?;
    let first_rows: Vec<i64> = with_reader(shared, |reader| {
        let changes = shared.tail().changes();
        let open = open_table::read(reader.connection(), &changes.concat())?;
        Ok(open.into_iter().collect())
    })?;
    let mut found = OpenEntities::default();
    let mut left = first_rows.into_iter().peekable();
    while left.peek().is_some() {
        with_reader(shared, |reader| {
            let mut bytes = 0;
            for _ in 0..PIECE_ROWS {
                let Some(incarnation) = left.peek().copied() else {
                    break;
                };
                let row = reader.at(incarnation);
                if matches!(row, Err(Error::Stale)) {
                    return Err(Error::Stale);
                }
                left.next();
                match row {
                    Ok(Some(row)) => {
                        bytes += row.data.len();
                        if row.entity.starts_with(prefix) {
                            found.ids.push(row.entity);
                        }
                    }
                    Ok(None) => found
                        .broken
                        .push(format!("log row at position {incarnation}: erased")),
                    // A damaged row does not keep the caller from the other entities.
                    Err(Error::Corrupt(what)) => found.broken.push(what.text().to_owned()),
                    Err(error) => return Err(error),
                }
                if bytes > PAGE_BYTES {
                    break;
                }
            }
            Ok(())
        })?;
    }
    Ok(found)
}
