//! What is done of one shard by the thread that applies.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustler::{Encoder, LocalPid};

use crate::apply::store::Store;
use crate::atoms;
use crate::engine::context::{Attached, Deferred, Engine};
use crate::error::{Error, Result};
use crate::shard::background::Task;
use crate::shard::shared::Shared;
use crate::writer::answers::send;
use crate::writer::command::{Answer, Command};

/// How long rows wait at most before they are brought into the file, unless that fails.
pub const APPLY_EVERY: Duration = Duration::from_millis(80);
/// After how many bytes of events they do not wait.
const APPLY_BYTES: usize = 4 * 1024 * 1024;
/// How often files are looked at, and what failed is tried again.
pub const IDLE: Duration = Duration::from_secs(1);
/// How long an erasure waits for other programs that read the file. Nobody else does.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many positions may wait to be blanked before that is done though nobody waits.
const MAX_BLANK: usize = 10_000;

/// A shard that is looked after.
pub struct Looked {
    /// Taken when the file is closed.
    pub attached: Option<Attached>,
    /// The shard.
    pub shared: Arc<Shared>,
    /// Snapshots to be kept.
    pub snapshots: Vec<Command>,
    deferred: Vec<Waiting>,
    applied_at: Instant,
    looked: Instant,
    /// When to go on with what failed.
    again: Option<Instant>,
    erase_again: Option<Instant>,
}

/// Who waits for an erasure, and how far it is.
struct Waiting {
    from: LocalPid,
    answer: Answer,
    position: i64,
    hash: Option<i64>,
    /// Since when all is overwritten, and only the WAL and the journal hold bytes of it.
    overwritten: Option<Instant>,
}

impl Drop for Looked {
    fn drop(&mut self) {
        drop(self.attached.take());
        self.shared.has_closed();
    }
}

impl Looked {
    /// A shard that was opened.
    pub fn new(attached: Attached) -> Self {
        Self {
            shared: Arc::clone(&attached.shared),
            attached: Some(attached),
            snapshots: Vec::new(),
            deferred: Vec::new(),
            applied_at: Instant::now(),
            looked: Instant::now(),
            again: None,
            erase_again: None,
        }
    }

    /// Someone waits for an erasure, or for what else is answered when it is applied.
    pub fn defer(&mut self, deferred: Deferred) {
        let Deferred {
            from,
            answer,
            position,
            hash,
        } = deferred;
        self.deferred.push(Waiting {
            from,
            answer,
            position,
            hash,
            overwritten: None,
        });
    }

    /// Does what is to be done of a shard. After how long to look at it again.
    pub fn turn(&mut self, engine: &Engine, hurry: bool) -> Duration {
        let now = Instant::now();
        if self.looked.elapsed() >= IDLE {
            self.looked = now;
            self.look_at_files();
            // Nobody's view of the file is older than that.
            let old = self.shared.tail_mut().forget_applied();
            drop(old);
        }
        match &self.attached {
            None => return IDLE,
            Some(attached) if attached.store.is_lost() => {
                if !self.shared.is_closed() {
                    self.shared.close();
                    engine.queue.detach(&self.shared);
                }
                return IDLE;
            }
            Some(_) => {}
        }
        let (steps, bytes) = {
            let tail = self.shared.tail();
            (tail.steps(), tail.bytes())
        };
        let is_late = hurry || bytes >= APPLY_BYTES || self.applied_at.elapsed() >= APPLY_EVERY;
        let has_to = is_late && (steps > 0 || !self.snapshots.is_empty());
        if has_to && self.again.is_none_or(|again| again <= now) {
            self.applied_at = now;
            self.again = self.apply(engine).err().map(|_| now + IDLE);
            self.look_at_files();
        }
        self.go_on_erasing(engine)
    }

    fn look_at_files(&mut self) {
        // The store keeps the error that it finds, and the file is closed over it.
        if let Some(Attached { store, .. }) = &mut self.attached
            && let Ok(bytes) = store.look()
        {
            self.shared.stats.file_bytes.store(bytes, Relaxed);
        }
    }

