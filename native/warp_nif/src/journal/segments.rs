//! The segments of a journal that are needed still, and the one that is prepared.
//!
//! The writer adds to the last one; whoever opens a shard reads what its file lacks; and the thread
//! that applies records gives segments back that no shard needs any more.

use std::collections::HashMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::files::{self, Prepared};
use super::stored::{Stored, blank, is_sound};
use crate::error::{Error, Result, panic_message};
use crate::files::Access;
use crate::sync::relock;

/// The sizes of segments: the first one of a run is small, and each is twice as large as the one
/// before, up to the largest.
const SMALLEST: u64 = 256 * 1024;
/// What the size of a segment is a multiple of, where the disk has no room for the usual size.
const UNIT: u64 = 64 * 1024;
const LARGEST: u64 = 64 * 1024 * 1024;

/// Where the records of a shard stand in a segment: their positions have no gap.
pub struct Part {
    /// The position of the first one.
    pub first: i64,
    /// Where each begins, in units of [`ALIGN`](super::record::ALIGN) bytes.
    pub places: Vec<u32>,
}

impl Part {
    /// The position of the last one.
    pub fn last(&self) -> i64 {
        self.first + self.places.len() as i64 - 1
    }

    fn place(&self, position: i64) -> Option<u32> {
        let index = usize::try_from(position.checked_sub(self.first)?).ok()?;
        self.places.get(index).copied()
    }
}

/// A segment that was begun.
pub struct Live {
    /// Its number.
    pub number: u64,
    /// Its file.
    pub file: Arc<File>,
    /// How many bytes it has.
    pub size: u64,
    /// The seed of the checksums of its records.
    pub seed: u64,
    /// The run that wrote it.
    pub run: i64,
    /// The records of each shard.
    pub parts: HashMap<u16, Part>,
}

enum Spare {
    None,
    Preparing,
    Ready(Prepared),
    Failed,
}

struct State {
    live: Vec<Live>,
    spare: Spare,
    next_number: u64,
    next_size: u64,
    /// The number of one that was given back, and can become the next.
    old: Option<u64>,
    /// The last position of each shard that the journal knows of.
    known: HashMap<u16, i64>,
}

/// What the threads of a context share of its journal.
pub struct Segments {
    dir: PathBuf,
    access: Access,
    state: Mutex<State>,
    prepared: Condvar,
}

