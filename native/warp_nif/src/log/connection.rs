//! Connections that only read a shard's file.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, Result};
use crate::sqlite::BUSY;

/// Opens the shard at `path` for reading only.
pub fn open_reader(path: &Path) -> Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|error| Error::from(error).at(path))?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}
