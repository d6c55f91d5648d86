//! Writing behind: brings what finds an entity's rows up to date, in bulk and sorted.

use rusqlite::Connection;

use super::tail::Tail;
use super::{entities, open_table, rows, schema};
use crate::error::{Error, Result};
use crate::hash::hash64;

/// Writes the tail, up to and including `position`, in one transaction.
///
/// Sorted, so that each page of the index is changed once. When it fails the tail stays as it
/// is, in memory and in the log.
///
/// Error: `Corrupt` when the log does not end there, which only another program can have brought about.
///
/// # Panics
///
/// When the tail knows of rows behind `position`.
pub fn flush(connection: &Connection, tail: &Tail, position: i64) -> Result<()> {
    let mut changed: Vec<_> = tail
        .dirty()
        .map(|(entity, active)| (hash64(entity.as_bytes()).cast_signed(), active))
        .collect();
    changed.sort_unstable_by_key(|(hash, active)| (*hash, active.info.incarnation));
    let mut marks: Vec<_> = changed
        .iter()
        .flat_map(|(_, active)| {
            let incarnation = active.info.incarnation;
            active
                .marks
                .iter()
                .map(move |(seq, at)| (incarnation, *seq, *at))
        })
        .collect();
    marks.sort_unstable();
    let mut ids: Vec<_> = tail
        .ids()
        .map(|(incarnation, hash, at)| (incarnation, hash.cast_signed(), at))
        .collect();
    ids.sort_unstable();

    let transaction = connection.unchecked_transaction()?;
    let last = rows::last_position(connection)?;
    if last != position {
        let what =
            format!("the log ends at position {last}, and {position} was the last one given");
        return Err(Error::corrupt(what));
    }
    for (hash, active) in changed {
        let head = active.info.head;
        assert!(
            head <= position,
            "a row at {head} in a log that ends at {position}"
        );
        entities::upsert(connection, hash.cast_unsigned(), &active.info)?;
    }
    {
        let mut insert = connection
            .prepare_cached("INSERT INTO marks (incarnation, seq, position) VALUES (?1, ?2, ?3)")?;
        for (incarnation, seq, at) in marks {
            insert.execute((incarnation, seq.cast_signed(), at))?;
        }
        let mut insert = connection.prepare_cached(
            "INSERT OR IGNORE INTO ids (incarnation, hash, position) VALUES (?1, ?2, ?3)",
        )?;
        for id in ids {
            insert.execute(id)?;
        }
    }
    open_table::flush(connection, tail.changes())?;
    schema::set_meta(connection, "flushed", position)?;
    transaction.commit()?;
    Ok(())
}
