//! What the index is told of a row that was found in a file or in the journal.

use std::sync::Arc;

use crate::error::Result;
use crate::event::{Packed, derived_seq, other_aggregates, parse_row};
use crate::hash::{distinct, hash64};
use crate::index::entities::EntityInfo;
use crate::journal::RowRef;
use crate::log::kinds::Kinds;
use crate::log::row::{Row, broken};
use crate::tail::stretch::TailRow;

/// A row with what the index is told of it. Error: `Corrupt` when it does not follow on `before`.
pub fn found_row(row: Row, before: Option<&EntityInfo>, kinds: &Kinds) -> Result<TailRow> {
    let ends_at = before.map_or((0, 0), |info| (info.seq, info.head));
    if (row.seq.wrapping_sub(1), row.prev) != ends_at {
        return Err(broken(row.position, "out of sequence"));
    }
    let events = Events::of(&row.borrow())?;
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
        ids: events.ids,
        packed: Arc::new(
            Packed::new(row.aggregate.into(), row.data, events.count, Vec::new())
                .with_others(events.others),
        ),
    })
}

/// What the index is told of a row's events.
pub struct Events {
    /// How many there are.
    pub count: usize,
    /// The hashes of their ids that the index has, each once.
    pub ids: Vec<u64>,
    /// The aggregates of those that have another one than the row, each once.
    pub others: Vec<Arc<str>>,
}

impl Events {
    /// Those of a row that Warp has written and whose checksum fits, if one of them may have an id or an aggregate of
    /// its own: most have none, and need not be read for that. Error: `Corrupt`, likewise.
    pub fn named(row: &RowRef<'_>) -> Result<Option<Self>> {
        let may_name = row.data.contains(r#""id""#) || row.data.contains(r#""aggregate""#);
        may_name.then(|| Self::of(row)).transpose()
    }

    /// The aggregates of all of them, that of their row first.
    pub fn aggregates<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = &'a str> {
        let others = self.others.iter().map(AsRef::as_ref);
        std::iter::once(row.aggregate.as_str()).chain(others)
    }

    /// Those of a row. Error: `Corrupt` when they are not what Warp writes.
    pub fn of(row: &RowRef<'_>) -> Result<Self> {
        let events = parse_row(row.data)?;
        let ids = events
            .iter()
            .filter_map(|event| event.id.as_deref())
            .filter(|id| derived_seq(row.entity, id).is_none())
            .map(|id| hash64(id.as_bytes()));
        Ok(Self {
            ids: distinct(ids),
            count: events.len(),
            others: other_aggregates(&events),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_that_name_something_are_read() {
        let named = |data: &str| {
            let row = crate::log::row::testing::row(data);
            let all = Events::of(&row.borrow()).expect("read");
            let found = Events::named(&row.borrow()).expect("read");
            let told = |of: &Events| (of.ids.clone(), of.others.clone());
            let none = (Vec::new(), Vec::new());
            assert_eq!(found.as_ref().map_or(none, told), told(&all), "{data}");
            found.is_some()
        };
        assert!(!named(
            r#"[{"type":"T","payload":{"a":"idle"}},{"type":"T","schema_vsn":2,"payload":{}}]"#
        ));
        assert!(named(
            r#"[{"type":"T","payload":{}},{"type":"T","id":"x","payload":{}}]"#
        ));
        assert!(named(
            r#"[{"type":"T","payload":{}},{"type":"T","aggregate":"B","payload":{}}]"#
        ));
        assert!(named(r#"[{"type":"T","payload":{"id":1}}]"#));
        assert!(named(r#"[{"type":"T","id":"e#1","payload":{}}]"#));
        assert!(Events::named(&crate::log::row::testing::row(r#"[{"id"}]"#).borrow()).is_err());
    }
}
