//! Rows of the log.

use rusqlite::types::{FromSql, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension};

use crate::error::{Error, Result};
use crate::journal::RowRef;

/// Where rows of a log are found by position.
pub trait Log {
    /// The row at `position`, which has to be there; `None` for an erased one. Whoever asks for a row
    /// has its position from another row or from an index, so one that is not there is `Corrupt`, as
    /// is one that is neither sound nor exactly what erasing leaves.
    fn at(&self, position: i64) -> Result<Option<Row>>;

    /// A view of the file.
    fn file(&self) -> &Connection;
}

impl Log for Connection {
    fn at(&self, position: i64) -> Result<Option<Row>> {
        at(self, position)
    }

    fn file(&self) -> &Connection {
        self
    }
}

/// What an erased row holds in place of its time and checksum.
const ERASED: i64 = 1 << 62;
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

impl Row {
    /// The seq of its last event.
    pub fn last_seq(&self) -> u64 {
        self.seq + self.count - 1
    }
}

/// The statement that `insert` runs, prepared once per transaction.
pub fn insert_statement(connection: &Connection) -> rusqlite::Result<CachedStatement<'_>> {
    connection.prepare_cached(
        "INSERT INTO log (position, entity, aggregate, seq, count, recorded_at, prev, checksum, data)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )
}

/// Asserts that reading the row would not find it broken: see `from_sql`.
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

/// Writes a row that has this checksum.
pub fn insert(statement: &mut CachedStatement<'_>, row: &RowRef<'_>, checksum: i64) -> Result<()> {
    statement.execute(rusqlite::params![
        row.position,
        row.entity,
        row.aggregate,
        row.seq.cast_signed(),
        row.count.cast_signed(),
        row.recorded_at,
        row.prev,
        checksum,
        row.data,
    ])?;
    Ok(())
}

const SELECT_ROWS: &str =
    "SELECT position, entity, aggregate, seq, count, recorded_at, prev, data, checksum
     FROM log WHERE position >= ?1 AND position <= ?2 ORDER BY position";

/// The row at `position`, which has to be there; `None` for an erased one.
///
/// Whoever asks for a row has its position from another row or from an index. So one that is not
/// there is `Corrupt`, as is one that is neither sound nor exactly what erasing leaves.
pub fn at(connection: &Connection, position: i64) -> Result<Option<Row>> {
    let found = connection
        .prepare_cached(SELECT_ROWS)?
        .query_row([position, position], |row| Ok(from_sql(row)))
        .optional()?;
    found.unwrap_or_else(|| Err(broken(position, "missing")))
}

/// Calls `each` with every row behind `position`, in order, erased ones left out.
pub fn after(
    connection: &Connection,
    position: i64,
    mut each: impl FnMut(Row) -> Result<()>,
) -> Result<()> {
    let mut statement = connection.prepare(SELECT_ROWS)?;
    let mut rows = statement.query([position.saturating_add(1), i64::MAX])?;
    while let Some(row) = rows.next()? {
        if let Some(row) = from_sql(row)? {
            each(row)?;
        }
    }
    Ok(())
}

/// Calls `each` with every position behind this one, in order, its row (`None`: erased; or what is wrong
/// with it) and how many bytes of data it takes, until it has enough.
pub fn each_after(
    connection: &Connection,
    position: i64,
    mut each: impl FnMut(i64, Result<Option<Row>>, usize) -> Result<bool>,
) -> Result<()> {
    let mut statement = connection.prepare_cached(SELECT_ROWS)?;
    let mut rows = statement.query([position.saturating_add(1), i64::MAX])?;
    while let Some(row) = rows.next()? {
        let bytes = match row.get_ref(7)? {
            ValueRef::Text(data) | ValueRef::Blob(data) => data.len(),
            _ => 0,
        };
        if !each(row.get(0)?, from_sql(row), bytes)? {
            break;
        }
    }
    Ok(())
}

/// The last position ever given in this log, erased rows included.
pub fn last_position(connection: &Connection) -> Result<i64> {
    Ok(
        connection.query_row("SELECT coalesce(max(position), 0) FROM log", [], |row| {
            row.get(0)
        })?,
    )
}

