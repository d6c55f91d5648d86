//! Restoring a context: the segments of a backup, in order, become the files of shards.
//!
//! Opening a segment needs no file, and writing what it has no segment: so the next one is opened while one is written,
//! and both are done on all cores. Each shard's file says up to where it was brought, so that whoever was interrupted
//! goes on with the same segments.

mod files;
mod flush;
mod parallel;
mod shard;
mod slice;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod resume_tests;
#[cfg(test)]
mod speed_tests;
#[cfg(test)]
mod testing;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use crate::backup::index::Indexed;
use crate::backup::key_ring::KeyRing;
use crate::backup::pages::{Page, tag};
use crate::backup::read::{Life, Lives};
use crate::backup::segment::Segment;
use crate::error::{Error, Result};
use crate::files::Access;
use crate::hash::{hash64, jump};
use crate::log::kinds::Kinds;
use crate::save::OpenBackup;
use crate::sync::relock;
use files::Files;
use slice::{Opened, Slice};

/// About how many bytes of blocks are opened by one thread before it looks for more.
const PIECE: u64 = 512 * 1024;

/// What was read of one segment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// How many rows.
    pub rows: u64,
    /// How many events.
    pub events: u64,
    /// How many lives have no rows here any more, since they were erased.
    pub erased: u64,
    /// How many rows have events that were cleared since.
    pub cleared: u64,
}

impl Counts {
    fn add(&mut self, life: &Life) {
        self.erased += u64::from(life.is_erased);
        self.cleared += life.cleared as u64;
        self.rows += life.rows.len() as u64;
        self.events += life.rows.iter().map(|(row, _)| row.count).sum::<u64>();
    }
}

/// A segment that was opened and is not written yet, by shard.
pub struct OpenSegment(BTreeMap<u16, Slice>);

/// A context that is being restored.
pub struct Restoring {
    backup: Arc<OpenBackup>,
    kinds: Kinds,
    /// The entity that is restored alone.
    only: Option<String>,
    ring: RwLock<KeyRing>,
    /// None once that is over, or has failed.
    files: Mutex<Option<Files>>,
}

impl Restoring {
    /// Into a folder, which has what an earlier call has restored of the same segments, or nothing. All entities, or one
    /// alone. Error: `Io`.
    pub fn new(
        backup: Arc<OpenBackup>,
        dir: PathBuf,
        (context, shards): (String, u32),
        only: Option<String>,
        access: Access,
        kinds: Kinds,
    ) -> Result<Self> {
        let files = Files::new(dir, context, shards, access)?;
        Ok(Self {
            backup,
            kinds,
            only,
            ring: RwLock::default(),
            files: Mutex::new(Some(files)),
        })
    }

