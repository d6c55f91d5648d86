//! Connections that only read a shard's file.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use crate::error::Result;
use crate::sqlite::{BUSY, Sums, open_with_sums};

/// Opens the shard at `path` for reading only. What it reads is checked against the sums of its pages.
pub fn open_reader(path: &Path, sums: &Arc<Sums>) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = open_with_sums(path, flags, sums)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}
