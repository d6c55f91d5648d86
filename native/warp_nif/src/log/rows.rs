//! Reading rows of the log by position, and adding rows.

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, OptionalExtension};

use super::row::{ERASED, contradiction};
use crate::error::Result;
use crate::journal::RowRef;
use crate::sqlite;

pub use super::row::{Row, assert_sound, broken, takes_time};

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

/// The statement that `insert` runs, prepared once per transaction.
pub fn insert_statement(connection: &Connection) -> rusqlite::Result<CachedStatement<'_>> {
    connection.prepare_cached(
        "INSERT INTO log (position, entity, aggregate, seq, count, recorded_at, prev, checksum, data)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )
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

/// Writes rows, each with its checksum, of which `row` tells: they stand behind all others, in order. Errors: those of the
/// file, after which the transaction under way is to be undone.
pub fn insert_all<'r, R>(
    connection: &Connection,
    rows: &'r [R],
    row: impl Fn(&'r R) -> (RowRef<'r>, i64),
) -> Result<()> {
    let insert = "INSERT OR FAIL INTO log
         (position, entity, aggregate, seq, count, recorded_at, prev, checksum, data)";
    sqlite::insert_all(connection, insert, rows, |of| {
        let (row, checksum) = row(of);
        [
            row.position.into(),
            row.entity.into(),
            row.aggregate.into(),
            row.seq.cast_signed().into(),
            row.count.cast_signed().into(),
            row.recorded_at.into(),
            row.prev.into(),
            checksum.into(),
            row.data.into(),
        ]
    })?;
    Ok(())
}

/// Writes a row that is erased and never had bytes.
pub fn insert_erased(connection: &Connection, position: i64) -> Result<()> {
    insert_statement(connection)?
        .execute((position, [0; 0], [0; 0], 1, 1, ERASED, 0, ERASED, [0; 0]))?;
    Ok(())
}

const ANOTHER_TYPE: &str = "a column of another type";

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
        .query_row([position, position], |row| Ok(from_sql(row).map(owned)))
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
        if let Some(row) = owned(from_sql(row)?) {
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
    mut each: impl FnMut(i64, Result<Option<RowRef<'_>>>, usize) -> Result<bool>,
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

fn owned(row: Option<RowRef<'_>>) -> Option<Row> {
    row.map(Row::from)
}

fn from_sql<'r>(row: &'r rusqlite::Row<'_>) -> Result<Option<RowRef<'r>>> {
    let position: i64 = row.get(0)?;
    if is_erased(row)? {
        return Ok(None);
    }
    let found = RowRef {
        position,
        entity: text(row, 1, position)?,
        aggregate: text(row, 2, position)?,
        seq: number(row, 3, position)?,
        count: number(row, 4, position)?,
        recorded_at: integer(row, 5, position)?,
        prev: integer(row, 6, position)?,
        data: text(row, 7, position)?,
    };
    if found.checksum() != integer(row, 8, position)? {
        return Err(broken(position, "its checksum does not fit"));
    }
    match contradiction(&found) {
        None => Ok(Some(found)),
        Some(what) => Err(broken(position, what)),
    }
}

/// Whether it is exactly what erasing leaves. Damage can make a row look like a part of that, but
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

fn text<'r>(row: &'r rusqlite::Row<'_>, at: usize, position: i64) -> Result<&'r str> {
    let value = row.get_ref(at)?;
    value.as_str().map_err(|_| broken(position, ANOTHER_TYPE))
}

fn integer(row: &rusqlite::Row<'_>, at: usize, position: i64) -> Result<i64> {
    let value = row.get_ref(at)?;
    value.as_i64().map_err(|_| broken(position, ANOTHER_TYPE))
}

fn number(row: &rusqlite::Row<'_>, at: usize, position: i64) -> Result<u64> {
    let number = integer(row, at, position)?;
    u64::try_from(number).map_err(|_| broken(position, "a negative number"))
}