    fn ring(&self) -> RwLockReadGuard<'_, KeyRing> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, learn: impl FnOnce(&mut KeyRing)) {
        learn(&mut self.ring.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Adds a key page. Errors: `Backup`.
    pub fn page(&self, shard: u16, number: u64, bytes: &[u8]) -> Result<()> {
        let page = Page::open(bytes, &self.backup.key, self.backup.number, shard, number)?;
        self.learn(|ring| ring.add(page));
        Ok(())
    }

    /// Notes which keys a segment says were erased: of every segment that there is, also of those behind the cut.
    /// Errors: `Backup`.
    pub fn erased(&self, number: u64, bytes: &[u8]) -> Result<()> {
        let segment = self.signed(number, bytes)?;
        self.learn(|ring| ring.erase(segment.erased()));
        Ok(())
    }

    fn signed<'b>(&self, number: u64, bytes: &'b [u8]) -> Result<Segment<'b>> {
        let segment = Segment::open(bytes, self.backup.number, number)?;
        segment.check_signature(&self.backup.key)?;
        Ok(segment)
    }

    /// Opens every block of a segment, and keeps nothing. Errors: `Backup`.
    pub fn check(&self, number: u64, bytes: &[u8]) -> Result<Counts> {
        let segment = self.signed(number, bytes)?;
        let (counts, _) = self.read(&segment, &self.ring(), |_| Ok(()))?;
        Ok(counts)
    }

    /// Opens every block of a segment, to be written. Errors: `Backup`; `Corrupt`, when a row is not what Warp writes.
    pub fn open(&self, number: u64, bytes: &[u8]) -> Result<(Counts, OpenSegment)> {
        let segment = self.signed(number, bytes)?;
        let ring = self.ring();
        let (counts, lives) = self.read(&segment, &ring, |life| {
            let shard = life.shard;
            Ok((shard, Opened::new(life, &ring)?))
        })?;
        let mut slices: BTreeMap<u16, Slice> = BTreeMap::new();
        for reach in &segment.label().reaches {
            let slice = Slice {
                to: reach.to,
                runs: Vec::new(),
                lives: Vec::new(),
            };
            slices.insert(reach.shard, slice);
        }
        for run in segment.runs() {
            if let Some(slice) = slices.get_mut(&run.shard) {
                slice.runs.push((run.first, run.run));
            }
        }
        for (shard, opened) in lives {
            if let Some(slice) = slices.get_mut(&shard) {
                slice.lives.push(opened);
            }
        }
        Ok((counts, OpenSegment(slices)))
    }

    /// Reads all lives of a segment, and what `each` makes of them, in their order.
    fn read<T: Send>(
        &self,
        segment: &Segment<'_>,
        ring: &KeyRing,
        each: impl Fn(Life) -> Result<T> + Sync,
    ) -> Result<(Counts, Vec<T>)> {
        let mut work = vec![Piece::Whole];
        match &self.only {
            None => work.extend(pieces(segment.index()).into_iter().map(Piece::Blocks)),
            Some(entity) => {
                let shard = jump(hash64(entity.as_bytes()), segment.label().shards);
                let shard = u16::try_from(shard).unwrap_or(u16::MAX);
                let lives = ring.with_tag(shard, tag(&self.backup.key, entity));
                let blocks = lives.map(|life| segment.life(shard, life.incarnation));
                work.extend(blocks.map(Piece::Blocks));
            }
        }
        let keys = |shard, incarnation, part| ring.find(shard, incarnation, part);
        let read = parallel::each(work, |piece| {
            let (mut counts, mut made) = (Counts::default(), Vec::new());
            match piece {
                Piece::Whole => drop(segment.verify().map_err(|errors| {
                    let first = errors.into_iter().next();
                    first.map_or_else(|| Error::internal("damage that is none"), Error::from)
                })?),
                Piece::Blocks(blocks) => {
                    for life in Lives::of(segment, blocks, keys)? {
                        let life = life?;
                        counts.add(&life);
                        made.push(each(life)?);
                    }
                }
            }
            Ok((counts, made))
        })?;
        let mut all = Counts::default();
        let mut made = Vec::new();
        for (counts, of_piece) in read {
            all.rows += counts.rows;
            all.events += counts.events;
            all.erased += counts.erased;
            all.cleared += counts.cleared;
            made.extend(of_piece);
        }
        Ok((all, made))
    }

    /// Brings a segment into the files of its shards. Segments are written in their order; one that is there already
    /// changes nothing. Errors: those of the files, after which nothing more is written; `Closed` then.
    pub fn write(&self, segment: OpenSegment) -> Result<()> {
        let mut held = relock(&self.files);
        let files = held.as_mut().ok_or(Error::Closed)?;
        let written = files.write(segment.0, &self.kinds, &self.ring());
        if written.is_err() {
            // What a transaction has of half a segment is undone.
            *held = None;
        }
        written
    }

    /// Makes the files of shards that have no row, and completes and closes all. Errors: those of the files; `Closed`.
    pub fn finish(&self) -> Result<()> {
        let files = self.take_files().ok_or(Error::Closed)?;
        files.finish(&self.ring())
    }

    /// The files, if they are not closed yet.
    pub fn take_files(&self) -> Option<Files> {
        relock(&self.files).take()
    }

    /// Closes all files, with what was written: a later restore goes on from there. Errors: those of the files.
    pub fn close(&self) -> Result<()> {
        match self.take_files() {
            Some(mut files) => files.settle(),
            None => Ok(()),
        }
    }
}

/// What one thread does of a segment.
enum Piece<'s> {
    /// Checks all of it without keys.
    Whole,
    /// Opens the blocks of some lives.
    Blocks(&'s [Indexed]),
}

/// The blocks of a segment in pieces of whole lives.
fn pieces(index: &[Indexed]) -> Vec<&[Indexed]> {
    let mut pieces = Vec::new();
    let (mut rest, mut at, mut bytes) = (index, 0, 0);
    for pair in index.windows(2) {
        let [one, two] = pair else { continue };
        at += 1;
        bytes += u64::from(one.length);
        if bytes >= PIECE && one.life() != two.life() {
            let (piece, behind) = rest.split_at_checked(at).unwrap_or_default();
            pieces.push(piece);
            (rest, at, bytes) = (behind, 0, 0);
        }
    }
    pieces.push(rest);
    pieces
}