impl Segments {
    /// Those that recovery has found, and the last positions that it knows of.
    pub fn new(
        dir: PathBuf,
        access: Access,
        live: Vec<Live>,
        known: HashMap<u16, i64>,
        next_number: u64,
    ) -> Self {
        Self {
            dir,
            access,
            state: Mutex::new(State {
                live,
                spare: Spare::None,
                next_number,
                next_size: SMALLEST,
                old: None,
                known,
            }),
            prepared: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        relock(&self.state)
    }

    /// The last position of each shard that the journal knows of.
    pub fn positions(&self) -> Vec<(u32, i64)> {
        let state = self.state();
        let known = state.known.iter();
        let mut positions: Vec<_> = known.map(|(shard, at)| (u32::from(*shard), *at)).collect();
        positions.sort_unstable();
        positions
    }

    /// Notes that a shard was opened, whose log ends at this position.
    pub fn know(&self, shard: u16, position: i64) {
        self.state().known.insert(shard, position);
    }

    /// Notes records of one commit that were synced, in the last segment: of each shard the position
    /// of the first, and where they begin.
    pub fn add(&self, records: impl Iterator<Item = (u16, i64, u32)>) {
        let state = &mut *self.state();
        let Some(live) = state.live.last_mut() else {
            return;
        };
        for (shard, position, place) in records {
            let part = live.parts.entry(shard).or_insert(Part {
                first: position,
                places: Vec::new(),
            });
            part.places.push(place);
            state.known.insert(shard, position);
        }
    }

    /// Adds a segment, to which all records go from now on.
    pub fn begin(&self, live: Live) {
        self.state().live.push(live);
    }

    /// How many segments are needed still, and how many bytes they have.
    pub fn counted(&self) -> (usize, u64) {
        let state = self.state();
        let sizes = state.live.iter().map(|live| live.size);
        (state.live.len(), sizes.sum())
    }

    /// How many segments wait for shards, beside the one that is written.
    pub fn waiting(&self) -> usize {
        self.state().live.len().saturating_sub(1)
    }

    /// The shards that keep the oldest segment from being given back: those that have not got so
    /// far, as `durable` says of each.
    pub fn needed_by(&self, durable: impl Fn(u16) -> i64) -> Vec<u16> {
        let state = self.state();
        let Some((_, waiting)) = state.live.split_last() else {
            return Vec::new();
        };
        let Some(oldest) = waiting.first() else {
            return Vec::new();
        };
        let behind = oldest
            .parts
            .iter()
            .filter(|(s, part)| durable(**s) < part.last());
        behind.map(|(shard, _)| *shard).collect()
    }

    /// The records of a shard behind a position.
    ///
    /// Error: `Corrupt` when one is missing, or when the shard is ahead of the journal.
    pub fn behind(&self, shard: u16, position: i64) -> Result<Vec<Stored>> {
        let state = self.state();
        let mut found = Vec::new();
        let mut next = position + 1;
        for live in &state.live {
            let Some(part) = live.parts.get(&shard).filter(|part| part.last() >= next) else {
                continue;
            };
            if part.first > next {
                return Err(self.missing(shard, next, live.number));
            }
            while let Some(place) = part.place(next) {
                found.push(Stored {
                    file: Arc::clone(&live.file),
                    path: files::path(&self.dir, live.number),
                    seed: live.seed,
                    place,
                    position: next,
                    run: live.run,
                });
                next += 1;
            }
        }
        match state.known.get(&shard) {
            Some(known) if next <= *known => {
                let last = state.live.last().map_or(0, |live| live.number);
                Err(self.missing(shard, next, last))
            }
            Some(known) if position > *known => Err(Error::corrupt(format!(
                "{}: the shard has position {position}, but its journal ends at {known}: the \
                 journal is older than the shard. Put back the files of one time, all of them",
                self.dir.display()
            ))),
            _ => Ok(found),
        }
    }

    fn missing(&self, shard: u16, position: i64, number: u64) -> Error {
        Error::corrupt(format!(
            "{}: position {position} of shard {shard} is neither in the shard's file nor in the \
             journal: a file is older than the others, or a segment of the journal is missing. Put \
             back the files of one time, all of them",
            files::path(&self.dir, number).display()
        ))
    }

    /// Gives back the segments that no shard needs any more: up to `durable` each shard has all in
    /// its own file, synced. How many were given back.
    pub fn recycle(&self, durable: impl Fn(u16) -> i64) -> Result<usize> {
        let (old, kept) = {
            let state = &mut *self.state();
            let Some(active) = state.live.pop() else {
                return Ok(0);
            };
            let is_done = |live: &mut Live| {
                live.parts
                    .iter()
                    .all(|(s, part)| durable(*s) >= part.last())
            };
            let mut old: Vec<u64> = state
                .live
                .extract_if(.., is_done)
                .map(|l| l.number)
                .collect();
            state.live.push(active);
            // One of them becomes the next segment.
            let kept = if state.old.is_none() { old.pop() } else { None };
            state.old = state.old.or(kept);
            (old, kept)
        };
        files::remove(&self.dir, &old)?;
        Ok(old.len() + usize::from(kept.is_some()))
    }

    /// Has a segment prepared by another thread, unless one is prepared already.
    pub fn prepare(self: &Arc<Self>) {
        {
            let mut state = self.state();
            if !matches!(state.spare, Spare::None | Spare::Failed) {
                return;
            }
            state.spare = Spare::Preparing;
        }
        let segments = Arc::clone(self);
        let job = move || {
            // NOTE: also after a panic, since a commit may wait for it.
            let made = catch_unwind(AssertUnwindSafe(|| segments.make(0)))
                .unwrap_or_else(|panic| Err(Error::internal(panic_message(&*panic))));
            segments.made(made);
        };
        // NOTE: in a thread of its own. Those of the pool may all wait for a writer that waits for this.
        let started = std::thread::Builder::new()
            .name("warp-prepare".into())
            .spawn(job);
        if let Err(error) = started {
            let what = format!("a thread cannot be started: {error}");
            self.made(Err(Error::Io(what.into())));
        }
    }

    fn made(&self, made: Result<Prepared>) {
        // Whoever needs one tries again, and meets the error.
        self.state().spare = made.map_or(Spare::Failed, Spare::Ready);
        self.prepared.notify_all();
    }

    /// Makes a segment of the usual size, or of that many bytes if these are more.
    fn make(&self, bytes: u64) -> Result<Prepared> {
        let made = self.make_of(bytes, SMALLEST);
        if bytes > 0 && matches!(made, Err(Error::DiskFull)) {
            return self.make_of(bytes, UNIT);
        }
        made
    }

    fn make_of(&self, bytes: u64, unit: u64) -> Result<Prepared> {
        let (number, size, old) = {
            let state = &mut *self.state();
            let usual = if unit == SMALLEST { state.next_size } else { 0 };
            let size = usual.max(bytes.next_multiple_of(unit));
            let number = state.next_number;
            state.next_number += 1;
            (number, size, state.old.take())
        };
        let prepared = files::prepare(&self.dir, self.access, number, size, old)?;
        let state = &mut *self.state();
        state.next_size = (state.next_size * 2).min(LARGEST);
        Ok(prepared)
    }

    /// A segment to be begun that has room for so many bytes. Waits for the one that is being
    /// prepared, and makes one if there is none.
    pub fn take(&self, bytes: u64) -> Result<Prepared> {
        let spare = {
            let mut state = self.state();
            while matches!(state.spare, Spare::Preparing) {
                let waited = self.prepared.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::replace(&mut state.spare, Spare::None)
        };
        match spare {
            Spare::Ready(prepared) if prepared.size >= bytes => Ok(prepared),
            Spare::Ready(small) => {
                files::remove(&self.dir, &[small.number])?;
                self.make(bytes)
            }
            Spare::None | Spare::Preparing | Spare::Failed => self.make(bytes),
        }
    }

    /// Erases what the records of a shard at these positions say, in all segments, durably. What
    /// else erased entities have left here is gone before: given back segments are overwritten.
    ///
    /// NOTE: only positions that the shard has in its own file, synced: recovery cannot read these
    /// records any more.
    pub fn blank(&self, shard: u16, positions: &[i64]) -> Result<()> {
        let mut places: Vec<(Arc<File>, u64, u64, Vec<u32>)> = Vec::new();
        let old = {
            let state = &mut *self.state();
            for live in &state.live {
                if let Some(part) = live.parts.get(&shard) {
                    let found: Vec<u32> =
                        positions.iter().filter_map(|at| part.place(*at)).collect();
                    if !found.is_empty() {
                        places.push((Arc::clone(&live.file), live.number, live.seed, found));
                    }
                }
            }
            state.old.take()
        };
        for (file, number, seed, places) in places {
            let path = files::path(&self.dir, number);
            for place in places {
                blank(&file, place, seed).map_err(|error| Error::io(&path, error))?;
            }
            file.sync_data().map_err(|error| Error::io(&path, error))?;
        }
        // A segment that is overwritten now has been given back before, with what stood in it.
        let old: Vec<u64> = old.into_iter().collect();
        files::remove(&self.dir, &old)?;
        let mut state = self.state();
        while matches!(state.spare, Spare::Preparing) {
            let waited = self.prepared.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// The last position of a shard that a segment of an earlier run has.
    pub fn last_of_earlier(&self, shard: u16, run: i64) -> i64 {
        let state = self.state();
        let earlier = state.live.iter().filter(|live| live.run != run);
        let parts = earlier.filter_map(|live| live.parts.get(&shard));
        parts.map(Part::last).max().unwrap_or(0)
    }

    /// Erases what all records of a shard say that earlier runs have written, durably: one of these may have
    /// erased an entity in the shard's file, and ended before it blanked its records here.
    ///
    /// NOTE: the shard has to have all of them in its own file, synced.
    pub fn blank_earlier(&self, shard: u16, run: i64) -> Result<()> {
        let mut found = Vec::new();
        for live in &self.state().live {
            if let Some(part) = live.parts.get(&shard).filter(|_| live.run != run) {
                let file = Arc::clone(&live.file);
                found.push((file, live.number, live.seed, part.places.clone()));
            }
        }
        for (file, number, seed, places) in found {
            let path = files::path(&self.dir, number);
            let each = || {
                places
                    .iter()
                    .try_for_each(|place| blank(&file, *place, seed))?;
                file.sync_data()
            };
            each().map_err(|error| Error::io(&path, error))?;
            for live in &mut self.state().live {
                if live.number == number {
                    live.parts.remove(&shard);
                }
            }
        }
        Ok(())
    }

    /// The numbers of those that were begun and are needed still.
    pub fn numbers(&self) -> Vec<u64> {
        self.state().live.iter().map(|live| live.number).collect()
    }

    /// Reads all records of a segment: how many there are; none when it was given back meanwhile. Errors:
    /// `Corrupt` when one is not what was written; `Io`.
    pub fn check(&self, number: u64) -> Result<u64> {
        let find = |live: &&Live| live.number == number;
        let (file, seed, records) = {
            let state = self.state();
            let Some(live) = state.live.iter().find(find) else {
                return Ok(0);
            };
            let records = live.parts.iter().flat_map(|(shard, part)| {
                let places = (part.first..).zip(&part.places);
                places.map(|(position, place)| (*shard, position, *place))
            });
            let records: Vec<_> = records.collect();
            (Arc::clone(&live.file), live.seed, records)
        };
        for (shard, position, place) in &records {
            // NOTE: twice, since it may just have been made blank.
            let sound = is_sound(&file, *place, seed, *position)
                .and_then(|sound| Ok(sound || is_sound(&file, *place, seed, *position)?));
            if !matches!(sound, Ok(true)) && self.state().live.iter().any(|live| find(&live)) {
                let path = files::path(&self.dir, number);
                sound.map_err(|error| Error::io(&path, error))?;
                let what = format!("the record of position {position} of shard {shard} is damaged");
                return Err(Error::corrupt(what).at(&path));
            }
        }
        Ok(records.len() as u64)
    }

    /// Whether each shard has everything in its own file, synced, as `durable` says.
    pub fn are_all_in(&self, durable: impl Fn(u16) -> i64) -> bool {
        let state = self.state();
        let mut parts = state.live.iter().flat_map(|live| &live.parts);
        parts.all(|(shard, part)| durable(*shard) >= part.last())
    }

    /// Removes all segments: everything is in the shards.
    pub fn remove_all(&self) -> Result<()> {
        {
            let mut state = self.state();
            while matches!(state.spare, Spare::Preparing) {
                let waited = self.prepared.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            }
            state.spare = Spare::None;
            state.live.clear();
        }
        files::remove(&self.dir, &files::numbers(&self.dir)?)
    }
}
