//! Random numbers: the standard library has none, and SQLite seeds its own from the system.

use rusqlite::Connection;

use crate::error::Result;

/// A random number.
pub fn random() -> Result<u64> {
    let database = Connection::open_in_memory()?;
    let random: i64 = database.query_row("SELECT random()", [], |row| row.get(0))?;
    Ok(random.cast_unsigned())
}