/// Overwrites a row in place with as many zeros. The row itself stays, as a gap in the log.
///
/// NOTE: every column keeps its size, so SQLite overwrites the row where it stands. Deleting it
/// could make SQLite move neighbouring rows between pages, and the bytes that a move leaves
/// behind are not covered by `secure_delete`.
pub fn erase(connection: &Connection, position: i64) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE log SET entity = zeroblob(octet_length(entity)),
                            aggregate = zeroblob(octet_length(aggregate)),
                            data = zeroblob(octet_length(data)),
                            recorded_at = iif(recorded_at < 1 << 47, recorded_at, ?2),
                            checksum = ?2
             WHERE position = ?1",
        )?
        .execute((position, ERASED))?;
    Ok(())
}

/// Overwrites a row's data with as many other bytes, where it stands, and renews its checksum.
pub fn overwrite(connection: &Connection, row: &Row, data: &str) -> Result<()> {
    let changed = RowRef {
        data,
        ..row.borrow()
    };
    connection
        .prepare_cached("UPDATE log SET data = ?2, checksum = ?3 WHERE position = ?1")?
        .execute((row.position, data, changed.checksum()))?;
    Ok(())
}

/// Deletes erased rows, but for one in last position: a position is never given twice.
pub fn delete_erased(connection: &Connection) -> Result<()> {
    connection.execute(
        "DELETE FROM log WHERE checksum = ?1 AND entity = zeroblob(octet_length(entity))
                           AND aggregate = zeroblob(octet_length(aggregate))
                           AND data = zeroblob(octet_length(data))
                           AND position < (SELECT max(position) FROM log)",
        [ERASED],
    )?;
    Ok(())
}

/// Whether a row keeps its size with another time: both have to take eight bytes in the file, as all
/// times since 1974 do.
pub fn takes_time(row: &Row, recorded_at: i64) -> bool {
    EIGHT_BYTES.contains(&row.recorded_at) && EIGHT_BYTES.contains(&recorded_at)
}

/// Overwrites a row's time where it stands, and renews its checksum, if it `takes_time`.
pub fn overwrite_time(connection: &Connection, row: &Row, recorded_at: i64) -> Result<()> {
    if !takes_time(row, recorded_at) {
        return Ok(());
    }
    let changed = RowRef {
        recorded_at,
        ..row.borrow()
    };
    connection
        .prepare_cached("UPDATE log SET recorded_at = ?2, checksum = ?3 WHERE position = ?1")?
        .execute((row.position, recorded_at, changed.checksum()))?;
    Ok(())
}

fn from_sql(row: &rusqlite::Row<'_>) -> Result<Option<Row>> {
    let position: i64 = row.get(0)?;
    if is_erased(row)? {
        return Ok(None);
    }
    let found = Row {
        position,
        entity: column(row, 1, position)?,
        aggregate: column(row, 2, position)?,
        seq: number(row, 3, position)?,
        count: number(row, 4, position)?,
        recorded_at: column(row, 5, position)?,
        prev: column(row, 6, position)?,
        data: column(row, 7, position)?,
    };
    let stored: i64 = column(row, 8, position)?;
    if found.borrow().checksum() != stored {
        return Err(broken(position, "its checksum does not fit"));
    }
    match contradiction(&found.borrow()) {
        None => Ok(Some(found)),
        Some(what) => Err(broken(position, what)),
    }
}

/// What is wrong with a row in itself. `insert` asserts that nothing is, and `from_sql` looks again.
fn contradiction(row: &RowRef<'_>) -> Option<&'static str> {
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

/// Whether it is exactly what `erase` leaves. Damage can make a row look like a part of that, but
/// not like all of it.
fn is_erased(row: &rusqlite::Row<'_>) -> Result<bool> {
    for at in [1, 2, 7] {
        match row.get_ref(at)? {
            ValueRef::Blob(bytes) if bytes.iter().all(|byte| *byte == 0) => {}
            _ => return Ok(false),
        }
    }
    Ok(matches!(row.get_ref(8)?, ValueRef::Integer(ERASED)))
}

fn column<T: FromSql>(row: &rusqlite::Row<'_>, at: usize, position: i64) -> Result<T> {
    row.get(at)
        .map_err(|_| broken(position, "a column of another type"))
}

fn number(row: &rusqlite::Row<'_>, at: usize, position: i64) -> Result<u64> {
    let number: i64 = column(row, at, position)?;
    u64::try_from(number).map_err(|_| broken(position, "a negative number"))
}

impl Row {
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
