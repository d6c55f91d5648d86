//! What the handle, the writer and the readers of a shard share.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rusqlite::Connection;
use rustler::LocalPid;

use crate::atoms;
use crate::error::{Error, Result};
use crate::log::kinds::Kinds;
use crate::shard::background::Background;
use crate::shard::idle::Slot;
use crate::shard::stats::{Report, Stats};
use crate::shard::waiting::Waiting;
use crate::sqlite::{self, Gate, Sums, UnderWay};
use crate::sync::relock;
use crate::tail::memory::Tail;

/// What the handle, the writer and the readers of a shard share.
pub struct Shared {
    /// The database file.
    pub path: PathBuf,
    /// Of which entities it is kept whether they are open.
    pub kinds: Kinds,
    /// The sums of the file's pages, which all connections share.
    pub sums: Arc<Sums>,
    /// The number of the shard, from 0.
    pub number: u16,
    /// The process that opened it; none in tests.
    pub owner: Option<LocalPid>,
    /// What waits for the writer.
    pub waiting: Waiting,
    tail: RwLock<Tail>,
    /// What the writer counts.
    pub stats: Stats,
    /// Which work that no caller waits for fails at present.
    pub background: Arc<Background>,
    /// Read connections that are idle.
    pub readers: Mutex<Vec<(Connection, Slot)>>,
    /// What reads pass, and what ends them.
    pub gate: Gate,
    /// The writer's own connection to look things up in the file, once it needed one.
    pub lookup: Mutex<Option<Connection>>,
    /// The file as it is on the disk, once another node wanted pages of it.
    pages: Mutex<Option<File>>,
    /// The writer is done with it: nothing is added to its tail any more.
    detached: AtomicBool,
    /// Whether its file is closed.
    closed: Mutex<bool>,
    closing: Condvar,
}

impl Shared {
    /// Of an open file, which has everything up to the tail.
    pub fn new(
        (path, sums): (PathBuf, Arc<Sums>),
        number: u16,
        owner: Option<LocalPid>,
        kinds: Kinds,
        tail: Tail,
        queue_limit: usize,
    ) -> Self {
        Self {
            path,
            sums,
            number,
            owner,
            kinds,
            waiting: Waiting::new(queue_limit),
            tail: RwLock::new(tail),
            stats: Stats::default(),
            background: Arc::default(),
            readers: Mutex::new(Vec::new()),
            gate: Gate::default(),
            lookup: Mutex::new(None),
            pages: Mutex::new(None),
            detached: AtomicBool::new(false),
            closed: Mutex::new(false),
            closing: Condvar::new(),
        }
    }

    /// Whether nothing may begin any more.
    pub fn is_closed(&self) -> bool {
        self.gate.has_ended()
    }

    /// Lets nothing begin any more.
    pub fn close(&self) {
        self.gate.end();
    }

    /// The writer is done with it.
    pub fn detach(&self) {
        self.detached.store(true, Ordering::Release);
    }

    /// Whether the writer is done with it.
    pub fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Acquire)
    }

    /// Its file is closed.
    pub fn has_closed(&self) {
        *relock(&self.closed) = true;
        self.closing.notify_all();
    }

    /// Waits until its file is closed.
    pub fn await_closed(&self) {
        let mut closed = relock(&self.closed);
        while !*closed {
            let waited = self.closing.wait(closed);
            closed = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// When closed: waits for the reads under way and closes all connections that only read. The one
    /// that writes has to close last: only it can move what is left in the WAL into the file. Whether
    /// they have ended in time.
    pub fn end_readers(&self) -> bool {
        let have_ended = self.gate.wait_for_the_last();
        relock(&self.readers).clear();
        *relock(&self.lookup) = None;
        have_ended
    }

    /// Pages of the file as they are on the disk, numbered from 1. Errors: `Closed`; `Io`.
    ///
    /// NOTE: what was opened for that stays open as long as the shard. On macOS, who closes any descriptor of a database
    /// takes SQLite's locks on it away.
    pub fn read_pages(&self, pages: &[u32]) -> Result<Vec<u8>> {
        let _under_way = UnderWay::begin(&self.gate)?;
        let mut opened = relock(&self.pages);
        let io = |error| Error::io(&self.path, error);
        let file = match opened.take() {
            Some(file) => file,
            None => File::open(&self.path).map_err(io)?,
        };
        sqlite::read_pages(opened.insert(file), pages).map_err(io)
    }

    /// When all connections are closed: what was opened beside them.
    pub fn close_pages(&self) {
        relock(&self.pages).take();
    }

    /// The tail as of the last commit.
    pub fn tail(&self) -> RwLockReadGuard<'_, Tail> {
        self.tail.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the threads that write and apply alone.
    pub fn tail_mut(&self) -> RwLockWriteGuard<'_, Tail> {
        self.tail.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A report of the shard's counters, for a normal scheduler: it reads them and does nothing else.
    pub fn report(&self) -> Report {
        let stats = &self.stats;
        let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Report {
            counters: vec![
                (atoms::queue_depth(), wide(self.waiting.depth())),
                (atoms::queue_limit(), wide(self.waiting.limit())),
                (atoms::queued_bytes(), wide(self.waiting.bytes())),
                (atoms::commits(), stats.commits.load(Relaxed)),
                (atoms::failed_commits(), stats.failed_commits.load(Relaxed)),
                (atoms::appends(), stats.appends.load(Relaxed)),
                (atoms::events(), stats.events.load(Relaxed)),
                (atoms::bytes(), stats.bytes.load(Relaxed)),
                (
                    atoms::erased_entities(),
                    stats.erased_entities.load(Relaxed),
                ),
                (atoms::unflushed_rows(), wide(self.tail().steps())),
                (
                    atoms::position(),
                    stats.position.load(Relaxed).unsigned_abs(),
                ),
                (atoms::file_bytes(), stats.file_bytes.load(Relaxed)),
            ],
            background: self.background.failing(),
            sync: stats.sync.read(),
            commit: stats.commit.read(),
        }
    }
}
