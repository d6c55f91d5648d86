//! The sums of a database: a checksum of each of its pages, in a file beside it. They say whether what is read
//! is what was last written, in that place of that file, before any answer depends on it.

pub mod behind;
pub mod checks;
pub mod file;
pub mod frames;
pub mod functions;
pub mod header;
pub mod opening;
pub mod steps;
pub mod table;
pub mod vfs;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod testing;

pub use checks::Sums;

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, Result};

/// Opens a database, each page of which is checked when it is read. All connections to it in this VM have to
/// share its sums, or the others write pages that do not fit them.
///
/// NOTE: not with `synchronous = OFF`. SQLite then gives no sign before it throws away what the WAL has, and
/// after a crash the sums are those of before. Errors: as of SQLite.
pub fn open_with_sums(path: &Path, flags: OpenFlags, sums: &Arc<Sums>) -> Result<Connection> {
    if !vfs::register() {
        return Err(Error::internal("SQLite does not take the VFS of the sums"));
    }
    let (opened, has_sums) = vfs::with(Arc::clone(sums), || {
        Connection::open_with_flags_and_vfs(path, flags, vfs::NAME)
    });
    let connection = opened.map_err(|error| Error::from(error).at(path))?;
    if has_sums {
        Ok(connection)
    } else {
        Err(Error::internal("SQLite has opened no file for the sums").at(path))
    }
}
