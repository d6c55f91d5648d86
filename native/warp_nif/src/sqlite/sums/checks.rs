//! The sums of one database, shared by its connections: what they note and what they check.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::frames::{self, Frames};
use super::table::{self, BLOCK, PAGE, Table};
use super::{file, steps};
use crate::sqlite::pages::read_pages;
use crate::sync::relock;

/// How many bytes at the beginning of a database SQLite reads by themselves, before it knows its pages.
const FILE_HEADER: u64 = 100;

/// Where a database says which page is the first with a list of free ones, in words of four bytes; behind it stands how
/// many are free.
const FREE_LIST: usize = 8;

/// A file whose pages are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The database: its sums stand in the file of sums.
    Database,
    /// Its WAL: its sums stand in memory.
    Wal,
}

/// The sums of one open database. All connections to it in this VM share them.
pub struct Sums {
    id: u64,
    /// The database and the file of sums, for messages.
    database: PathBuf,
    path: PathBuf,
    table: RwLock<Table>,
    frames: RwLock<Frames>,
    /// Held while something is written to it.
    file: Mutex<File>,
}

impl Sums {
    /// Those of an open file, which stands at the second path.
    pub fn of((database, path): (&Path, PathBuf), id: u64, file: File, table: Table) -> Arc<Self> {
        Arc::new(Self {
            id,
            database: database.to_owned(),
            path,
            table: RwLock::new(table),
            frames: RwLock::default(),
            file: Mutex::new(file),
        })
    }

    /// The file of sums: it has to stay in its place, as the database has.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The id of the file of sums, and the sums of so many pages as that file has them.
    pub fn on_disk(&self, pages: usize) -> io::Result<(u64, Vec<u64>)> {
        let sums = file::sums_of(&relock(&self.file), pages)?;
        Ok((self.id, sums))
    }

    /// A part was opened, and has so many bytes.
    pub fn opened(&self, part: Part, bytes: u64) {
        if part == Part::Wal && bytes == 0 {
            // What is known is of one that was removed.
            write(&self.frames).forget_behind(0);
        }
    }

    /// Whether what was read is what was written. Else what is wrong, in words.
    ///
    /// NOTE: nobody writes a page meanwhile. SQLite moves only such pages out of the WAL that every
    /// reader finds there, and writes to the WAL behind what readers know of.
    pub fn check(&self, part: Part, offset: u64, bytes: &[u8]) -> std::result::Result<(), String> {
        match part {
            Part::Database => self.check_pages(offset, bytes),
            Part::Wal => self.check_frame(offset, bytes),
        }
    }

    fn check_pages(&self, offset: u64, bytes: &[u8]) -> std::result::Result<(), String> {
        if offset.saturating_add(bytes.len() as u64) <= FILE_HEADER {
            // It stands in the first page, which is read whole before anything depends on it. What stands here
            // may be of a checkpoint that was cut short.
            return Ok(());
        }
        if !table::is_whole(offset, bytes.len()) {
            return Err(format!(
                "SQLite takes {} for a file with pages of another size than {PAGE} bytes: its first page is damaged. \
                 Restore a backup",
                name(&self.database)
            ));
        }
        for (page, bytes) in table::pages(offset, bytes) {
            let stored = read(&self.table).get(page);
            if !table::is_fit(self.id, page, bytes, stored) {
                return Err(self.says(page));
            }
        }
        Ok(())
    }

    /// What nobody has written here, SQLite reads once before it depends on it, and checks by itself: that is
    /// taken note of. Afterwards it would take whatever stands there.
    fn check_frame(&self, offset: u64, bytes: &[u8]) -> std::result::Result<(), String> {
        let Some(page) = frames::page_in(offset, bytes) else {
            return Ok(());
        };
        let sum = page.sum(self.id);
        let known = read(&self.frames).get(page.frame());
        match known {
            None => write(&self.frames).set(page.frame(), sum),
            Some(known) if known == sum => {}
            Some(_) => {
                return Err(format!(
                    "frame {} of {}-wal does not hold what was written to it: the disk has lost or changed it, or \
                     another program than Warp has written to it. Restart Warp, and restore a backup if it does not \
                     start",
                    page.frame(),
                    name(&self.database)
                ));
            }
        }
        Ok(())
    }

    fn says(&self, page: u64) -> String {
        format!(
            "page {page} of {} (bytes {} to {}) does not fit its checksum in {}: the disk has lost or changed what \
             Warp wrote, or another program has written to one of the two files. Restore both from the same backup",
            name(&self.database),
            (page - 1).saturating_mul(PAGE as u64),
            page.saturating_mul(PAGE as u64) - 1,
            name(&self.path),
        )
    }