    /// Brings everything into the file.
    fn apply(&mut self, engine: &Engine) -> Result<()> {
        loop {
            let Some(Attached { store, .. }) = &mut self.attached else {
                return Ok(());
            };
            let stretch = self.shared.tail_mut().begin_apply();
            let is_more = stretch.is_some();
            if !is_more && self.snapshots.is_empty() {
                return Ok(());
            }
            let applied = store.apply(stretch.as_deref(), &self.snapshots);
            let failing = &self.shared.background;
            match &applied {
                // Both go in one transaction, and rows are what it is there for.
                Err(_) if is_more => failing.note(Task::WriteBehind, &applied),
                Err(_) => failing.note(Task::Snapshot, &applied),
                Ok(_) => {
                    failing.note(Task::WriteBehind, &applied);
                    failing.note(Task::Snapshot, &applied);
                }
            }
            self.snapshots.clear();
            let broken = match applied {
                Ok(broken) => broken,
                Err(error) => {
                    self.fail(engine, &error, |waiting| waiting.overwritten.is_none());
                    return Err(error);
                }
            };
            if is_more {
                let old = self.shared.tail_mut().applied_all();
                drop(old);
            }
            for (position, error) in broken {
                self.shared
                    .background
                    .note::<()>(Task::Erase, &Err(error.clone()));
                self.fail(engine, &error, |waiting| waiting.position == position);
            }
            if !is_more || self.shared.tail().steps() == 0 {
                return Ok(());
            }
        }
    }

    /// Between two transactions: erases a piece of what is to be erased, tends the WAL, and answers
    /// whose bytes are gone. How long to sleep when nothing else is to be done.
    fn go_on_erasing(&mut self, engine: &Engine) -> Duration {
        let now = Instant::now();
        let Some(Attached { store, .. }) = &mut self.attached else {
            return IDLE;
        };
        if let Some(hash) = store.erases_next()
            && self.erase_again.is_none_or(|at| at <= now)
        {
            self.erase_again = None;
            if let Err(error) = store.erase_piece() {
                self.erase_again = Some(now + IDLE);
                self.fail(engine, &error, |waiting| waiting.hash == Some(hash));
            }
        }
        let Some(Attached { store, .. }) = &mut self.attached else {
            return IDLE;
        };
        let mut has_corrected = false;
        for waiting in &mut self.deferred {
            let is_applied = store.applied() >= waiting.position;
            let is_left = waiting.hash.is_some_and(|hash| store.is_erasing(hash));
            if waiting.overwritten.is_none() && is_applied && !is_left {
                waiting.overwritten = Some(now);
                has_corrected |= matches!(waiting.answer, Answer::Corrected);
                store.wal().hurry();
            }
        }
        if has_corrected {
            self.settle(engine, |waiting| {
                matches!(waiting.answer, Answer::Corrected)
            });
        }
        let Some(Attached { store, .. }) = &mut self.attached else {
            return IDLE;
        };
        let someone_waits = self.deferred.iter().any(|d| d.overwritten.is_some());
        if store.blank().len() > MAX_BLANK {
            store.wal().overwrote(true, false);
        }
        let tended = store.tend_wal(&self.shared, someone_waits);
        let is_clean = !store.wal().holds_any();
        let gone = match tended {
            Ok(()) if is_clean && someone_waits => self.blank(engine),
            Ok(()) if is_clean && !store.blank().is_empty() => self.blank(engine),
            other => other,
        };
        match gone {
            Ok(()) if is_clean => self.settle(engine, |_| true),
            Ok(()) => {}
            Err(error) => self.fail(engine, &error, |waiting| {
                waiting
                    .overwritten
                    .is_some_and(|since| since.elapsed() >= PATIENCE)
            }),
        }
        let Some(Attached { store, .. }) = &mut self.attached else {
            return IDLE;
        };
        let erase_again = match (store.erases_next(), self.erase_again) {
            (None, _) => IDLE,
            (Some(_), None) => Duration::ZERO,
            (Some(_), Some(at)) => at.saturating_duration_since(Instant::now()),
        };
        let tend_again = store.wal().look_again().unwrap_or(IDLE);
        erase_again.min(tend_again).min(IDLE)
    }

