//! The writer thread of a shard: drains the queue, commits, answers, and tidies up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustler::{Encoder, Env, LocalPid, OwnedEnv, Term};

use super::Shared;
use super::background::Task;
use super::command::{Answer, Command, Stop};
use super::queue::size;
use super::store::{Committed, Store};
use crate::atoms;
use crate::error::{Error, panic_message};

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
/// How long an erasure, and all behind it, waits for other programs that read the file.
const ERASE_PATIENCE: Duration = Duration::from_secs(1);
/// A COMMIT that takes longer is reported to the owner.
const SLOW_SYNC: Duration = Duration::from_secs(1);

/// Runs until the shard is closed. A panic is contained: everyone who waits gets an error, and
/// the owner is told, so that the shard is opened anew.
pub fn run(shared: &Shared, store: Store, owner: LocalPid) {
    let mut waiting = Vec::new();
    let served = catch_unwind(AssertUnwindSafe(|| {
        let mut writer = Writer {
            shared,
            store,
            owner,
            waiting: &mut waiting,
            put_off: Vec::new(),
        };
        writer.serve();
        writer.finish()
    }));
    shared.close();
    shared.end_readers();
    let panic = match served {
        Ok(lost) => {
            refuse_queued(shared, owner);
            if let Some(lost) = lost {
                send(owner, |env| (atoms::warp_files_lost(), lost).encode(env));
            }
            return;
        }
        Err(panic) => panic,
    };
    let interrupted = |from| (from, Answer::Failed(Error::Interrupted));
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
    /// Snapshots for a later transaction.
    put_off: Vec<Command>,
}

impl Writer<'_> {
    fn serve(&mut self) {
        self.shared
            .stats
            .position
            .store(self.store.position(), Relaxed);
        self.look();
        while !self.shared.is_closed() && !self.store.is_lost() {
            // For reports: whoever asks for one must not wait for this thread.
            let rows = self.shared.tail().rows();
            let unflushed = &self.shared.stats.unflushed_rows;
            unflushed.store(u64::try_from(rows).unwrap_or(u64::MAX), Relaxed);
            let commands = self.drain();
            if commands.is_empty() {
                self.store.idle();
                if !self.shared.queue.sleep(1, IDLE) {
                    self.look();
                    let put_off = std::mem::take(&mut self.put_off);
                    self.carry_out(&put_off);
                }
            } else {
                let started = Instant::now();
                self.shared.stats.busy();
                self.carry_out(&commands);
                self.store.tidy(self.shared);
                self.shared.stats.idle();
                self.gather(commands.len(), started.elapsed());
            }
        }
    }

    /// Closes the file. What was found, when other programs took files away.
    fn finish(mut self) -> Option<String> {
        self.look();
        if !self.store.is_lost() {
            self.store.settle(self.shared, ERASE_PATIENCE);
            self.shared.end_readers();
            return None;
        }
        self.shared.close();
        refuse_queued(self.shared, self.owner);
        // Whoever opened the file beside them would share what they know of the old WAL.
        while !self.shared.end_readers() {}
        Some(self.store.rescue(&self.shared.path))
    }

    fn look(&mut self) {
        // What it finds is kept, and ends the writer.
        if let Ok(bytes) = self.store.look() {
            self.shared.stats.file_bytes.store(bytes, Relaxed);
        }
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
                Command::Erase { .. } | Command::Pass { .. } | Command::Snapshot { .. } => 1,
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
        // Whoever only waits for what was before them needs no transaction.
        if commands.iter().all(|of| matches!(of, Command::Pass { .. })) {
            self.reply(
                commands,
                commands.iter().map(|_| Some(Answer::Passed)).collect(),
            );
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
            // One entity's broken rows are no reason to refuse the others.
            Err(Error::Corrupt(_)) if commands.len() > 1 => {
                for command in commands {
                    self.carry_out(std::slice::from_ref(command));
                }
            }
            Err(error) => {
                self.shared.stats.failed_commits.fetch_add(1, Relaxed);
                let failed = || Some(Answer::Failed(error.clone()));
                self.reply(commands, commands.iter().map(|_| failed()).collect());
            }
        }
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

    fn reply(&mut self, commands: &[Command], mut answers: Vec<Option<Answer>>) {
        let erases =
            |answer: &Option<Answer>| matches!(answer, Some(Answer::Erased | Answer::Cleared));
        if answers.iter().any(erases)
            && let Err(error) = self.store.empty_wal(ERASE_PATIENCE)
        {
            for answer in answers.iter_mut().filter(|answer| erases(answer)) {
                *answer = Some(Answer::Failed(error.clone()));
            }
        }
        self.waiting.clear();
        release_stored(commands, &answers);
        let pairs = commands.iter().zip(answers);
        let replies: Vec<_> = pairs
            .filter_map(|(of, answer)| {
                Some(Reply {
                    of,
                    answer: answer?,
                })
            })
            .filter(|reply| asker(reply.of).is_some())
            .collect();
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
        Command::Erase { from, .. } | Command::Clear { from, .. } | Command::Pass { from } => *from,
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
