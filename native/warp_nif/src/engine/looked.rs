//! A shard as the thread that applies has it, and seeing its erasures through: in the file, its WAL and the journal, for
//! those who wait for that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustler::LocalPid;

use crate::apply::store::Store;
use crate::engine::context::{Attached, Deferred, Engine};
use crate::engine::keys::Asked;
use crate::error::{Error, Result};
use crate::shard::background::Task;
use crate::shard::shared::Shared;
use crate::writer::command::{Answer, Command};

/// How often files are looked at, and what failed is tried again.
pub const IDLE: Duration = Duration::from_secs(1);
/// How long an erasure, or a backup's keys, wait for other programs that read the file. Nobody else does.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
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
    pub(super) deferred: Vec<Waiting>,
    /// Who waits for keys.
    pub(super) asked: VecDeque<Asked>,
    pub(super) applied_at: Instant,
    pub(super) looked: Instant,
    /// When to go on with what failed.
    pub(super) again: Option<Instant>,
    erase_again: Option<Instant>,
}

/// Who waits for an erasure, and how far it is.
pub(super) struct Waiting {
    pub from: LocalPid,
    pub answer: Answer,
    pub position: i64,
    pub hash: Option<i64>,
    /// Since when all is overwritten, and only the WAL and the journal hold bytes of it.
    pub overwritten: Option<Instant>,
}

impl Drop for Looked {
    fn drop(&mut self) {
        if let Some(Attached { store, keeps, .. }) = self.attached.take() {
            drop(store);
            self.shared.close_pages();
            drop(keeps);
        }
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
            asked: VecDeque::new(),
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

    /// Between two transactions: erases a piece of what is to be erased, tends the WAL, and answers
    /// whose bytes are gone. How long to sleep when nothing else is to be done.
    pub(super) fn go_on_erasing(&mut self, engine: &Engine) -> Duration {
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
    pub(super) fn settle(&mut self, engine: &Engine, which: impl Fn(&Waiting) -> bool) {
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

    /// Tells some of those who wait that it failed.
    pub(super) fn fail(
        &mut self,
        engine: &Engine,
        error: &Error,
        which: impl Fn(&Waiting) -> bool,
    ) {
        let failed = self.deferred.extract_if(.., |waiting| which(waiting));
        let answers = failed.map(|waiting| (waiting.from, Answer::Failed(error.clone())));
        engine.answer(answers.collect());
    }
}
