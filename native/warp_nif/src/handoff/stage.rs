//! The copy of a shard that is being made on another node: pages that fit their sums, in any order, until all are there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::names;
use super::outline::Outline;
use crate::error::{Error, Result};
use crate::files::{self, Access};
use crate::open::file;
use crate::sqlite::Claim;
use crate::sqlite::sums::table::{self, BLOCK, PAGE};

/// How many pages are read at once when it is looked at what is there already.
const PAGES_AT_ONCE: usize = 256;
const ZEROS: [u8; PAGE] = [0; PAGE];

/// A copy that is being made.
pub struct Stage {
    /// Where the shard will stand.
    path: PathBuf,
    staged: PathBuf,
    file: File,
    /// What it has to become.
    aim: Option<Outline>,
    /// Of each page that is there its sum, 0 for zeros, in the file with the id of the aim.
    have: Vec<u64>,
    missing: usize,
    /// The pages before it were asked for since there is this aim.
    next: usize,
    /// There is a file of sums that says that the copy is complete.
    is_sealed: bool,
    _claim: Claim,
}

impl Stage {
    /// Opens the copy of the shard at `path`, or begins one. Errors: `Claimed` while it is open in this VM; `Io`.
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        let (staged, sums) = (names::staged(path), names::staged_sums(path));
        let claim = Claim::take(&staged)?;
        files::check_kind(&staged)?;
        files::check_kind(&sums)?;
        files::create(&staged, access)?;
        let file = OpenOptions::new().read(true).write(true).open(&staged);
        Ok(Self {
            path: path.to_owned(),
            file: file.map_err(|error| Error::io(&staged, error))?,
            is_sealed: sums.try_exists().map_err(|error| Error::io(&sums, error))?,
            staged,
            aim: None,
            have: Vec::new(),
            missing: 0,
            next: 0,
            _claim: claim,
        })
    }

    /// Says what the copy has to become, and cuts off what is behind that: how many pages are missing. All of the pages
    /// count that are there and fit, whenever they were written.
    pub fn aim(&mut self, outline: Outline) -> Result<usize> {
        if u32::try_from(outline.sums.len()).is_err() {
            return Err(Error::internal(
                "an outline with more pages than a database has",
            ));
        }
        if self.aim.as_ref().is_none_or(|aim| aim.id != outline.id) {
            self.aim = None;
            self.have = sums_in(&self.file, outline.id).map_err(|error| self.io(error))?;
            // A part of a page behind them is none.
            self.resize(self.have.len())?;
        }
        self.resize(outline.sums.len())?;
        let pages = (1..).zip(self.have.iter().zip(&outline.sums));
        let missing = pages.filter(|(page, (have, aim))| !fits(outline.id, *page, **have, **aim));
        self.missing = missing.count();
        self.next = 0;
        self.aim = Some(outline);
        Ok(self.missing)
    }

    /// Makes it so many pages long: those that are added are zeros.
    fn resize(&mut self, pages: usize) -> Result<()> {
        let bytes = (pages as u64).saturating_mul(PAGE as u64);
        let metadata = self.file.metadata().map_err(|error| self.io(error))?;
        if metadata.len() != bytes {
            self.unseal()?;
            self.file.set_len(bytes).map_err(|error| self.io(error))?;
        }
        self.have.resize(pages, 0);
        Ok(())
    }

    /// The next pages that are missing, at most so many; none when all were asked for since there is this aim.
    pub fn next(&mut self, most: usize) -> Vec<u32> {
        let mut pages = Vec::new();
        let Some(aim) = &self.aim else {
            return pages;
        };
        while pages.len() < most
            && let Some((have, wanted)) = self.have.get(self.next).zip(aim.sums.get(self.next))
        {
            self.next += 1;
            if !fits(aim.id, self.next as u64, *have, *wanted) {
                pages.extend(u32::try_from(self.next));
            }
        }
        pages
    }

    /// Writes those of the pages that fit: how many these are. Errors: `Internal`, with nothing written, when a page is
    /// none of the aim's, or the bytes are not as many; those of the disk.
    pub fn write(&mut self, pages: &[u32], bytes: &[u8]) -> Result<usize> {
        let Some(aim) = &self.aim else {
            return Err(Error::internal(
                "pages of a copy that was not told what to become",
            ));
        };
        let id = aim.id;
        if bytes.len() != pages.len().saturating_mul(PAGE) {
            return Err(Error::internal(
                "another number of pages than there are bytes",
            ));
        }
        let mut writes = Vec::with_capacity(pages.len());
        for (page, bytes) in pages.iter().zip(bytes.chunks_exact(PAGE)) {
            let index = usize::try_from(*page).unwrap_or(usize::MAX).wrapping_sub(1);
            let Some(wanted) = aim.sums.get(index).copied() else {
                return Err(Error::internal("a page that the shard does not have"));
            };
            if table::is_fit(id, u64::from(*page), bytes, wanted) {
                writes.push((index, bytes, wanted));
            }
        }
        if !writes.is_empty() {
            self.unseal()?;
        }
        for (index, bytes, wanted) in &writes {
            let page = *index as u64 + 1;
            let written = self.file.write_all_at(bytes, *index as u64 * PAGE as u64);
            if let Some(have) = self.have.get_mut(*index) {
                self.missing -= usize::from(!fits(id, page, *have, *wanted));
                *have = *wanted;
                if let Err(error) = written {
                    // What a write that failed has left is not known. No page has this sum.
                    *have = !*wanted;
                    self.missing += 1;
                    return Err(self.io(error));
                }
            }
        }
        Ok(writes.len())
    }

    /// How many pages are missing.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// Makes durable what is there.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| self.io(error))
    }

    /// Says durably that the copy is complete, with its sums.
    ///
    /// Errors: `Incomplete` when pages are missing; `OtherDigest` when this is not the digest of what it had to become;
    /// `NotAShard`, `NewerFormat`; those of the disk.
    pub fn seal(&mut self, digest: &[u8]) -> Result<()> {
        let Some(aim) = self.aim.as_ref().filter(|_| self.missing == 0) else {
            return Err(Error::Incomplete(self.missing as u64));
        };
        if aim.digest() != digest {
            return Err(Error::OtherDigest);
        }
        if file::version_of(&self.staged)?.is_none() {
            return Err(Error::NotAShard(self.staged.clone()));
        }
        let mut sums = aim.sums.clone();
        sums.resize((sums.len() + 1).next_multiple_of(BLOCK), 0);
        let path = names::staged_sums(&self.path);
        let metadata = self.file.metadata().map_err(|error| self.io(error))?;
        self.file.sync_all().map_err(|error| self.io(error))?;
        crate::sqlite::sums::file::write(&path, metadata.mode(), aim.id, &sums)
            .map_err(|error| Error::io(&path, error))?;
        self.is_sealed = true;
        files::sync_parent(&path)
    }

    /// Before it is changed: from now on nothing says that it is complete.
    fn unseal(&mut self) -> Result<()> {
        if self.is_sealed {
            let path = names::staged_sums(&self.path);
            fs::remove_file(&path).map_err(|error| Error::io(&path, error))?;
            files::sync_parent(&path)?;
            self.is_sealed = false;
        }
        Ok(())
    }

    fn io(&self, error: io::Error) -> Error {
        Error::io(&self.staged, error)
    }
}

/// Whether a page that has one sum, 0 for zeros, is as another says.
fn fits(id: u64, page: u64, have: u64, wanted: u64) -> bool {
    have == wanted || (have == 0 && table::is_fit(id, page, &ZEROS, wanted))
}

/// The sums of the whole pages in a file; 0 for zeros.
fn sums_in(file: &File, id: u64) -> io::Result<Vec<u64>> {
    let (mut sums, mut bytes, mut reader) = (Vec::new(), Vec::new(), file);
    io::Seek::rewind(&mut reader)?;
    loop {
        bytes.clear();
        let most = (PAGES_AT_ONCE * PAGE) as u64;
        reader.take(most).read_to_end(&mut bytes)?;
        let from = sums.len() as u64 * PAGE as u64;
        sums.extend(table::pages(from, &bytes).map(|(page, bytes)| {
            let is_zero = bytes.iter().all(|byte| *byte == 0);
            if is_zero {
                0
            } else {
                table::sum(id, page, bytes)
            }
        }));
        if bytes.len() < PAGES_AT_ONCE * PAGE {
            return Ok(sums);
        }
    }
}
