//! What the index is told of a row that was found in a file or in the journal.

use std::sync::Arc;

use crate::error::Result;
use crate::event::{Packed, derived_seq, parse_row};
use crate::hash::{distinct, hash64};
use crate::index::entities::EntityInfo;
use crate::log::kinds::Kinds;
use crate::log::row::{Row, broken};
use crate::tail::stretch::TailRow;

/// A row with what the index is told of it. Error: `Corrupt` when it does not follow on `before`.
pub fn found_row(row: Row, before: Option<&EntityInfo>, kinds: &Kinds) -> Result<TailRow> {
    let ends_at = before.map_or((0, 0), |info| (info.seq, info.head));
    if (row.seq.wrapping_sub(1), row.prev) != ends_at {
        return Err(broken(row.position, "out of sequence"));
    }
    let (ids, count) = given_ids(&row)?;
    let checksum = row.borrow().checksum();
    Ok(TailRow {
        open: kinds.leaves_open(&row.entity, &row.aggregate),
        info: EntityInfo::advance(before, row.position, row.count),
        entity: row.entity.into(),
        seq: row.seq,
        count: row.count,
        recorded_at: row.recorded_at,
        prev: row.prev,
        checksum,
        ids,
        packed: Arc::new(Packed::new(
            row.aggregate.into(),
            row.data,
            count,
            Vec::new(),
        )),
    })
}

/// The hashes of the ids of a row's events that the index has, each once, and how many events there are.
pub fn given_ids(row: &Row) -> Result<(Vec<u64>, usize)> {
    let events = parse_row(&row.data)?;
    let ids = events
        .iter()
        .filter_map(|event| event.id.as_deref())
        .filter(|id| derived_seq(&row.entity, id).is_none())
        .map(|id| hash64(id.as_bytes()));
    Ok((distinct(ids), events.len()))
}
