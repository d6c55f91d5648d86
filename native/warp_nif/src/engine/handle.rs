//! The handles of a journal and of its shards: what Erlang holds.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustler::{Env, LocalPid, Monitor, Resource, ResourceArc, Term};

use crate::atoms;
use crate::engine::apply as applier;
use crate::engine::context::{Attached, Engine};
use crate::engine::notes::LockNotes;
use crate::engine::write as writer;
use crate::error::{Error, Result, panic_message};
use crate::journal::{Journal, Segments, recover};
use crate::log::kinds::Kinds;
use crate::open::durability::Durability;
use crate::open::file::{self, Identity};
use crate::open::lock::DirLock;
use crate::open::replay;
use crate::reader::correlations;
use crate::reader::open_entities::{self, OpenEntities};
use crate::reader::view::{Reader, with_reader};
use crate::shard::background::Failing;
use crate::shard::shared::Shared;
use crate::shard::stats::Report;
use crate::sqlite::{Claim, random};
use crate::sync::relock;
use crate::verify::{Checker, Source};
use crate::writer::command::Command;

/// The handle of a context's journal.
pub struct JournalHandle {
    engine: Arc<Engine>,
    applier: Mutex<Option<JoinHandle<()>>>,
}

#[rustler::resource_impl]
impl Resource for JournalHandle {
    /// The owner process is gone: the threads stop, and the files can be opened again.
    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        self.engine.close();
    }
}

impl Drop for JournalHandle {
    fn drop(&mut self) {
        self.engine.close();
    }
}

impl JournalHandle {
    /// Opens or begins the journal in a locked folder, and starts its threads. Answers go to `owner`.
    ///
    /// The lock is held until all files are closed. Errors: `Claimed` while an earlier journal of the
    /// folder in this VM has not finished; `Corrupt`; those of the disk.
    pub fn open(lock: Arc<DirLock>, durability: Durability, owner: LocalPid) -> Result<Self> {
        let claim = Claim::take(lock.path())?;
        lock.check()?;
        let dir = lock
            .path()
            .parent()
            .map_or_else(PathBuf::new, PathBuf::from);
        let note = lock.read_note()?;
        let recovered = recover(&dir, lock.access, note.as_ref())?;
        let known = recovered.journal.or_else(|| file::journal_of(&dir));
        let journal = known.map_or_else(random, Ok)?;
        // From 1 to 2^63-1.
        let numbers = (journal, (random()? >> 1).cast_signed().max(1));
        let is_synced = durability == Durability::Full;
        let notes = LockNotes(Arc::clone(&lock));
        let journal = Journal::new(dir, &recovered, notes, numbers, is_synced)?;
        let segments = Arc::clone(&recovered.segments);
        let engine = Arc::new(Engine::new(owner, segments, numbers, lock));
        let io = |error: std::io::Error| {
            Error::Io(format!("a thread cannot be started: {error}").into())
        };
        let for_writer = Arc::clone(&engine);
        let writer = std::thread::Builder::new()
            .name("warp-writer".into())
            .spawn(move || writer::run(&for_writer, journal))
            .map_err(io)?;
        engine.queue.wakes(writer.thread().clone());
        let for_applier = Arc::clone(&engine);
        let applier = std::thread::Builder::new()
            .name("warp-applier".into())
            .spawn(move || {
                applier::run(&for_applier, writer);
                for_applier.unlock();
                drop(claim);
            })
            .map_err(|error| {
                engine.close();
                io(error)
            })?;
        Ok(Self {
            engine,
            applier: Mutex::new(Some(applier)),
        })
    }

