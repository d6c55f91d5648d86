//! The segments of a journal that are needed still, as its threads share them.
//!
//! The writer adds to the last one, whoever opens a shard reads [what its file
//! lacks](super::behind), and the thread that applies records gives segments back that no shard
//! needs any more.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use super::files::{self, Prepared};
use super::live::Live;
use super::spare::Spare;
use crate::error::Result;
use crate::files::Access;
use crate::sync::relock;

/// What is needed still, and known.
pub(super) struct Needed {
    /// The segments, the one that is written last.
    pub(super) live: Vec<Live>,
    /// The last position of each shard that the journal knows of.
    pub(super) known: HashMap<u16, i64>,
}

/// What the threads of a context share of its journal.
pub struct Segments {
    pub(super) dir: PathBuf,
    needed: Mutex<Needed>,
    /// Held while segments are given back, and by who keeps others from that.
    pub(super) recycling: Mutex<()>,
    pub(super) spare: Arc<Spare>,
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
            spare: Arc::new(Spare::new(dir.clone(), access, next_number)),
            dir,
            needed: Mutex::new(Needed { live, known }),
            recycling: Mutex::new(()),
        }
    }

    pub(super) fn needed(&self) -> MutexGuard<'_, Needed> {
        relock(&self.needed)
    }

    /// The last position of each shard that the journal knows of.
    pub fn positions(&self) -> Vec<(u32, i64)> {
        let needed = self.needed();
        let known = needed.known.iter();
        let mut positions: Vec<_> = known.map(|(shard, at)| (u32::from(*shard), *at)).collect();
        positions.sort_unstable();
        positions
    }

    /// Notes that a shard was opened, or comes, whose log ends at this position.
    pub fn know(&self, shard: u16, position: i64) {
        self.needed().known.insert(shard, position);
    }

    /// Has the next segment prepared by another thread, unless it is prepared already.
    pub fn prepare(&self) {
        self.spare.prepare();
    }

    /// A segment to be begun that has room for so many bytes.
    pub fn take(&self, bytes: u64) -> Result<Prepared> {
        self.spare.take(bytes)
    }

    /// Adds a segment, to which all records go from now on.
    pub fn begin(&self, live: Live) {
        self.needed().live.push(live);
    }

    /// Notes records of one commit that were synced, in the last segment: of each shard the position
    /// of the first, and where they begin.
    pub fn add(&self, records: impl Iterator<Item = (u16, i64, u32)>) {
        let needed = &mut *self.needed();
        let Some(live) = needed.live.last_mut() else {
            return;
        };
        for (shard, position, place) in records {
            live.part_from(shard, position).push(place);
            needed.known.insert(shard, position);
        }
    }

    /// How many segments are needed still, and how many bytes they have.
    pub fn counted(&self) -> (usize, u64) {
        let needed = self.needed();
        let sizes = needed.live.iter().map(|live| live.segment.size);
        (needed.live.len(), sizes.sum())
    }

    /// How many segments wait for shards, beside the one that is written.
    pub fn waiting(&self) -> usize {
        self.needed().live.len().saturating_sub(1)
    }

    /// The shards that keep the oldest segment from being given back: those that have not got so
    /// far, as `durable` says of each.
    pub fn needed_by(&self, durable: impl Fn(u16) -> i64) -> Vec<u16> {
        let needed = self.needed();
        match needed.live.as_slice() {
            [oldest, _, ..] => oldest.needed_by(durable).collect(),
            _ => Vec::new(),
        }
    }

    /// Gives back the segments that no shard needs any more: up to `durable` each shard has all in
    /// its own file, synced. How many were given back: none while someone keeps them from that.
    pub fn recycle(&self, durable: impl Fn(u16) -> i64) -> Result<usize> {
        let _held = match self.recycling.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(0),
            Ok(held) => held,
            Err(TryLockError::Poisoned(held)) => held.into_inner(),
        };
        let numbers: Vec<u64> = {
            let live = &mut self.needed().live;
            let Some(active) = live.pop() else {
                return Ok(0);
            };
            let is_done = |live: &mut Live| live.needed_by(&durable).next().is_none();
            let done = live.extract_if(.., is_done);
            let numbers = done.map(|live| live.segment.number).collect();
            live.push(active);
            numbers
        };
        let given_back = numbers.len();
        self.spare.give_back(numbers)?;
        Ok(given_back)
    }

    /// Whether each shard has everything in its own file, synced, as `durable` says.
    pub fn are_all_in(&self, durable: impl Fn(u16) -> i64) -> bool {
        let needed = self.needed();
        let mut live = needed.live.iter();
        live.all(|live| live.needed_by(&durable).next().is_none())
    }

    /// Removes all segments: everything is in the shards.
    pub fn remove_all(&self) -> Result<()> {
        let _held = relock(&self.recycling);
        self.spare.clear();
        self.needed().live.clear();
        files::remove(&self.dir, &files::numbers(&self.dir)?)
    }
}