    /// Before something is written: sees to it that there is room for the sums.
    pub fn before_write(&self, part: Part, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match part {
            Part::Database if table::is_whole(offset, bytes.len()) => {
                self.make_room(offset.saturating_add(bytes.len() as u64))
            }
            Part::Database => Err(io::Error::other("SQLite writes pages of another size")),
            Part::Wal => {
                // A write that fails leaves part of it, or nothing.
                if let Some(page) = frames::page_in(offset, bytes) {
                    write(&self.frames).set(page.frame(), 0);
                }
                Ok(())
            }
        }
    }

    /// Notes what was written, after `before_write`.
    pub fn wrote(&self, part: Part, offset: u64, bytes: &[u8]) {
        match part {
            Part::Database => {
                for (page, bytes) in table::pages(offset, bytes) {
                    let sum = table::sum(self.id, page, bytes);
                    write(&self.table).set(page, sum);
                }
            }
            Part::Wal => {
                if let Some(page) = frames::page_in(offset, bytes) {
                    let sum = page.sum(self.id);
                    write(&self.frames).set(page.frame(), sum);
                }
            }
        }
    }

    /// Before a part is made so many bytes long, which can be longer than it is.
    pub fn before_truncate(&self, part: Part, bytes: u64) -> io::Result<()> {
        match part {
            Part::Database => self.make_room(bytes),
            Part::Wal => Ok(()),
        }
    }

    /// Notes that a part was made so many bytes long.
    pub fn truncated(&self, part: Part, bytes: u64) {
        match part {
            Part::Database => write(&self.table).forget_behind(bytes / PAGE as u64),
            Part::Wal => write(&self.frames).forget_behind(bytes),
        }
    }

    /// So that the database can have so many bytes. A file of sums that is too short for its database was
    /// therefore cut, whenever the process may have ended.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let pages = bytes.div_ceil(PAGE as u64);
        if pages <= read(&self.table).room() {
            return Ok(());
        }
        let file = relock(&self.file);
        if pages <= read(&self.table).room() {
            return Ok(());
        }
        let blocks = pages.div_ceil(BLOCK as u64);
        let blocks = blocks.saturating_add(blocks / 4);
        file::extend(&file, blocks)?;
        let too_many = |_| io::Error::from(io::ErrorKind::OutOfMemory);
        let blocks = usize::try_from(blocks).map_err(|_| io::ErrorKind::OutOfMemory)?;
        write(&self.table).grow(blocks).map_err(too_many)
    }

    /// Makes the sums durable, before the pages are. When this fails all of it has to be done again.
    ///
    /// The pages themselves stand in the WAL, and are written once more from there after a crash: until then
    /// nobody reads them from the database. So nothing is lost by sums that are newer, or older, than the pages.
    pub fn save(&self) -> io::Result<()> {
        let file = relock(&self.file);
        let blocks = write(&self.table).take_changed();
        if blocks.is_empty() {
            return Ok(());
        }
        let bytes_of = |blocks| read(&self.table).bytes_of(blocks);
        let saved = file::save(&file, &blocks, bytes_of);
        steps::pass();
        if saved.is_err() {
            // NOTE: also what was written. After a sync that failed nobody knows what the disk has.
            write(&self.table).put_back(&blocks);
        }
        saved
    }

    /// Notes the sums of free pages as they stand, of a database that nobody has open. Undoing a transaction does not undo
    /// what it has done to pages that were free before it, since nobody reads them: they fit, or do not. Errors: those of
    /// the file; `InvalidData`, when the list of free pages does not fit its own sums.
    pub fn renew_free(&self) -> io::Result<()> {
        let database = File::open(&self.database)?;
        let of = |page| read_pages(&database, &[page]);
        let word = |bytes: &[u8], at: usize| {
            let word = bytes.get(at * 4..)?.first_chunk().copied()?;
            Some(u32::from_be_bytes(word))
        };
        let first = of(1)?;
        let mut next = word(&first, FREE_LIST).unwrap_or(0);
        let mut left = word(&first, FREE_LIST + 1).unwrap_or(0);
        while next != 0 && left > 0 {
            let trunk = of(next)?;
            let stored = read(&self.table).get(next.into());
            if !table::is_fit(self.id, next.into(), &trunk, stored) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    self.says(next.into()),
                ));
            }
            let leaves = word(&trunk, 1).unwrap_or(0).min(left - 1);
            for page in (2..).take(leaves as usize).map_while(|at| word(&trunk, at)) {
                let sum = table::sum(self.id, page.into(), &of(page)?);
                write(&self.table).set(page.into(), sum);
            }
            left = left.saturating_sub(leaves.saturating_add(1));
            next = word(&trunk, 0).unwrap_or(0);
        }
        self.save()
    }

    /// Has it write to another file. What it wrote to before.
    #[cfg(test)]
    pub fn exchange_file(&self, file: File) -> File {
        std::mem::replace(&mut relock(&self.file), file)
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// The last part of a path, for messages.
pub fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}
