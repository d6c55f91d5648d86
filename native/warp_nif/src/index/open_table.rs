//! The table of open entities, written behind. Its name is of the time when all of them were sagas.

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
            Change::Closed => forget(connection, incarnation)?,
        }
    }
    Ok(())
}

/// Takes an entity off the table, in the transaction under way.
pub fn forget(connection: &Connection, incarnation: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM open_sagas WHERE incarnation = ?1")?
        .execute([incarnation])
        .map(drop)
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
