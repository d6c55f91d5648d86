//! What the threads of one context share: the queue, the journal's segments, and what the thread that
//! applies has to look after.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustler::LocalPid;

use crate::apply::store::Store;
use crate::engine::hold::{Hold, Holding};
use crate::engine::notes::LockNotes;
use crate::engine::room::{Left, Room};
use crate::error::{Error, Result};
use crate::journal::{Journal, Segments};
use crate::open::lock::DirLock;
use crate::shard::background::Background;
use crate::shard::shared::Shared;
use crate::shard::stats::Stats;
use crate::sync::relock;
use crate::writer::answers::answer;
use crate::writer::command::{Answer, Command};
use crate::writer::queue::{Batch, Queue};

/// How many segments may wait for shards.
const MAX_SEGMENTS: usize = 16;
/// How long the writer waits at once for the thread that applies.
const WAIT: Duration = Duration::from_millis(10);

/// An answer that waits until a step is applied, and what it has erased is gone.
pub struct Deferred {
    /// Who gets it.
    pub from: LocalPid,
    /// What.
    pub answer: Answer,
    /// The position of the step.
    pub position: i64,
    /// The hash of the entity's id, if it is one's erasure.
    pub hash: Option<i64>,
}

/// A shard that the thread that applies looks after.
pub struct Attached {
    /// The shard.
    pub shared: Arc<Shared>,
    /// Its file.
    pub store: Store,
    /// What holds the file and the folder for it.
    pub keeps: Box<dyn Send>,
}

/// What the writer is to do between two commits.
pub type Between = Box<dyn FnOnce(&mut Journal<LockNotes>) + Send>;

/// What the thread that applies is told.
#[derive(Default)]
pub struct Inbox {
    /// Shards that were opened.
    pub attached: Vec<Attached>,
    /// Answers to be given later, by shard.
    pub deferred: Vec<(Arc<Shared>, Deferred)>,
    /// Snapshots to be kept, by shard.
    pub snapshots: Vec<(Arc<Shared>, Command)>,
    /// Shards whose WALs are to be moved, and who waits for that.
    pub moves: Vec<(Arc<Shared>, Sender<Result<()>>)>,
    /// Shards that are to have keys up to a position, and who waits for that.
    pub keys: Vec<(Arc<Shared>, i64, Sender<Result<()>>)>,
    /// Look after all shards at once.
    pub hurry: bool,
    /// Nobody looks after anything any more.
    ended: bool,
}

impl Inbox {
    /// Tells those who wait that nobody does what they wait for.
    fn refuse(&mut self) {
        self.moves.clear();
        self.keys.clear();
    }
}

/// What the threads of one context share.
pub struct Engine {
    /// The process that gets all answers.
    pub owner: LocalPid,
    /// What waits for the writer.
    pub queue: Queue,
    /// The journal's segments.
    pub segments: Arc<Segments>,
    /// The journal's number.
    pub journal: u64,
    /// The number of this run.
    pub run: i64,
    /// The lock on the folder, until all files are closed.
    lock: Mutex<Option<Arc<DirLock>>>,
    /// Of the journal.
    pub stats: Stats,
    /// Which work of the journal that no caller waits for fails at present.
    pub background: Arc<Background>,
    /// What is to be done between two commits; none once the writer has ended.
    between: Mutex<Option<Vec<Between>>>,
    inbox: Mutex<Inbox>,
    told: Condvar,
    /// Told when something was applied.
    applied: Condvar,
    applying: Mutex<()>,
    /// How much may wait to be applied.
    pub room: Room,
    /// Why a shard cannot be brought up to the journal at present, if one cannot.
    stuck: Mutex<Option<Error>>,
    /// The thread that applies sleeps until it is told.
    sleeps: AtomicBool,
    /// Something was added to a tail since that thread last began its turn.
    added: AtomicBool,
    closed: AtomicBool,
    /// How often something was applied, or failed to be.
    turns: AtomicU64,
}

