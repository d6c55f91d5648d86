//! Rows of one life in few allocations: their texts stand in one buffer, those that do not change once.

use std::ops::Range;

use crate::journal::RowRef;
#[cfg(test)]
use crate::log::Row;

/// Rows, each with its checksum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowList {
    texts: String,
    rows: Vec<Kept>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    position: i64,
    seq: u64,
    count: u64,
    recorded_at: i64,
    prev: i64,
    checksum: i64,
    entity: Range<usize>,
    aggregate: Range<usize>,
    data: Range<usize>,
}

/// One of these rows.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    texts: &'a str,
    kept: &'a Kept,
}

impl<'a> Stored<'a> {
    /// The row, with its checksum.
    #[inline]
    pub fn row(&self) -> (RowRef<'a>, i64) {
        let text = |place: &Range<usize>| self.texts.get(place.clone()).unwrap_or_default();
        let row = RowRef {
            position: self.kept.position,
            entity: text(&self.kept.entity),
            aggregate: text(&self.kept.aggregate),
            seq: self.kept.seq,
            count: self.kept.count,
            recorded_at: self.kept.recorded_at,
            prev: self.kept.prev,
            data: text(&self.kept.data),
        };
        (row, self.kept.checksum)
    }
}

impl RowList {
    /// Has room for so many more rows, whose texts have about so many bytes.
    pub fn reserve(&mut self, rows: usize, bytes: usize) {
        self.rows.reserve(rows);
        self.texts.reserve(bytes);
    }

    /// Adds a row that has this checksum.
    pub fn push(&mut self, row: &RowRef<'_>, checksum: i64) {
        let last = self.rows.last();
        let entity = last.map(|last| last.entity.clone());
        let aggregate = last.map(|last| last.aggregate.clone());
        let entity = self.text(entity, row.entity);
        let aggregate = self.text(aggregate, row.aggregate);
        let data = self.text(None, row.data);
        self.rows.push(Kept {
            position: row.position,
            seq: row.seq,
            count: row.count,
            recorded_at: row.recorded_at,
            prev: row.prev,
            checksum,
            entity,
            aggregate,
            data,
        });
    }

    /// Where a text stands: at `place` already, or else at the end.
    fn text(&mut self, place: Option<Range<usize>>, text: &str) -> Range<usize> {
        match place {
            Some(place) if self.texts.get(place.clone()) == Some(text) => place,
            _ => {
                let start = self.texts.len();
                self.texts.push_str(text);
                start..self.texts.len()
            }
        }
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// How many bytes their texts take.
    pub fn bytes(&self) -> usize {
        self.texts.len()
    }

    /// One of them, with its checksum.
    pub fn get(&self, at: usize) -> Option<(RowRef<'_>, i64)> {
        self.stored(at).next().map(|stored| stored.row())
    }

    /// Those from this one on, in order.
    pub fn from(&self, at: usize) -> impl DoubleEndedIterator<Item = (RowRef<'_>, i64)> + Clone {
        self.stored(at).map(|stored| stored.row())
    }

    /// Those behind a position, each with its own, to be looked at later. They are in the order of positions.
    pub fn behind(&self, position: i64) -> impl Iterator<Item = (i64, Stored<'_>)> {
        let stored = self.stored(self.up_to(position));
        stored.map(|stored| (stored.kept.position, stored))
    }

    fn stored(&self, at: usize) -> impl DoubleEndedIterator<Item = Stored<'_>> + Clone {
        let texts = self.texts.as_str();
        let rows = self.rows.get(at..).unwrap_or_default();
        rows.iter().map(move |kept| Stored { texts, kept })
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (RowRef<'_>, i64)> + Clone {
        self.from(0)
    }

    /// How many of them stand at a position or before it. They are in the order of positions.
    pub fn up_to(&self, position: i64) -> usize {
        self.rows.partition_point(|row| row.position <= position)
    }

    /// Each by itself.
    #[cfg(test)]
    pub fn to_rows(&self) -> Vec<Row> {
        let owned = |(row, checksum): (RowRef<'_>, i64)| {
            assert_eq!(row.checksum(), checksum);
            Row {
                position: row.position,
                entity: row.entity.into(),
                aggregate: row.aggregate.into(),
                seq: row.seq,
                count: row.count,
                recorded_at: row.recorded_at,
                prev: row.prev,
                data: row.data.into(),
            }
        };
        self.iter().map(owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backup::testing::life;

    proptest! {
        #[test]
        fn rows_are_as_they_were_put_in(rows in life(1..9)) {
            let mut list = RowList::default();
            for row in &rows {
                list.push(&row.borrow(), row.borrow().checksum());
            }
            prop_assert_eq!(&list.to_rows(), &rows);
            prop_assert_eq!(list.len(), rows.len());
            for (at, row) in rows.iter().enumerate() {
                prop_assert_eq!(list.up_to(row.position), at + 1);
                prop_assert_eq!(list.get(at).map(|(found, _)| found), Some(row.borrow()));
            }
            prop_assert_eq!(list.get(rows.len()), None);
        }
    }
}
