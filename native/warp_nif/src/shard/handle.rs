//! The handle of a shard: what Erlang holds.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustler::{Env, LocalPid, Monitor, Resource, ResourceArc};

use super::command::Command;
use super::correlations;
use super::kinds::Kinds;
use super::lock::DirLock;
use super::open_entities::{self, OpenEntities};
use super::reader::{self, Reader};
use super::schema::{self, Durability, Identity};
use super::shared::Shared;
use super::stats::Report;
use super::store::Store;
use super::writer;
use crate::error::{Error, Result};
use crate::sqlite::Claim;
use crate::sync::relock;

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
    /// Of which entities it is kept whether they are open.
    pub kinds: Kinds,
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
        let (mut store, tail) = Store::recover(connection, &config.kinds)?;
        store.watch.add_database(&config.path)?;
        store.watch.add(lock.path().to_owned())?;
        let position = store.position();
        let mut shared = Shared::new(config.path, config.kinds, tail, config.queue_limit);
        shared.background = Arc::clone(&store.background);
        let shared = Arc::new(shared);
        // NOTE: set before anyone can ask, since the thread may begin late.
        shared.stats.position.store(position, Ordering::Relaxed);
        let for_writer = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name(format!("warp-shard-{:04}", config.shard))
            .spawn(move || {
                writer::run(&for_writer, store, owner);
                drop((claim, lock));
            })
            .map_err(|error| Error::io(&shared.path, error))?;
        shared.gate.wakes(writer.thread().clone());
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

    /// The open entities of the kind with that prefix. Error: `Internal` when the shard was opened
    /// without it.
    pub fn open_entities(&self, prefix: &str) -> Result<OpenEntities> {
        open_entities::open_entities(&self.shared, prefix)
    }

    /// The correlations of the entity's events, each with the number that an event's id has behind
    /// the correlation and one of the infixes.
    pub fn correlations(
        &self,
        entity: &str,
        infixes: &[String],
    ) -> Result<BTreeSet<(String, u64)>> {
        correlations::correlations(&self.shared, entity, infixes)
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
