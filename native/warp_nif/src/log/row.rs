//! One row of the log: what it must not contradict, and what keeps its size. Pure.

use crate::error::Error;
use crate::journal::RowRef;

/// What an erased row holds in place of its time and checksum.
pub const ERASED: i64 = 1 << 62;
/// Times that SQLite stores in eight bytes.
const EIGHT_BYTES: std::ops::Range<i64> = 1 << 47..ERASED;

/// One append as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where in the log; only grows.
    pub position: i64,
    /// The id of its entity.
    pub entity: String,
    /// The aggregate of events that name none.
    pub aggregate: String,
    /// The seq of its first event.
    pub seq: u64,
    /// How many events.
    pub count: u64,
    /// Microseconds since 1970, UTC.
    pub recorded_at: i64,
    /// The position of the entity's previous row; 0 for its first.
    pub prev: i64,
    /// A JSON array of `count` events.
    pub data: String,
}

impl From<RowRef<'_>> for Row {
    fn from(row: RowRef<'_>) -> Self {
        Self {
            position: row.position,
            entity: row.entity.into(),
            aggregate: row.aggregate.into(),
            seq: row.seq,
            count: row.count,
            recorded_at: row.recorded_at,
            prev: row.prev,
            data: row.data.into(),
        }
    }
}

impl Row {
    /// The seq of its last event.
    pub fn last_seq(&self) -> u64 {
        self.seq + self.count - 1
    }

    /// The row, borrowed.
    pub fn borrow(&self) -> RowRef<'_> {
        RowRef {
            position: self.position,
            entity: &self.entity,
            aggregate: &self.aggregate,
            seq: self.seq,
            count: self.count,
            recorded_at: self.recorded_at,
            prev: self.prev,
            data: &self.data,
        }
    }
}

/// What is wrong with a row in itself. It is looked at before a row is written, and when it is read.
pub fn contradiction(row: &RowRef<'_>) -> Option<&'static str> {
    if row.count == 0 || row.seq == 0 || row.seq.checked_add(row.count).is_none() {
        Some("its events are not numbered")
    } else if row.prev < 0 || row.prev >= row.position {
        Some("its previous row is not before it")
    } else if (row.prev == 0) != (row.seq == 1) {
        Some("its entity's log begins elsewhere")
    } else {
        None
    }
}

/// Asserts that reading the row would not find it broken.
///
/// # Panics
///
/// When it would: then it must not be written.
pub fn assert_sound(row: &RowRef<'_>) {
    let what = contradiction(row);
    assert!(
        what.is_none(),
        "log row at position {}: {what:?}",
        row.position
    );
}

/// Whether a row keeps its size with another time: both have to take eight bytes in the file, as all
/// times since 1974 do.
pub fn takes_time(row: &Row, recorded_at: i64) -> bool {
    EIGHT_BYTES.contains(&row.recorded_at) && EIGHT_BYTES.contains(&recorded_at)
}

/// A row that is not what it has to be.
pub fn broken(position: i64, what: &str) -> Error {
    Error::corrupt(format!("log row at position {position}: {what}"))
}

/// What tests of other modules share.
#[cfg(test)]
pub mod testing {
    use super::Row;

    /// A row of three events, as it stands in the log.
    pub fn row(data: &str) -> Row {
        Row {
            position: 1,
            entity: "e".into(),
            aggregate: "A".into(),
            seq: 1,
            count: 3,
            recorded_at: 0,
            prev: 0,
            data: data.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seq: u64, count: u64, prev: i64) -> RowRef<'static> {
        RowRef {
            position: 9,
            entity: "e",
            aggregate: "A",
            seq,
            count,
            recorded_at: 0,
            prev,
            data: "[]",
        }
    }

    #[test]
    fn a_row_that_contradicts_itself_is_told() {
        for sound in [row(1, 1, 0), row(2, 3, 8), row(9, 1, 1)] {
            assert_eq!(contradiction(&sound), None);
        }
        for broken in [
            row(0, 1, 0),
            row(1, 0, 0),
            row(u64::MAX, 1, 8),
            row(2, 1, 9),
            row(2, 1, -1),
            row(2, 1, 0),
            row(1, 1, 8),
        ] {
            assert!(contradiction(&broken).is_some(), "{}", broken.seq);
        }
    }

    #[test]
    #[should_panic(expected = "begins elsewhere")]
    fn such_a_row_is_never_written() {
        assert_sound(&row(1, 1, 0));
        assert_sound(&row(2, 1, 0));
    }
}