    /// A report of the journal: name and value of each counter, and its work that nobody waits for which
    /// fails at present.
    pub fn report(&self) -> (Vec<(rustler::Atom, u64)>, Vec<Failing>) {
        let engine = &self.engine;
        let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let (segments, bytes) = engine.segments.counted();
        let counters = vec![
            (atoms::busy_ms(), engine.stats.busy_ms()),
            (atoms::queue_depth(), wide(engine.queue.depth())),
            (atoms::segments(), wide(segments)),
            (atoms::file_bytes(), bytes),
        ];
        (counters, engine.background.failing())
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The segments of the journal.
    pub fn segments(&self) -> &Arc<Segments> {
        &self.engine.segments
    }

    /// Stops the threads after what they are doing, closes all files and waits for that.
    pub fn close(&self) {
        self.engine.close();
        let applier = relock(&self.applier).take();
        if let Some(applier) = applier {
            // A panic was reported when it happened.
            let _ = applier.join();
        }
    }
}

/// What a shard is opened with.
pub struct Config {
    /// The database file.
    pub path: PathBuf,
    /// The context's name.
    pub context: String,
    /// The number of this shard, from 0.
    pub shard: u16,
    /// How many shards the context has.
    pub shards: u32,
    /// How many submissions may wait for the writer.
    pub queue_limit: usize,
    /// Of which entities it is kept whether they are open.
    pub kinds: Kinds,
}

/// The handle of an open shard.
pub struct Shard {
    shared: Arc<Shared>,
    engine: Arc<Engine>,
}

#[rustler::resource_impl]
impl Resource for Shard {
    /// The owner process is gone: the file is closed, and can be opened again.
    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        self.end();
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shard {
    /// Opens or creates the shard's file, and brings it up to the journal.
    ///
    /// Error: `Claimed` while the file of an earlier handle in this VM has not been closed; `Closed` when
    /// the journal is; and those of opening it.
    pub fn open(
        journal: &JournalHandle,
        config: Config,
        owner: LocalPid,
    ) -> Result<ResourceArc<Self>> {
        let engine = Arc::clone(&journal.engine);
        let claim = Claim::take(&config.path)?;
        let lock = engine.lock()?;
        lock.check()?;
        if engine.is_closed() {
            return Err(Error::Closed);
        }
        let identity = Identity {
            context: config.context,
            shard: i64::from(config.shard),
            shards: i64::from(config.shards),
            journal: engine.journal,
        };
        let may_create = (!lock.is_established()).then_some(lock.access);
        let (connection, sums) = file::open(&config.path, &identity, &config.kinds, may_create)?;
        // NOTE: a record that makes no sense to this library is a panic, which must not end the journal's
        // threads again and again.
        let replayed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let (segments, run) = (&engine.segments, engine.run);
            replay::open(connection, segments, config.shard, &config.kinds, run)
        }));
        let replayed = replayed.unwrap_or_else(|p| Err(Error::internal(panic_message(&*p))));
        let (mut store, tail) = replayed.map_err(|error| error.at(&config.path))?;
        store.watch.add_database(&config.path)?;
        store.watch.add(sums.path().to_owned())?;
        store.watch.add(lock.path().to_owned())?;
        let (position, bytes) = (store.applied(), store.look()?);
        let Config {
            path,
            shard,
            kinds,
            queue_limit,
            ..
        } = config;
        let mut shared = Shared::new((path, sums), shard, Some(owner), kinds, tail, queue_limit);
        shared.background = Arc::clone(&store.background);
        let shared = Arc::new(shared);
        // NOTE: set before anyone can ask, since the threads may begin late.
        shared.stats.position.store(position, Ordering::Relaxed);
        shared.stats.file_bytes.store(bytes, Ordering::Relaxed);
        #[cfg(feature = "fault")]
        crate::fault::at_open();
        engine.attach(Attached {
            shared: Arc::clone(&shared),
            store,
            keeps: Box::new((claim, lock)),
        })?;
        Ok(ResourceArc::new(Self { shared, engine }))
    }

    /// Queues a command, with its receipt. Errors: `Overloaded` at a limit of the queue, `Closed`.
    pub fn submit(&self, command: Command, receipt: Option<Term<'_>>) -> Result<()> {
        if self.shared.is_closed() {
            return Err(Error::Closed);
        }
        self.engine.queue.push(&self.shared, command, receipt)
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn end(&self) {
        if !self.shared.is_closed() {
            self.shared.close();
            self.engine.queue.detach(&self.shared);
        }
    }

    /// Its kinds of entities.
    pub fn kinds(&self) -> &Kinds {
        &self.shared.kinds
    }

    /// Runs `read` on a read-only connection, in one read transaction.
    pub fn read<T>(&self, read: impl FnMut(&Reader<'_>) -> Result<T>) -> Result<T> {
        with_reader(&self.shared, read)
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

    /// Has keys made of all lives up to a position of its log, or up to the end of it, and waits until these outlive a loss
    /// of power. Errors: `Closed`; those of the disk.
    pub fn make_keys(&self, up_to: i64) -> Result<()> {
        self.engine.make_keys(&self.shared, up_to)
    }

    /// A check of its file.
    pub fn check(&self) -> Result<Checker> {
        Checker::new(Source::open(&self.shared))
    }

    /// A report of the shard's counters.
    pub fn stats(&self) -> Report {
        self.shared.report()
    }

    /// Has the writer finish with the shard, closes its file and waits for that.
    pub fn close(&self) {
        self.end();
        self.shared.await_closed();
    }
}
