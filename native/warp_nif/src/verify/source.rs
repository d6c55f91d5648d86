//! Where a check reads a shard: its file, in one view per piece.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, Result};
use crate::files;
use crate::log::connection::open_reader;
use crate::log::kinds::Kinds;
use crate::open::file::sums_of;
use crate::shard::shared::Shared;
use crate::sqlite::sums::table::PAGE;
use crate::sqlite::{Sums, UnderWay, immutable, open_with_sums};

/// A shard's file.
pub struct Source {
    /// Its path.
    pub path: PathBuf,
    /// Of which entities it is kept whether they are open.
    pub kinds: Kinds,
    sums: Option<Arc<Sums>>,
    shared: Option<Arc<Shared>>,
}

impl Source {
    /// That of an open shard.
    pub fn open(shared: &Arc<Shared>) -> Self {
        Self {
            path: shared.path.clone(),
            kinds: shared.kinds.clone(),
            sums: Some(Arc::clone(&shared.sums)),
            shared: Some(Arc::clone(shared)),
        }
    }

    /// That of a context that nobody has open. The file is not changed.
    ///
    /// Errors: `Corrupt` when it, or the file of its sums, is not what it has to be; `NotAShard`;
    /// `NewerFormat`; `Io`.
    pub fn closed(path: PathBuf, kinds: Kinds) -> Result<Self> {
        let sums = sums_of(&path)?;
        Ok(Self {
            path,
            kinds,
            sums,
            shared: None,
        })
    }

    /// Calls `look` with a view of the file. Error: `Closed` when the shard was closed meanwhile.
    pub fn view<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let under_way = self.shared.as_ref().map(|s| UnderWay::begin(&s.gate));
        let _under_way = under_way.transpose()?;
        // NOTE: a new connection each time. It has no page in memory that was read before.
        let connection = match &self.sums {
            Some(sums) if self.shared.is_some() => open_reader(&self.path, sums)?,
            sums => self.open_closed(sums.as_ref())?,
        };
        let looked = connection
            .execute_batch("BEGIN")
            .map_err(Error::from)
            .and_then(|()| look(&connection));
        looked.map_err(|error| error.at(&self.path))
    }

    /// Whether a file that nobody has open has all of so many pages. SQLite reads zeros where it is too short, and they
    /// can be what stood there. Where the WAL has something, it may have the pages that the file lacks.
    ///
    /// Error: `Corrupt`.
    pub fn check_length(&self, pages: u32) -> Result<()> {
        if self.shared.is_some() || self.has_wal() {
            return Ok(());
        }
        let found = std::fs::metadata(&self.path).map_err(|error| Error::io(&self.path, error))?;
        let (bytes, all) = (found.len(), u64::from(pages) * PAGE as u64);
        if bytes < all {
            let what = format!("the file has {bytes} bytes of {all}: its end was cut off");
            return Err(Error::corrupt(what).at(&self.path));
        }
        Ok(())
    }

    fn has_wal(&self) -> bool {
        let wal = std::fs::metadata(files::beside(&self.path, "-wal"));
        wal.is_ok_and(|wal| wal.len() > 0)
    }

    /// NOTE: where there is nothing in the WAL, SQLite is told that nobody changes the file. It would make a WAL and
    /// its index else, and leave them behind.
    fn open_closed(&self, sums: Option<&Arc<Sums>>) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let (path, flags) = if self.has_wal() {
            (self.path.clone(), flags)
        } else {
            (immutable(&self.path), flags | OpenFlags::SQLITE_OPEN_URI)
        };
        match sums {
            Some(sums) => open_with_sums(&path, flags, sums),
            None => Ok(Connection::open_with_flags(&path, flags)?),
        }
    }
}
