//! The writer thread of a context: takes what all shards were asked to do, puts it into the journal,
//! syncs once, and answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustler::{Encoder, LocalPid};

use crate::atoms;
use crate::engine::chunk;
use crate::engine::context::Engine;
use crate::engine::notes::LockNotes;
use crate::engine::reply::{Decided, Settled, asker, fail, reply, taken};
use crate::error::{Error, Result, panic_message};
use crate::journal::Journal;
use crate::shard::background::Task;
use crate::shard::shared::Shared;
use crate::writer::answers::send;
use crate::writer::command::{Answer, Command};
use crate::writer::group::Group;
use crate::writer::queue::{Batch, taken_up};

/// How often an idle writer looks after its files.
const IDLE: Duration = Duration::from_secs(1);
/// How long a commit waits at most for more callers.
const MAX_GATHER: Duration = Duration::from_millis(2);
/// After what time the files are looked at again before a commit. Looking costs microseconds, which
/// short commits would feel, and what is lost in between is found after the commit.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// A sync that takes longer is reported to the owner.
const SLOW_SYNC: Duration = Duration::from_secs(1);

/// Runs until the journal is closed. A panic is contained: everyone who waits gets an error, and the
/// owner is told, so that the files are opened anew. The journal, if it can be written on.
pub fn run(engine: &Engine, journal: Journal<LockNotes>) -> Option<Journal<LockNotes>> {
    let mut waiting = Vec::new();
    let served = catch_unwind(AssertUnwindSafe(|| {
        let mut writer = Writer {
            engine,
            journal,
            batch: Batch::new(),
            waiting: &mut waiting,
        };
        let lost = writer.serve();
        (writer.journal, writer.batch, lost)
    }));
    let rest = engine.end();
    match served {
        Ok((journal, left, lost)) => {
            refuse(engine, left);
            refuse(engine, rest);
            match lost {
                None => Some(journal),
                Some(lost) => {
                    send(engine.owner, |env| {
                        (atoms::warp_files_lost(), lost).encode(env)
                    });
                    None
                }
            }
        }
        Err(panic) => {
            let interrupted = |from| (from, Answer::Failed(Error::Interrupted));
            engine.answer(waiting.into_iter().map(interrupted).collect());
            refuse(engine, rest);
            send(engine.owner, |env| {
                (atoms::warp_writer_down(), panic_message(&*panic)).encode(env)
            });
            None
        }
    }
}

fn refuse(engine: &Engine, batch: Batch) {
    let mut refused = Vec::new();
    for (shared, command) in batch.commands {
        taken_up(&shared, &command);
        if matches!(command, Command::Detach) {
            shared.detach();
        }
        refused.extend(asker(&command).map(|from| (from, Answer::Failed(Error::Closed))));
    }
    engine.answer(refused);
}

struct Writer<'e> {
    engine: &'e Engine,
    journal: Journal<LockNotes>,
    /// What was taken from the queue and is not carried out yet.
    batch: Batch,
    /// Who waits for the commit under way.
    waiting: &'e mut Vec<LocalPid>,
}

