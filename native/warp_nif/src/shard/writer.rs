//! The writer thread of a shard: drains the queue, commits, answers, and tidies up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustler::{Encoder, Env, LocalPid, OwnedEnv, Term};

use super::background::Task;
use super::command::{Answer, Command, Stop};
use super::queue::size;
use super::shared::Shared;
use super::store::{Committed, Store};
use crate::atoms;
use crate::error::{Error, Result, panic_message};
use crate::hash::hash64;

/// How many rows one transaction takes at most.
const MAX_ROWS: usize = 4096;
/// How many bytes one transaction takes at most, but for a single larger command.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// How many snapshots wait for a transaction before they get one of their own.
const MAX_PUT_OFF: usize = 32;
/// How often an idle writer looks after what is left to do.
const IDLE: Duration = Duration::from_secs(1);
/// How long a transaction waits at most for more callers.
const MAX_GATHER: Duration = Duration::from_millis(2);
/// How long an erasure waits for other programs that read the file. Nobody else does.
const ERASE_PATIENCE: Duration = Duration::from_secs(1);
/// A COMMIT that takes longer is reported to the owner.
const SLOW_SYNC: Duration = Duration::from_secs(1);

/// Runs until the shard is closed. A panic is contained: everyone who waits gets an error, and
/// the owner is told, so that the shard is opened anew.
pub fn run(shared: &Shared, store: Store, owner: LocalPid) {
    let mut waiting = Vec::new();
    let mut deferred = Vec::new();
    let served = catch_unwind(AssertUnwindSafe(|| {
        let mut writer = Writer {
            shared,
            store,
            owner,
            waiting: &mut waiting,
            deferred: &mut deferred,
            erase_again: None,
            put_off: Vec::new(),
        };
        writer.serve();
        writer.finish()
    }));
    shared.close();
    shared.end_readers();
    let panic = match served {
        Ok(lost) => {
            let unfinished = |erasure: Deferred| (erasure.from, Answer::Failed(Error::Closed));
            answer(owner, deferred.into_iter().map(unfinished).collect());
            refuse_queued(shared, owner);
            if let Some(lost) = lost {
                send(owner, |env| (atoms::warp_files_lost(), lost).encode(env));
            }
            return;
        }
        Err(panic) => panic,
    };
    let interrupted = |from| (from, Answer::Failed(Error::Interrupted));
    waiting.extend(deferred.into_iter().map(|erasure| erasure.from));
    answer(owner, waiting.into_iter().map(interrupted).collect());
    refuse_queued(shared, owner);
    send(owner, |env| {
        (atoms::warp_writer_down(), panic_message(&*panic)).encode(env)
    });
}

fn refuse_queued(shared: &Shared, owner: LocalPid) {
    let queued = std::iter::from_fn(|| shared.queue.pop());
    let refused =
        queued.filter_map(|command| Some((asker(&command)?, Answer::Failed(Error::Closed))));
    answer(owner, refused.collect());
}

struct Writer<'s> {
    shared: &'s Shared,
    store: Store,
    owner: LocalPid,
    /// Who waits for the transaction under way.
    waiting: &'s mut Vec<LocalPid>,
    /// Who waits until the bytes of something erased are gone.
    deferred: &'s mut Vec<Deferred>,
    /// When to go on erasing, after an error.
    erase_again: Option<Instant>,
    /// Snapshots for a later transaction.
    put_off: Vec<Command>,
}

/// An erasure that is committed, but not done with.
struct Deferred {
    from: LocalPid,
    answer: Answer,
    /// The hash of the entity's id, if it is one's.
    hash: Option<i64>,
    /// Since when all is overwritten, and only the WAL holds bytes of it.
    overwritten: Option<Instant>,
}

