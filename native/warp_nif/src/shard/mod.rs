//! A shard: one SQLite file, one writer thread, readers on their own connections.
//!
//! The handle here is what Erlang holds. Appends, erasures and snapshots are only queued by it;
//! the writer thread (`writer`) carries them out and answers through the shard's owner process.

mod background;
mod chain;
mod command;
mod compact;
#[cfg(test)]
mod damage_tests;
mod entities;
mod erasing;
mod flush;
mod follow;
mod gate;
mod idle;
mod ids;
mod lock;
mod queue;
mod reader;
mod rows;
mod runs;
mod saga_reads;
mod sagas;
mod schema;
mod snapshots;
mod stats;
mod store;
mod tail;
#[cfg(test)]
mod tests;
mod transaction;
mod wal;
#[cfg(test)]
mod wal_tests;
mod writer;

pub use command::{Append, Command, Receipt, Submission};
pub use follow::Stretch;
pub use lock::{DirLock, LockHandle};
pub use reader::{Direction, Page, Reader};
pub use rows::Row;
pub use saga_reads::OpenSagas;
pub use snapshots::SnapshotRow;
pub use stats::Report;

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustler::{Env, LocalPid, Monitor, Resource, ResourceArc};

use crate::error::{Error, Result};
use background::Background;
use gate::Gate;
use queue::Queue;
use schema::Identity;
use stats::Stats;
use tail::Tail;

/// What a shard is opened with.
pub struct Config {
    /// The database file.
    pub path: PathBuf,
    /// The context's name.
    pub context: String,
    /// The number of this shard, from 0.
    pub shard: u32,
    /// How many shards the context has.
    pub shards: u32,
    /// Whether each commit is fsynced before it is acknowledged.
    pub durability: Durability,
    /// How many submissions may wait for the writer.
    pub queue_limit: usize,
}

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After its fsync: it outlives a power failure.
    Full,
    /// After it is written to the operating system: it outlives the VM, not a power failure.
    Normal,
}

/// How long closing waits for reads under way.
const READER_PATIENCE: Duration = Duration::from_secs(10);

/// What the handle, the writer and the readers of a shard share.
pub struct Shared {
    path: PathBuf,
    queue: Queue,
    tail: RwLock<Tail>,
    stats: Stats,
    background: Arc<Background>,
    readers: Mutex<Vec<(Connection, idle::Slot)>>,
    gate: Gate,
    closed: AtomicBool,
}

/// The handle of an open shard.
pub struct Shard {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[rustler::resource_impl]
impl Resource for Shard {
    /// The owner process is gone: the writer stops, and the file can be opened again.
    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        self.shared.close();
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shard {
    /// Opens or creates the shard's file and starts its writer. Answers go to `owner`.
    ///
    /// The lock is held until the writer has closed the file. Error: `Claimed` while an earlier
    /// writer of the same file in this VM has not finished; and those of opening it.
    pub fn open(config: Config, lock: Arc<DirLock>, owner: LocalPid) -> Result<ResourceArc<Self>> {
        let claim = Claim::take(&config.path)?;
        lock.check()?;
        let identity = Identity {
            context: config.context,
            shard: i64::from(config.shard),
            shards: i64::from(config.shards),
        };
        let connection = schema::open(
            &config.path,
            &identity,
            config.durability,
            (!lock.is_established()).then_some(lock.access),
        )?;
        let (mut store, tail) = store::Store::recover(connection)?;
        store.watch.add_database(&config.path)?;
        store.watch.add(lock.path().to_owned())?;
        let position = store.position();
        let mut shared = Shared::new(config.path, tail, config.queue_limit);
        shared.background = Arc::clone(&store.background);
        let shared = Arc::new(shared);
        // Before anyone can ask: the thread may begin late.
        shared.stats.position.store(position, Ordering::Relaxed);
        let for_writer = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name(format!("warp-shard-{:04}", config.shard))
            .spawn(move || {
                writer::run(&for_writer, store, owner);
                drop((claim, lock));
            })
            .map_err(|error| Error::io(&shared.path, &error))?;
        shared.queue.wakes(writer.thread().clone());
        Ok(ResourceArc::new(Self {
            shared,
            writer: Mutex::new(Some(writer)),
        }))
    }

    /// Queues a command. Errors: `Overloaded` at a limit of the queue, `Closed`.
    pub fn submit(&self, command: Command) -> Result<()> {
        if self.shared.is_closed() {
            return Err(Error::Closed);
        }
        self.shared.queue.push(command)
    }

    /// Runs `read` on a read-only connection, in one read transaction.
    pub fn read<T>(&self, read: impl FnOnce(&Reader<'_>) -> Result<T>) -> Result<T> {
        reader::with_reader(&self.shared, read)
    }

    /// The sagas that are not closed.
    pub fn open_sagas(&self) -> Result<OpenSagas> {
        saga_reads::open_sagas(&self.shared)
    }

    /// The steps of sagas, as saga and number, that left events in the entity's log.
    pub fn saga_steps(&self, entity: &str) -> Result<BTreeSet<(String, u64)>> {
        saga_reads::saga_steps(&self.shared, entity)
    }

    /// A report of the shard's counters.
    pub fn stats(&self) -> Report {
        self.shared.report()
    }

    /// Stops the writer after what it is doing, closes the file and waits for both.
    pub fn close(&self) {
        self.shared.close();
        let writer = relock(&self.writer).take();
        if let Some(writer) = writer {
            // A panic of the writer was reported when it happened.
            let _ = writer.join();
        }
    }
}

impl Shared {
    fn new(path: PathBuf, tail: Tail, queue_limit: usize) -> Self {
        Self {
            path,
            queue: Queue::new(queue_limit),
            tail: RwLock::new(tail),
            stats: Stats::default(),
            background: Arc::default(),
            readers: Mutex::new(Vec::new()),
            gate: Gate::default(),
            closed: AtomicBool::new(false),
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.gate.open();
        self.queue.wake();
    }

    /// For the writer thread, when closed: waits for the reads under way and closes their
    /// connections. The writer's own has to close last: only it can move what is left in the WAL
    /// into the file. Whether they have ended in time.
    fn end_readers(&self) -> bool {
        let deadline = Instant::now() + READER_PATIENCE;
        while !self.gate.is_idle() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        relock(&self.readers).clear();
        self.gate.is_idle()
    }

    fn tail(&self) -> RwLockReadGuard<'_, Tail> {
        self.tail.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the writer thread alone.
    fn tail_mut(&self) -> RwLockWriteGuard<'_, Tail> {
        self.tail.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Locks a mutex whose data stays consistent even if a holder panicked.
fn relock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to be the one writer of a file in this VM.
pub struct Claim(PathBuf);

static CLAIMED: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);

impl Claim {
    /// Takes the claim. Error: `Claimed` while an earlier writer of the file has not finished;
    /// nothing here waits for it, since what it still has to do may need the waiting thread.
    pub fn take(path: &Path) -> Result<Self> {
        if relock(&CLAIMED)
            .get_or_insert_default()
            .insert(path.to_owned())
        {
            Ok(Self(path.to_owned()))
        } else {
            Err(Error::Claimed)
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        relock(&CLAIMED).get_or_insert_default().remove(&self.0);
    }
}
