//! Making and opening the sums of a database.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checks::{Sums, name};
use super::table::{self, BLOCK, PAGE, Table};
use super::{file, header};
use crate::error::{Error, Result};
use crate::files::{self, beside};
use crate::sqlite::random::random;

/// Where a database says whether it is written, and read, with a WAL: 1 is no, 2 is yes.
const JOURNALS: [usize; 2] = [18, 19];
/// How many pages of a database are read at once, when its sums are made.
const PAGES_AT_ONCE: usize = 64;

const HOW_TO_MAKE_THEM: &str = "If you trust the shard as it stands (sqlite3's PRAGMA integrity_check looks at a part \
     of it), stop Warp, remove the file of checksums if it is there, and run PRAGMA journal_mode = DELETE on the shard \
     with sqlite3: Warp then takes it for a copy and makes them anew";

impl Sums {
    /// Makes the sums of a database that has no page yet: an empty file, in which SQLite makes the
    /// first one only behind this. What stood in a file of sums by that name is gone.
    ///
    /// They are durable when this returns. The file gets the modes of the database. Errors: `DiskFull`, `Io`.
    pub fn create(database: &Path) -> Result<Arc<Self>> {
        Self::make(database, &mut io::empty())
    }

    /// Makes the sums of a database without any, reading all of it: of what it holds now. What was
    /// damaged before stays so unnoticed. What stood in a file of sums by that name is replaced.
    ///
    /// Its WAL has to be empty, and no connection to it open: closing a file can take SQLite's locks on it away.
    /// They are durable when this returns, and at no moment is the file there in part. Errors: `Corrupt` when
    /// something stands in the WAL, `DiskFull`, `Io`.
    pub fn build(database: &Path) -> Result<Arc<Self>> {
        let wal = beside(database, "-wal");
        if fs::metadata(&wal).is_ok_and(|found| found.len() > 0) {
            let what = "it is not empty, so the checksums of its shard's pages cannot be made. If you have put a \
                        copy of the shard here, remove this file and the one with -shm, which belong to another";
            return Err(Error::corrupt(what).at(&wal));
        }
        let mut pages = File::open(database).map_err(|error| Error::io(database, error))?;
        Self::make(database, &mut pages)
    }

    /// Opens the sums of a database that is there. `None` when there is no file of sums.
    ///
    /// Errors: `Corrupt` when the file of sums is cut or damaged so far that it is of no use, `Io`.
    pub fn find(database: &Path) -> Result<Option<Arc<Self>>> {
        Self::find_at(database, header::path_of(database))
    }

    /// Likewise where they stand under another name.
    pub fn find_at(database: &Path, path: PathBuf) -> Result<Option<Arc<Self>>> {
        files::check_kind(&path)?;
        let Some((file, bytes)) = file::read(&path).map_err(|error| Error::io(&path, error))?
        else {
            return Ok(None);
        };
        let damaged = |why: &str| {
            Error::corrupt(format!(
                "{why}. This file has the checksums of the pages of {}. Restore both from the same backup. {}",
                name(database),
                HOW_TO_MAKE_THEM
            ))
            .at(&path)
        };
        let (id, sums) = file::decode(&bytes).map_err(damaged)?;
        let stored = fs::metadata(database).map_err(|error| Error::io(database, error))?;
        // Room for a page is made, and synced, before the page is written: so less was cut off.
        if (sums.len() as u64) < stored.len().div_ceil(PAGE as u64) {
            return Err(damaged("it is too short for them"));
        }
        Ok(Some(Self::of((database, path), id, file, Table::new(sums))))
    }

    /// Opens the sums of a shard that has to have some, or makes those of a copy.
    ///
    /// What was copied with SQLite's `VACUUM INTO` has no sums, and is not in WAL mode as all of Warp's files are:
    /// Warp takes it as it stands. Errors: `Corrupt` when there are no sums, or as for `find` and `build`.
    pub fn open(database: &Path) -> Result<Arc<Self>> {
        Self::find_unless_copy(database)?.map_or_else(|| Self::build(database), Ok)
    }

    /// The sums of a shard that has to have some; none for such a copy. Errors: as for `open`.
    pub fn find_unless_copy(database: &Path) -> Result<Option<Arc<Self>>> {
        if let Some(sums) = Self::find(database)? {
            return Ok(Some(sums));
        }
        if is_copy(database).map_err(|error| Error::io(database, error))? {
            return Ok(None);
        }
        let what = format!(
            "this file is missing, which has the checksums of the pages of {}. Put it back: from the same backup as \
             the shard, or from where the shard was moved from. {HOW_TO_MAKE_THEM}",
            name(database)
        );
        Err(Error::corrupt(what).at(&header::path_of(database)))
    }

    /// Writes a file of sums with a new id, under another name at first.
    fn make(database: &Path, source: &mut dyn Read) -> Result<Arc<Self>> {
        let path = header::path_of(database);
        files::check_kind(&path)?;
        let id = random()?;
        let mode = fs::metadata(database)
            .map_err(|error| Error::io(database, error))?
            .mode();
        let sums = read_sums(id, source).map_err(|error| Error::io(database, error))?;
        let file = file::write(&path, mode, id, &sums).map_err(|error| Error::io(&path, error))?;
        files::sync_parent(&path)?;
        Ok(Self::of((database, path), id, file, Table::new(sums)))
    }
}

/// The sums of all pages that can be read from there, with room for a whole block more than there is.
fn read_sums(id: u64, source: &mut dyn Read) -> io::Result<Vec<u64>> {
    let mut sums = Vec::new();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        source
            .take((PAGES_AT_ONCE * PAGE) as u64)
            .read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            break;
        }
        // What is left of a page is as SQLite reads it.
        bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
        let from = sums.len() as u64 * PAGE as u64;
        sums.extend(table::pages(from, &bytes).map(|(page, bytes)| table::sum(id, page, bytes)));
    }
    sums.resize((sums.len() + 1).next_multiple_of(BLOCK), 0);
    Ok(sums)
}

/// Whether a database is not in WAL mode.
fn is_copy(database: &Path) -> io::Result<bool> {
    let mut header = Vec::new();
    File::open(database)?.take(100).read_to_end(&mut header)?;
    Ok(JOURNALS.iter().all(|at| header.get(*at) == Some(&1)))
}