impl Writer<'_> {
    fn serve(&mut self) {
        self.look();
        let mut idle_since = Instant::now();
        while !self.shared.is_closed() && !self.store.is_lost() {
            // Kept here for reports, since whoever asks for one must not wait for this thread.
            let rows = self.shared.tail().rows();
            let unflushed = &self.shared.stats.unflushed_rows;
            unflushed.store(u64::try_from(rows).unwrap_or(u64::MAX), Relaxed);
            let commands = self.drain();
            if commands.is_empty() {
                let pause = self.go_on_erasing();
                if !pause.is_zero() {
                    self.shared.queue.sleep(1, pause);
                }
                if idle_since.elapsed() >= IDLE {
                    self.store.idle();
                    self.look();
                    let put_off = std::mem::take(&mut self.put_off);
                    self.carry_out(&put_off);
                    idle_since = Instant::now();
                }
            } else {
                let started = Instant::now();
                self.shared.stats.busy();
                self.carry_out(&commands);
                self.store.tidy(self.shared);
                self.go_on_erasing();
                self.shared.stats.idle();
                self.gather(commands.len(), started.elapsed());
                idle_since = Instant::now();
            }
        }
    }

    /// Closes the file. What was found, when other programs took files away.
    fn finish(mut self) -> Option<String> {
        self.look();
        if !self.store.is_lost() {
            if self.store.settle(self.shared, ERASE_PATIENCE) {
                self.settle(true, &Ok(()));
            }
            self.shared.end_readers();
            return None;
        }
        self.shared.close();
        refuse_queued(self.shared, self.owner);
        // NOTE: a connection that is opened beside them would share what they know of the old WAL.
        while !self.shared.end_readers() {}
        Some(self.store.rescue(&self.shared.path))
    }

    fn look(&mut self) {
        // The store keeps the error that it finds, and the writer ends over it.
        if let Ok(bytes) = self.store.look() {
            self.shared.stats.file_bytes.store(bytes, Relaxed);
        }
    }

    /// Between two transactions: erases a piece of what is to be erased, tends the WAL, and answers
    /// whose bytes are gone. How long to sleep when nothing else is to be done.
    fn go_on_erasing(&mut self) -> Duration {
        let now = Instant::now();
        if let Some(hash) = self.store.erases_next()
            && self.erase_again.is_none_or(|at| at <= now)
        {
            self.erase_again = None;
            if let Err(error) = self.store.erase_piece() {
                self.erase_again = Some(now + IDLE);
                self.fail_deferred(&error, |erasure| erasure.hash == Some(hash));
            }
        }
        for erasure in self.deferred.iter_mut() {
            let is_left = erasure.hash.is_some_and(|hash| self.store.is_erasing(hash));
            if erasure.overwritten.is_none() && !is_left {
                erasure.overwritten = Some(now);
                self.store.wal().hurry();
            }
        }
        let someone_waits = self.deferred.iter().any(|d| d.overwritten.is_some());
        let tended = self.store.tend_wal(self.shared, someone_waits);
        let is_clean = !self.store.wal().holds_any();
        self.settle(is_clean, &tended);
        let erase_again = match (self.store.erases_next(), self.erase_again) {
            (None, _) => IDLE,
            (Some(_), None) => Duration::ZERO,
            (Some(_), Some(at)) => at.saturating_duration_since(Instant::now()),
        };
        let tend_again = self.store.wal().look_again().unwrap_or(IDLE);
        erase_again.min(tend_again).min(IDLE)
    }

    /// Answers those whose bytes are all gone, or who have waited for that long enough.
    fn settle(&mut self, is_clean: bool, tended: &Result<()>) {
        if is_clean {
            let done = self.deferred.extract_if(.., |d| d.overwritten.is_some());
            let answers = done.map(|erasure| (erasure.from, erasure.answer)).collect();
            answer(self.owner, answers);
        } else if let Err(error) = tended {
            self.fail_deferred(error, |erasure| {
                erasure
                    .overwritten
                    .is_some_and(|since| since.elapsed() >= ERASE_PATIENCE)
            });
        }
    }

    fn fail_deferred(&mut self, error: &Error, which: impl Fn(&Deferred) -> bool) {
        let failed = self.deferred.extract_if(.., |erasure| which(erasure));
        let answers = failed
            .map(|erasure| (erasure.from, Answer::Failed(error.clone())))
            .collect();
        answer(self.owner, answers);
    }

    /// Lets a fair share of the callers come back before the next transaction.
    ///
    /// Without it a transaction takes only those who were quick, and pays a whole fsync for
    /// them. Those just answered and those who queued meanwhile are all the callers there are;
    /// with half of them in one transaction the other half prepares the next. A caller who is
    /// alone never waits, and nobody longer than twice the transaction before.
    fn gather(&self, answered: usize, took: Duration) {
        let queued = self.shared.queue.depth();
        let share = (answered + queued) / 2;
        if queued < share && !self.shared.is_closed() {
            self.shared.queue.sleep(share, (took * 2).min(MAX_GATHER));
        }
    }

    /// What the next transaction carries out. Snapshots, which nobody waits for, are put off to
    /// one that others wait for, as long as they are few.
    fn drain(&mut self) -> Vec<Command> {
        let (mut commands, mut rows, mut bytes) = (Vec::new(), 0, 0);
        while rows < MAX_ROWS && bytes < MAX_BYTES {
            let Some(command) = self.shared.queue.pop() else {
                break;
            };
            bytes += size(&command);
            rows += match &command {
                Command::Append(submission) => submission.appends.len(),
                Command::Clear { events, .. } => events.len().max(1),
                Command::Erase { .. }
                | Command::CorrectTime { .. }
                | Command::Pass { .. }
                | Command::Snapshot { .. } => 1,
            };
            match command {
                Command::Snapshot { .. } => self.put_off.push(command),
                _ => commands.push(command),
            }
        }
        if !commands.is_empty() || self.put_off.len() > MAX_PUT_OFF {
            commands.append(&mut self.put_off);
        }
        commands
    }

    fn carry_out(&mut self, commands: &[Command]) {
        if commands.is_empty() {
            return;
        }
        // Callers that only wait for what was queued before need no transaction.
        if commands.iter().all(|of| matches!(of, Command::Pass { .. })) {
            self.reply(
                commands,
                commands.iter().map(|_| Some(Answer::Passed)).collect(),
            );
            return;
        }
        // Nothing could be written behind for long, and refusing is better than filling the memory.
        if self.shared.tail().is_full()
            && let Err(error) = self.store.flush_shared(self.shared)
        {
            self.fail(commands, &error);
            return;
        }
        let started = Instant::now();
        self.waiting.clear();
        self.waiting.extend(commands.iter().filter_map(asker));
        let committed = self.store.commit(self.shared, commands);
        if commands
            .iter()
            .any(|of| matches!(of, Command::Snapshot { .. }))
        {
            self.store.background.note(Task::Snapshot, &committed);
        }
        match committed {
            Ok(committed) => {
                let answers = self.account(committed, started);
                self.reply(commands, answers);
            }
            // One entity's broken rows must not keep the others' events from being stored.
            Err(Error::Corrupt(_) | Error::Internal(_)) if commands.len() > 1 => {
                for command in commands {
                    self.carry_out(std::slice::from_ref(command));
                }
            }
            Err(error) => self.fail(commands, &error),
        }
    }

    fn fail(&mut self, commands: &[Command], error: &Error) {
        self.shared.stats.failed_commits.fetch_add(1, Relaxed);
        let failed = || Some(Answer::Failed(error.clone()));
        self.reply(commands, commands.iter().map(|_| failed()).collect());
    }

    fn account(&mut self, committed: Committed, started: Instant) -> Vec<Option<Answer>> {
        let stats = &self.shared.stats;
        stats.commits.fetch_add(1, Relaxed);
        stats.appends.fetch_add(committed.written.0, Relaxed);
        stats.events.fetch_add(committed.written.1, Relaxed);
        stats.bytes.fetch_add(committed.written.2, Relaxed);
        stats.erased_entities.fetch_add(committed.erased, Relaxed);
        stats.position.store(self.store.position(), Relaxed);
        stats.file_bytes.store(committed.file_bytes, Relaxed);
        stats.sync.add(committed.sync);
        stats.commit.add(started.elapsed());
        if committed.sync >= SLOW_SYNC {
            let millis = u64::try_from(committed.sync.as_millis()).unwrap_or(u64::MAX);
            send(self.owner, |env| {
                (atoms::warp_slow_sync(), millis).encode(env)
            });
        }
        committed.answers
    }

    fn reply(&mut self, commands: &[Command], answers: Vec<Option<Answer>>) {
        self.waiting.clear();
        release_stored(commands, &answers);
        let mut replies = Vec::with_capacity(commands.len());
        for (of, answer) in commands.iter().zip(answers) {
            let (Some(from), Some(answer)) = (asker(of), answer) else {
                continue;
            };
            match answer {
                Answer::Erased | Answer::Cleared => self.deferred.push(Deferred {
                    from,
                    answer,
                    hash: match of {
                        Command::Erase { entity, .. } => {
                            Some(hash64(entity.as_bytes()).cast_signed())
                        }
                        _ => None,
                    },
                    overwritten: None,
                }),
                answer => replies.push(Reply { of, answer }),
            }
        }
        if !replies.is_empty() {
            send(self.owner, |env| {
                (atoms::warp_replies(), replies).encode(env)
            });
        }
    }
}

