//! Which opening of the file wrote a row, so that whoever follows the log can tell when history
//! forked: an older copy of the file that was put back and written on has other runs.
//!
//! A run is a random number that a journal draws when it is opened. It goes into a shard's file with
//! the first row that it wrote there. A run that writes no row into a shard leaves nothing there.

use rusqlite::{Connection, OptionalExtension};

use crate::error::Result;

/// Notes that a new run begins with the row at `first_position`, in the transaction under way.
pub fn begin(connection: &Connection, first_position: i64, run: i64) -> Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO runs (first_position, run) VALUES (?1, ?2)",
        [first_position, run],
    )?;
    Ok(())
}

/// The run that wrote the row at a position, which the file has; 0 for what is older than runs.
pub fn at(connection: &Connection, position: i64) -> Result<i64> {
    let found = connection
        .prepare_cached(
            "SELECT run FROM runs WHERE first_position <= ?1
             ORDER BY first_position DESC LIMIT 1",
        )?
        .query_row([position], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or(0))
}

/// The first positions, and the runs, of those that began behind one position and up to another.
pub fn between(connection: &Connection, range: (i64, i64)) -> Result<Vec<(i64, i64)>> {
    let mut statement = connection.prepare_cached(
        "SELECT first_position, run FROM runs WHERE first_position > ?1 AND first_position <= ?2
         ORDER BY first_position",
    )?;
    let found = statement.query_map(range, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The last run that wrote to the file; 0 if none did.
pub fn last(connection: &Connection) -> Result<i64> {
    let sql = "SELECT run FROM runs ORDER BY first_position DESC LIMIT 1";
    let found = connection.query_row(sql, [], |row| row.get(0));
    Ok(found.optional()?.unwrap_or(0))
}
