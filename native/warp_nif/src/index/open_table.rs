//! The tables of open entities, and of closed ones, written behind. Their names are of the time when all of them
//! were sagas.

use std::collections::BTreeSet;

use rusqlite::Connection;

use crate::error::Result;
use crate::log::kinds::{Change, Changes};

/// Brings the table up to date, in the transaction under way.
pub fn flush(connection: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    let mut insert =
        connection.prepare_cached("INSERT OR IGNORE INTO open_sagas (incarnation) VALUES (?1)")?;
    for (incarnation, change) in changes.sorted() {
        match change {
            Change::Begun | Change::Open => drop(insert.execute([incarnation])?),
            Change::Closed => close(connection, incarnation)?,
        }
    }
    let mut insert = connection
        .prepare_cached("INSERT OR IGNORE INTO closed_sagas (incarnation) VALUES (?1)")?;
    for incarnation in changes.closed() {
        insert.execute([incarnation])?;
    }
    Ok(())
}

fn close(connection: &Connection, incarnation: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM open_sagas WHERE incarnation = ?1")?
        .execute([incarnation])
        .map(drop)
}

/// Takes an entity off the tables, in the transaction under way.
pub fn forget(connection: &Connection, incarnation: i64) -> rusqlite::Result<()> {
    close(connection, incarnation)?;
    connection
        .prepare_cached("DELETE FROM closed_sagas WHERE incarnation = ?1")?
        .execute([incarnation])
        .map(drop)
}

/// The incarnations of closed entities behind one, in order, so many at most.
pub fn closed(connection: &Connection, after: i64, limit: usize) -> Result<Vec<i64>> {
    let mut statement = connection.prepare_cached(
        "SELECT incarnation FROM closed_sagas WHERE incarnation > ?1 ORDER BY incarnation LIMIT ?2",
    )?;
    let found = statement.query_map((after, limit as i64), |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Lists all closed entities of a file of an earlier version, in the transaction under way: those whose last row
/// is of an aggregate that closes a kind.
pub fn list_closed(connection: &Connection, closing: &str) -> Result<()> {
    connection.execute(
        "INSERT OR IGNORE INTO closed_sagas (incarnation)
         SELECT entities.incarnation FROM log JOIN entities ON entities.head = log.position
         WHERE log.aggregate = ?1 AND entities.rows > 1",
        [closing],
    )?;
    Ok(())
}

/// The incarnations of all open entities, given what was not yet written behind.
pub fn read(connection: &Connection, changes: &[(i64, Change)]) -> Result<BTreeSet<i64>> {
    let mut found = BTreeSet::new();
    let mut statement = connection.prepare_cached("SELECT incarnation FROM open_sagas")?;
    for incarnation in statement.query_map([], |row| row.get(0))? {
        found.insert(incarnation?);
    }
    for (incarnation, change) in changes {
        match change {
            Change::Begun | Change::Open => found.insert(*incarnation),
            Change::Closed => found.remove(incarnation),
        };
    }
    Ok(found)
}
