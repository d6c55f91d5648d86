//! What the handle, the writer and the readers of a shard share.

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rusqlite::Connection;

use super::background::Background;
use super::idle::Slot;
use super::kinds::Kinds;
use super::queue::Queue;
use super::stats::{Report, Stats};
use super::tail::Tail;
use crate::atoms;
use crate::sqlite::Gate;
use crate::sync::relock;

/// What the handle, the writer and the readers of a shard share.
pub struct Shared {
    /// The database file.
    pub path: PathBuf,
    /// Of which entities it is kept whether they are open.
    pub kinds: Kinds,
    /// What waits for the writer.
    pub queue: Queue,
    tail: RwLock<Tail>,
    /// What the writer counts.
    pub stats: Stats,
    /// Which work that no caller waits for fails at present.
    pub background: Arc<Background>,
    /// Read connections that are idle.
    pub readers: Mutex<Vec<(Connection, Slot)>>,
    /// What reads pass, and what ends them.
    pub gate: Gate,
}

impl Shared {
    /// Of an open file, whose tail was read.
    pub fn new(path: PathBuf, kinds: Kinds, tail: Tail, queue_limit: usize) -> Self {
        Self {
            path,
            kinds,
            queue: Queue::new(queue_limit),
            tail: RwLock::new(tail),
            stats: Stats::default(),
            background: Arc::default(),
            readers: Mutex::new(Vec::new()),
            gate: Gate::default(),
        }
    }

    /// Whether nothing may begin any more.
    pub fn is_closed(&self) -> bool {
        self.gate.has_ended()
    }

    /// Lets no read begin any more, and has the writer stop.
    pub fn close(&self) {
        self.gate.end();
        self.queue.wake();
    }

    /// For the writer thread, when closed: waits for the reads under way and closes their
    /// connections. The writer's own has to close last: only it can move what is left in the WAL
    /// into the file. Whether they have ended in time.
    pub fn end_readers(&self) -> bool {
        let have_ended = self.gate.wait_for_the_last();
        relock(&self.readers).clear();
        have_ended
    }

    /// The tail as of the last commit.
    pub fn tail(&self) -> RwLockReadGuard<'_, Tail> {
        self.tail.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the writer thread alone.
    pub fn tail_mut(&self) -> RwLockWriteGuard<'_, Tail> {
        self.tail.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A report of the shard's counters, for a normal scheduler: it reads them and does nothing else.
    pub fn report(&self) -> Report {
        let stats = &self.stats;
        let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Report {
            counters: vec![
                (atoms::queue_depth(), wide(self.queue.depth())),
                (atoms::queue_limit(), wide(self.queue.limit())),
                (atoms::queued_bytes(), wide(self.queue.bytes())),
                (atoms::commits(), stats.commits.load(Relaxed)),
                (atoms::failed_commits(), stats.failed_commits.load(Relaxed)),
                (atoms::appends(), stats.appends.load(Relaxed)),
                (atoms::events(), stats.events.load(Relaxed)),
                (atoms::bytes(), stats.bytes.load(Relaxed)),
                (
                    atoms::erased_entities(),
                    stats.erased_entities.load(Relaxed),
                ),
                (atoms::unflushed_rows(), stats.unflushed_rows.load(Relaxed)),
                (
                    atoms::position(),
                    stats.position.load(Relaxed).unsigned_abs(),
                ),
                (atoms::file_bytes(), stats.file_bytes.load(Relaxed)),
                (atoms::busy_ms(), stats.busy_ms()),
            ],
            background: self.background.failing(),
            sync: stats.sync.read(),
            commit: stats.commit.read(),
        }
    }
}