/// What is stored is in memory no longer than until here, whoever may still have a reference to it.
fn release_stored(commands: &[Command], answers: &[Option<Answer>]) {
    for pair in commands.iter().zip(answers) {
        if let (Command::Append(submission), Some(Answer::Stored { .. })) = pair {
            let handles = submission
                .appends
                .iter()
                .filter_map(|of| of.handle.as_ref());
            handles.for_each(|handle| handle.release());
        }
    }
}

fn asker(command: &Command) -> Option<LocalPid> {
    match command {
        Command::Append(submission) => submission.from,
        Command::Erase { from, .. }
        | Command::Clear { from, .. }
        | Command::CorrectTime { from, .. }
        | Command::Pass { from } => *from,
        Command::Snapshot { .. } => None,
    }
}

/// One message to the owner, which hands each answer on: sending many from here costs more.
fn answer(owner: LocalPid, answers: Vec<(LocalPid, Answer)>) {
    if !answers.is_empty() {
        send(owner, |env| (atoms::warp_replies(), answers).encode(env));
    }
}

fn send(to: LocalPid, message: impl FnOnce(Env<'_>) -> Term<'_>) {
    // An owner that is gone needs no answer: those who waited for it are gone as well.
    let _ = OwnedEnv::new().send_and_clear(&to, message);
}

/// An answer for the process that asked, or its receipt.
struct Reply<'c> {
    of: &'c Command,
    answer: Answer,
}

