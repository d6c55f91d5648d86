//! What stands in the file of a shard, page by page: the sums of its pages, as its file of sums has them.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use rusqlite::OpenFlags;
use xxhash_rust::xxh3::Xxh3Default;

use crate::error::{Error, Result};
use crate::files::beside;
use crate::open::{file, replay};
use crate::sqlite::sums::table::PAGE;
use crate::sqlite::{self, Claim, Sums, immutable, open_with_sums};

/// How many pages one call reads at most.
pub const MAX_PAGES: usize = 1024;

/// The sums of all pages of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The id of its file of sums.
    pub id: u64,
    /// The sum of each page: 0 where none was written.
    pub sums: Vec<u64>,
}

impl Outline {
    /// Of a database as it is on the disk now. While something writes to it, the sums can be older than the pages.
    pub fn of(database: &Path, sums: &Sums) -> Result<Self> {
        let bytes = fs::metadata(database)
            .map_err(|error| Error::io(database, error))?
            .len();
        let pages = usize::try_from(bytes.div_ceil(PAGE as u64));
        let pages = pages.map_err(|_| Error::corrupt("it is too long").at(database))?;
        let (id, sums) = sums
            .on_disk(pages)
            .map_err(|error| Error::io(sums.path(), error))?;
        Ok(Self { id, sums })
    }

    /// Of the file of a shard that is closed. Errors: `Claimed` while it is open in this VM; `NotAShard`,
    /// `NewerFormat`; `Corrupt` when it has no sums; `Io`, also when its WAL has something that the file lacks.
    pub fn of_closed(path: &Path) -> Result<Self> {
        let (_claim, sums) = closed(path)?;
        Self::of(path, &sums)
    }

    /// From its id and the bytes of its sums, 8 for each page. None when that is no whole number of sums.
    pub fn decode(id: u64, bytes: &[u8]) -> Option<Self> {
        let sums = bytes.chunks_exact(8);
        let is_whole = sums.remainder().is_empty();
        let sums = sums.map(|sum| u64::from_le_bytes(sum.try_into().unwrap_or_default()));
        is_whole.then(|| Self {
            id,
            sums: sums.collect(),
        })
    }

    /// The bytes of its sums.
    pub fn bytes(&self) -> Vec<u8> {
        let bytes = self.sums.iter().flat_map(|sum| sum.to_le_bytes());
        bytes.collect()
    }

    /// XXH3-128, seed 0, of its id, the number of its pages and their sums, 8 bytes each, little-endian; as 16 bytes,
    /// big-endian.
    pub fn digest(&self) -> [u8; 16] {
        let mut hash = Xxh3Default::new();
        hash.update(&self.id.to_le_bytes());
        hash.update(&(self.sums.len() as u64).to_le_bytes());
        for sum in &self.sums {
            hash.update(&sum.to_le_bytes());
        }
        hash.digest128().to_be_bytes()
    }
}

/// The digest of the file of a shard that is closed, and whose log goes on to this position, if the journal knows one.
///
/// Errors: as for [`Outline::of_closed`]; `Io` when the file lacks something of its log.
pub fn whole_digest(path: &Path, known: Option<i64>) -> Result<[u8; 16]> {
    let (_claim, sums) = closed(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let connection = open_with_sums(&immutable(path), flags, &sums)?;
    let applied = replay::applied(&connection).map_err(|error| error.at(path))?;
    drop(connection);
    if let Some(known) = known.filter(|known| *known > applied) {
        let what = format!(
            "it has its log up to position {applied}, and its journal up to {known}: open the shard again, \
             so that it gets what it lacks"
        );
        return Err(Error::io(path, io::Error::other(what)));
    }
    Ok(Outline::of(path, &sums)?.digest())
}

/// Pages of the file of a shard that is closed. Errors: as for [`Outline::of_closed`].
pub fn pages_of_closed(path: &Path, pages: &[u32]) -> Result<Vec<u8>> {
    let (_claim, _sums) = closed(path)?;
    let file = File::open(path).map_err(|error| Error::io(path, error))?;
    sqlite::read_pages(&file, pages).map_err(|error| Error::io(path, error))
}

/// NOTE: nobody opens it meanwhile. On macOS, who closes any descriptor of a database takes SQLite's locks on it away.
fn closed(path: &Path) -> Result<(Claim, Arc<Sums>)> {
    let claim = Claim::take(path)?;
    let wal = beside(path, "-wal");
    if fs::metadata(&wal).is_ok_and(|found| found.len() > 0) {
        let what = "it is not empty, so its shard was not closed as a whole: the file lacks what stands here";
        return Err(Error::io(&wal, io::Error::other(what)));
    }
    let sums = file::sums_of(path)?;
    let sums = sums.ok_or_else(|| {
        let what = "it was copied with VACUUM INTO, and was not opened since: it has no checksums of its pages";
        Error::corrupt(what).at(path)
    })?;
    Ok((claim, sums))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_all_that_an_outline_says() {
        let outline = Outline {
            id: 7,
            sums: vec![1, 2, 0],
        };
        let others = [
            (8, vec![1, 2, 0]),
            (7, vec![1, 2]),
            (7, vec![1, 2, 0, 0]),
            (7, vec![2, 1, 0]),
            (7, vec![1, 2, 1 << 63]),
        ];
        for (id, sums) in others {
            assert_ne!(Outline { id, sums }.digest(), outline.digest());
        }
        let again = Outline::decode(7, &outline.bytes()).expect("whole");
        assert_eq!((again.digest(), &again), (outline.digest(), &outline));
        assert_eq!(Outline::decode(7, &outline.bytes()[1..]), None);
        // The number is part of what two nodes have to agree on.
        let number = u128::from_be_bytes(outline.digest());
        assert_eq!(number, 238_998_785_481_102_324_662_839_302_751_886_632_589);
    }
}