impl Engine {
    /// Of an open journal.
    pub fn new(
        owner: LocalPid,
        segments: Arc<Segments>,
        (journal, run): (u64, i64),
        lock: Arc<DirLock>,
    ) -> Self {
        Self {
            owner,
            queue: Queue::new(),
            segments,
            journal,
            run,
            lock: Mutex::new(Some(lock)),
            stats: Stats::default(),
            background: Arc::default(),
            between: Mutex::new(Some(Vec::new())),
            inbox: Mutex::default(),
            told: Condvar::new(),
            applied: Condvar::new(),
            applying: Mutex::new(()),
            room: Room::default(),
            stuck: Mutex::new(None),
            sleeps: AtomicBool::new(false),
            added: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            turns: AtomicU64::new(0),
        }
    }

    /// The lock on the folder. Error: `Closed`, when all files are.
    pub fn lock(&self) -> Result<Arc<DirLock>> {
        relock(&self.lock).clone().ok_or(Error::Closed)
    }

    /// All files are closed: the folder is free, whoever may still have a handle.
    pub fn unlock(&self) {
        relock(&self.lock).take();
    }

    /// Whether the journal is being closed.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Has the writer stop after what it is doing.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.queue.wake();
    }

    /// For the writer, which ends: what is left in the queue.
    pub fn end(&self) -> Batch {
        self.close();
        let rest = self.queue.end();
        relock(&self.between).take();
        self.hurry();
        rest
    }

    /// Has the writer do something between two commits, and waits for that. Errors: `Closed`; those of `work`.
    pub fn between_commits<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Journal<LockNotes>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (done, answer) = channel();
        let between: Between = Box::new(move |journal| {
            // Who waits for it may have gone.
            let _ = done.send(work(journal));
        });
        match &mut *relock(&self.between) {
            Some(all) => all.push(between),
            None => return Err(Error::Closed),
        }
        self.queue.wake();
        answer.recv().unwrap_or(Err(Error::Closed))
    }

    /// As [`Self::between_commits`]; then the writer makes no commit until the hold is released, for `limit` at most.
    pub fn hold<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
        limit: Duration,
    ) -> Result<(T, Hold)> {
        let hold = Arc::new(Holding::default());
        let held = Hold(Arc::clone(&hold));
        let (done, answer) = channel();
        let between: Between = Box::new(move |_| {
            let result = work();
            if done.send(result).is_ok() {
                hold.wait(limit);
            }
        });
        match &mut *relock(&self.between) {
            Some(all) => all.push(between),
            None => return Err(Error::Closed),
        }
        self.queue.wake();
        let made = answer.recv().unwrap_or(Err(Error::Closed));
        // When it failed the hold is dropped here, which releases it.
        made.map(|made| (made, held))
    }

    /// For the writer: what it is to do between two commits.
    pub fn between(&self) -> Vec<Between> {
        let mut between = relock(&self.between);
        between.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Has everything that is committed of a shard brought into its file, and its WAL moved, and waits for that. Errors:
    /// `Closed`; those of the disk.
    pub fn move_wal(&self, shared: &Arc<Shared>) -> Result<()> {
        self.ask(|inbox, done| inbox.moves.push((Arc::clone(shared), done)))
    }

    /// Has keys made of all lives up to a position of a shard, or up to the end of its log, and waits until these outlive a
    /// loss of power. Errors: `Closed`; those of the disk.
    pub fn make_keys(&self, shared: &Arc<Shared>, up_to: i64) -> Result<()> {
        self.ask(|inbox, done| inbox.keys.push((Arc::clone(shared), up_to, done)))
    }

    /// Tells the thread that applies something, and waits until it is done. Error: `Closed`.
    fn ask(&self, tell: impl FnOnce(&mut Inbox, Sender<Result<()>>)) -> Result<()> {
        let (done, answer) = channel();
        {
            let mut inbox = self.inbox();
            if inbox.ended {
                return Err(Error::Closed);
            }
            tell(&mut inbox, done);
        }
        self.hurry();
        answer.recv().unwrap_or(Err(Error::Closed))
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        relock(&self.inbox)
    }

    /// Gives answers.
    pub fn answer(&self, answers: Vec<(LocalPid, Answer)>) {
        answer(self.owner, &answers);
    }

    /// A shard was opened. Error: `Closed`, when the thread that applies has ended meanwhile: its file is
    /// closed at once.
    pub fn attach(&self, attached: Attached) -> Result<()> {
        let mut inbox = self.inbox();
        if inbox.ended {
            return Err(Error::Closed);
        }
        inbox.attached.push(attached);
        self.told.notify_one();
        Ok(())
    }

    /// For the thread that applies: ends, unless another shard was opened. Whether it may end.
    pub fn leave(&self) -> bool {
        let mut inbox = self.inbox();
        inbox.ended = inbox.attached.is_empty();
        if inbox.ended {
            inbox.refuse();
        }
        inbox.ended
    }

    /// For the thread that applies, which has crashed: the shards that nobody looks after.
    pub fn abandon(&self) -> Vec<Attached> {
        let mut inbox = self.inbox();
        inbox.ended = true;
        inbox.refuse();
        std::mem::take(&mut inbox.attached)
    }

    /// An answer is to be given once the step at its position is applied.
    pub fn defer(
        &self,
        shared: &Arc<Shared>,
        from: LocalPid,
        answer: Answer,
        position: i64,
        hash: Option<i64>,
    ) {
        let deferred = Deferred {
            from,
            answer,
            position,
            hash,
        };
        self.inbox().deferred.push((Arc::clone(shared), deferred));
        self.hurry();
    }

    /// A snapshot is to be kept.
    pub fn keep_snapshot(&self, shared: &Arc<Shared>, snapshot: Command) {
        self.inbox().snapshots.push((Arc::clone(shared), snapshot));
    }

    /// Has all shards looked after at once.
    pub fn hurry(&self) {
        self.inbox().hurry = true;
        self.told.notify_one();
    }

    /// So many bytes of events were added to the tails.
    pub fn has_to_apply(&self, bytes: usize) {
        self.room.add(bytes);
        self.added.store(true, Ordering::SeqCst);
        if self.sleeps.load(Ordering::SeqCst) && self.sleeps.swap(false, Ordering::SeqCst) {
            self.told.notify_one();
        }
    }

    /// For the thread that applies: what it was told, after waiting for that for as long as `pause`. An
    /// idle one that was told nothing also goes on when something is added to a tail.
    pub fn told(&self, pause: Duration, is_idle: bool) -> Inbox {
        let mut inbox = self.inbox();
        if !inbox.hurry && inbox.attached.is_empty() && !pause.is_zero() {
            self.sleeps.store(is_idle, Ordering::SeqCst);
            // NOTE: looked at after the flag is up. What is added before that notifies nobody.
            let is_late = is_idle && self.added.load(Ordering::SeqCst);
            let pause = if is_late { Duration::ZERO } else { pause };
            let waited = self.told.wait_timeout(inbox, pause);
            inbox = waited.unwrap_or_else(PoisonError::into_inner).0;
            self.sleeps.store(false, Ordering::SeqCst);
        }
        self.added.store(false, Ordering::SeqCst);
        std::mem::take(&mut inbox)
    }

    /// The thread that applies has done what it could: so many bytes are left, and so many of them in shards
    /// that cannot be brought up to the journal; and why one cannot.
    pub fn turned(&self, (unapplied, held): (usize, usize), stuck: Option<Error>) {
        self.room.counted(unapplied, held);
        *relock(&self.stuck) = stuck;
        let held = relock(&self.applying);
        self.turns.fetch_add(1, Ordering::Relaxed);
        drop(held);
        self.applied.notify_all();
    }

    /// For the writer: waits until a shard has room for more, as long as the thread that applies gets
    /// on, and calls `let_go` before it does. Error: why it does not. What all shards together have gathered can
    /// be another one's fault.
    pub fn await_room(&self, shared: &Shared, let_go: impl Fn()) -> Result<()> {
        loop {
            let is_full = shared.tail().is_full();
            let left = self.room.left();
            let are_full = left == Left::None || self.segments.waiting() > MAX_SEGMENTS;
            if !is_full && !are_full && left == Left::Some {
                return Ok(());
            }
            let own = shared.background.first_error();
            let others = || {
                let stuck = if are_full {
                    relock(&self.stuck).clone()
                } else {
                    None
                };
                stuck.or_else(|| self.background.first_error())
            };
            if let Some(error) = own.or_else(others) {
                return Err(error);
            }
            if self.is_closed() {
                return Err(Error::Closed);
            }
            let_go();
            self.hurry();
            let held = relock(&self.applying);
            drop(self.applied.wait_timeout(held, WAIT));
        }
    }
}