impl Writer<'_> {
    /// Until the journal is closed, or its files are lost: how that came.
    fn serve(&mut self) -> Option<String> {
        let mut idle_since = Instant::now();
        while !self.engine.is_closed() {
            for between in self.engine.between() {
                between(&mut self.journal);
            }
            if self.batch.commands.is_empty() {
                self.engine.queue.take(&mut self.batch);
            }
            if self.batch.commands.is_empty() {
                self.engine.queue.sleep(1, IDLE);
                if idle_since.elapsed() >= IDLE {
                    idle_since = Instant::now();
                    if let Err(lost) = self.journal.look() {
                        return Some(lost.to_string());
                    }
                    if self.journal.is_unsealed() {
                        let sealed = self.journal.seal();
                        self.engine.background.note(Task::Seal, &sealed);
                    }
                }
                continue;
            }
            let started = Instant::now();
            self.engine.stats.busy();
            let chunk = chunk::take(&mut self.batch);
            let answered = chunk.len();
            let is_all = self.batch.commands.is_empty();
            let lost = self.carry_out(chunk, is_all);
            self.engine.stats.idle();
            if lost.is_some() {
                return lost;
            }
            self.gather(answered, started.elapsed());
            idle_since = Instant::now();
        }
        None
    }

    /// Lets a fair share of the callers come back before the next commit.
    ///
    /// Without it a commit takes only those who were quick, and pays a whole sync for them. Those just
    /// answered and those who queued meanwhile are all the callers there are; with half of them in
    /// one commit the other half prepares the next. A caller who is alone never waits, and nobody
    /// longer than twice the commit before.
    fn gather(&self, answered: usize, took: Duration) {
        let queued = self.engine.queue.depth() + self.batch.commands.len();
        let share = (answered + queued) / 2;
        if queued < share && !self.engine.is_closed() {
            self.engine.queue.sleep(share, (took * 2).min(MAX_GATHER));
        }
    }

    /// One commit. What became of the files, if they are lost.
    fn carry_out(&mut self, chunk: Vec<(Arc<Shared>, Command)>, is_all: bool) -> Option<String> {
        let started = Instant::now();
        self.waiting.clear();
        self.waiting
            .extend(chunk.iter().filter_map(|(_, command)| asker(command)));
        let mut group = Group::default();
        let mut decided = Vec::with_capacity(chunk.len());
        for (shared, command) in chunk {
            let answer = self.decide(&mut group, &shared, &command);
            let answer = answer.unwrap_or_else(|error| Settled::Now(Answer::Failed(error)));
            // NOTE: before any later command is decided, which may have the same ticket.
            if let (Command::Append(submission), Settled::Now(answer)) = (&command, &answer) {
                submission.stopped_at(taken(submission, answer));
            }
            decided.push(Decided {
                shared,
                command,
                answer,
            });
        }
        group.end_views();
        let (mut lost, mut shards) = (None, Vec::new());
        if self.journal.pending() > 0 {
            match self.journal.commit(LOOK_AGAIN) {
                Ok(written) => shards = self.publish(group, written.took, started),
                Err(error) => {
                    for staged in &group.staged {
                        staged.shared.stats.failed_commits.fetch_add(1, Relaxed);
                    }
                    fail(&mut decided, &error);
                    lost = self.journal.look().err().map(|lost| lost.to_string());
                }
            }
            let sealed = if self.journal.is_unsealed() && lost.is_none() {
                self.journal.seal()
            } else {
                Ok(())
            };
            self.engine.background.note(Task::Seal, &sealed);
        }
        self.waiting.clear();
        reply(self.engine, &mut self.batch, decided, &shards, is_all);
        lost
    }

    fn decide(
        &mut self,
        group: &mut Group,
        shared: &Arc<Shared>,
        command: &Command,
    ) -> Result<Settled> {
        match command {
            Command::Detach => return Ok(Settled::Never),
            Command::Pass { .. } => return Ok(Settled::Now(Answer::Passed)),
            _ if shared.is_closed() => return Err(Error::Closed),
            Command::Snapshot { .. } => return Ok(Settled::Never),
            // NOTE: a view that stays open keeps the applier from giving segments back.
            _ => self.engine.await_room(shared, || group.end_views())?,
        }
        let Some(staged) = group.of(shared) else {
            return Err(Error::internal("a shard that is not staged"));
        };
        let journal = &mut self.journal;
        match command {
            Command::Append(submission) => {
                let answer = staged.append(journal, submission)?;
                Ok(Settled::Now(answer))
            }
            Command::Import { entity, rows, .. } => {
                let answer = staged.import(journal, entity, rows)?;
                Ok(Settled::Now(answer))
            }
            Command::Replace {
                entity,
                base,
                append,
                ..
            } => {
                let (packed, at) = (&append.packed, append.recorded_at);
                let answer = staged.replace(journal, entity, *base, packed, at)?;
                Ok(Settled::Now(answer))
            }
            Command::Erase { entity, .. } => {
                if staged.erase(journal, entity)? {
                    shared.stats.erased_entities.fetch_add(1, Relaxed);
                }
                Ok(Settled::Applied(Answer::Erased, staged.position()))
            }
            Command::Clear { events, types, .. } => {
                for (entity, seqs) in events {
                    staged.clear(journal, entity, seqs, types)?;
                }
                Ok(Settled::Applied(Answer::Cleared, staged.position()))
            }
            Command::CorrectTime {
                entity,
                seq,
                recorded_at,
                ..
            } => {
                let failed = staged.correct_time(journal, entity, *seq, *recorded_at)?;
                let position = staged.position();
                Ok(failed.map_or(Settled::Applied(Answer::Corrected, position), Settled::Now))
            }
            Command::Detach | Command::Pass { .. } | Command::Snapshot { .. } => Ok(Settled::Never),
        }
    }

    /// The commit is durable: everybody may see it. The shards that have more now.
    fn publish(&self, group: Group, sync: Duration, started: Instant) -> Vec<u16> {
        let (mut shards, mut bytes) = (Vec::with_capacity(group.staged.len()), 0);
        #[cfg(feature = "fault")]
        crate::fault::after_commit();
        for staged in group.staged {
            let position = staged.position();
            let stats = &staged.shared.stats;
            if staged.steps.is_empty() {
                continue;
            }
            shards.push(staged.shared.number);
            stats.commits.fetch_add(1, Relaxed);
            stats.appends.fetch_add(staged.written.0, Relaxed);
            stats.events.fetch_add(staged.written.1, Relaxed);
            stats.bytes.fetch_add(staged.written.2, Relaxed);
            bytes += staged.written.2;
            staged.shared.tail_mut().publish(staged.steps);
            stats.position.store(position, Relaxed);
            stats.sync.add(sync);
            stats.commit.add(started.elapsed());
        }
        self.engine
            .has_to_apply(usize::try_from(bytes).unwrap_or(usize::MAX));
        if sync >= SLOW_SYNC {
            let millis = u64::try_from(sync.as_millis()).unwrap_or(u64::MAX);
            send(self.engine.owner, |env| {
                (atoms::warp_slow_sync(), millis).encode(env)
            });
        }
        shards
    }
}