    /// Blanks the records of the journal that say what is erased in the file, where that is durable.
    fn blank(&mut self, engine: &Engine) -> Result<()> {
        let Some(Attached { store, .. }) = &mut self.attached else {
            return Ok(());
        };
        let shard = self.shared.number;
        let positions = store.blank().clone();
        let segments = &engine.segments;
        let blanked = Self::outlives(store, segments.last_of_earlier(shard, engine.run))
            .and_then(|()| segments.blank(shard, &positions))
            .and_then(|()| segments.blank_earlier(shard, engine.run));
        self.shared.background.note(Task::EmptyWal, &blanked);
        if blanked.is_ok() {
            store.blank().clear();
        }
        blanked
    }

    /// Sees to it that what is blanked in the journal stands in the file, and outlives a loss of power there:
    /// the positions that wait to be blanked, and those of earlier runs up to `earlier`.
    fn outlives(store: &mut Store, earlier: i64) -> Result<()> {
        let last = store.blank().iter().copied().max().unwrap_or(0);
        let last = last.max(earlier);
        if store.durable() < last {
            store.make_durable()?;
        }
        if store.durable() < last {
            let what = "erased, but old bytes are still in the journal: another program is reading the file";
            return Err(Error::Io(what.into()));
        }
        Ok(())
    }

    /// Answers those whose bytes are all gone.
    fn settle(&mut self, engine: &Engine, which: impl Fn(&Waiting) -> bool) {
        let is_done = |waiting: &mut Waiting| waiting.overwritten.is_some() && which(waiting);
        let done: Vec<Waiting> = self.deferred.extract_if(.., is_done).collect();
        if done.is_empty() {
            return;
        }
        // What was erased is in memory no longer than until here.
        let old = self.shared.tail_mut().forget_applied();
        drop(old);
        engine.answer(done.into_iter().map(|w| (w.from, w.answer)).collect());
    }

    fn fail(&mut self, engine: &Engine, error: &Error, which: impl Fn(&Waiting) -> bool) {
        let failed = self.deferred.extract_if(.., |waiting| which(waiting));
        let answers = failed.map(|waiting| (waiting.from, Answer::Failed(error.clone())));
        engine.answer(answers.collect());
    }

    /// Brings the rest into the file and closes it. Up to which position it is durable.
    pub fn finish(&mut self, engine: &Engine) -> i64 {
        self.shared.close();
        let lost = self.attached.as_mut().is_some_and(|attached| {
            let _ = attached.store.look();
            attached.store.is_lost()
        });
        if !lost {
            // What fails stays in the journal.
            let _ = self.apply(engine);
        }
        let mut durable = 0;
        if let Some(Attached {
            mut store, keeps, ..
        }) = self.attached.take()
        {
            if lost {
                // NOTE: a connection that is opened beside them would share what they know of the old WAL.
                while !self.shared.end_readers() {}
                durable = store.durable();
                let what = store.rescue(&self.shared.path);
                if let Some(owner) = self.shared.owner {
                    send(owner, |env| (atoms::warp_files_lost(), what).encode(env));
                }
            } else {
                let gone = store.settle(PATIENCE).and_then(|()| {
                    let positions = store.blank().clone();
                    engine.segments.blank(self.shared.number, &positions)
                });
                if gone.is_ok() {
                    for waiting in &mut self.deferred {
                        let is_left = waiting.hash.is_some_and(|hash| store.is_erasing(hash));
                        if store.applied() >= waiting.position && !is_left {
                            waiting.overwritten = Some(Instant::now());
                        }
                    }
                    self.settle(engine, |_| true);
                }
                self.shared.end_readers();
                durable = store.durable();
                drop(store);
            }
            drop(keeps);
        }
        self.fail(engine, &Error::Closed, |_| true);
        durable
    }
}
