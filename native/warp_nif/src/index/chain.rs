//! Walking an entity's rows: each names the one before it.

use std::ops::ControlFlow;

use crate::error::Result;
use crate::index::entities::{self, EntityInfo, Mark};
use crate::log::rows::{self, Log, Row};

/// A row to walk back from in order to reach `seq`: it, or one not far behind it.
pub fn entry(log: &impl Log, info: &EntityInfo, marks: &[Mark], seq: u64) -> Result<i64> {
    if seq > info.seq {
        return Ok(info.head);
    }
    if let Some(position) = entities::mark_from(log.file(), info.incarnation, seq)? {
        return Ok(position);
    }
    let in_memory = marks.iter().find(|(first, _)| *first >= seq);
    Ok(in_memory.map_or(info.head, |(_, position)| *position))
}

/// The entity's row at `position`.
pub fn link(log: &impl Log, entity: &str, position: i64) -> Result<Row> {
    log.at(position)?
        .filter(|row| row.entity == entity)
        .ok_or_else(|| rows::broken(position, "not of its entity"))
}

/// Calls `each` with this row and those before it, back to the entity's first, until it breaks.
pub fn walk_back(
    log: &impl Log,
    entity: &str,
    mut row: Row,
    mut each: impl FnMut(Row) -> ControlFlow<()>,
) -> Result<()> {
    loop {
        let (prev, seq) = (row.prev, row.seq);
        if each(row).is_break() || prev == 0 {
            return Ok(());
        }
        row = link(log, entity, prev)?;
        if row.last_seq() + 1 != seq {
            return Err(rows::broken(prev, "out of sequence"));
        }
    }
}

/// The row that holds the event with that seq.
pub fn row_of(
    log: &impl Log,
    entity: &str,
    info: &EntityInfo,
    marks: &[Mark],
    seq: u64,
) -> Result<Option<Row>> {
    let mut found = None;
    let position = entry(log, info, marks, seq)?;
    let row = link(log, entity, position)?;
    walk_back(log, entity, row, |row| {
        if row.seq > seq {
            return ControlFlow::Continue(());
        }
        found = (row.last_seq() >= seq).then_some(row);
        ControlFlow::Break(())
    })?;
    Ok(found)
}