impl Encoder for Reply<'_> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        if let (Answer::Stored { .. }, Command::Append(submission)) = (&self.answer, self.of)
            && let Some(receipt) = &submission.receipt
        {
            return receipt.env.run(|own| receipt.term.load(own).in_env(env));
        }
        (asker(self.of), &self.answer).encode(env)
    }
}

impl Encoder for Answer {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self {
            Self::Stored { incarnation } => (atoms::stored(), incarnation).encode(env),
            Self::Stopped {
                incarnation,
                appends,
                why,
            } => (atoms::stopped(), incarnation, appends, why).encode(env),
            Self::WrongBase(seq) => (atoms::wrong_base(), seq).encode(env),
            Self::Erased => atoms::erased().encode(env),
            Self::Cleared => atoms::cleared().encode(env),
            Self::Corrected => atoms::corrected().encode(env),
            Self::NoEvent => atoms::no_event().encode(env),
            Self::Passed => atoms::passed().encode(env),
            Self::Failed(error) => (atoms::failed(), error).encode(env),
        }
    }
}

impl Encoder for Stop {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self {
            Self::Duplicates(found) => (atoms::duplicates(), found).encode(env),
            Self::Conflict(seq) => (atoms::id_conflict(), seq).encode(env),
            Self::Reserved(id) => (atoms::reserved_id(), id).encode(env),
        }
    }
}
