//! The bounded queue between the callers of all shards of a context and its writer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use rustler::{OwnedEnv, Term};

use crate::error::{Error, Result};
use crate::shard::shared::Shared;
use crate::sync::relock;
use crate::writer::command::Command;

/// Commands, in order, and the environment that holds the terms of their receipts. They are copied
/// there once, by those who submit; the message with the answers is sent from it.
pub struct Batch {
    /// Of which shard each is.
    pub commands: VecDeque<(Arc<Shared>, Command)>,
    /// What holds the receipts.
    pub env: OwnedEnv,
}

impl Batch {
    /// Without commands.
    pub fn new() -> Self {
        Self {
            commands: VecDeque::new(),
            env: OwnedEnv::new(),
        }
    }
}

/// Many producers, one consumer; full means `Overloaded`, never waiting.
pub struct Queue {
    batch: Mutex<Batch>,
    depth: AtomicUsize,
    /// Nothing is taken any more.
    ended: AtomicBool,
    writer: OnceLock<Thread>,
    writer_sleeps: AtomicBool,
    /// How many commands have to wait for a sleeping writer to be woken.
    wake_at: AtomicUsize,
}

impl Queue {
    /// An empty queue.
    pub fn new() -> Self {
        Self {
            batch: Mutex::new(Batch::new()),
            depth: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            writer: OnceLock::new(),
            writer_sleeps: AtomicBool::new(false),
            wake_at: AtomicUsize::new(1),
        }
    }

    /// Names the thread that takes from the queue.
    pub fn wakes(&self, writer: Thread) {
        // A second call cannot happen: a queue has one writer.
        let _ = self.writer.set(writer);
        self.wake();
    }

    /// Adds a command, with the receipt that it gets. Errors: `Overloaded`, at a limit of its shard;
    /// `Closed`.
    pub fn push(
        &self,
        shared: &Arc<Shared>,
        mut command: Command,
        receipt: Option<Term<'_>>,
    ) -> Result<()> {
        shared.waiting.enter(size(&command))?;
        {
            let mut batch = relock(&self.batch);
            // NOTE: looked at under the lock. What is pushed before the end is answered by whoever ends it.
            if self.ended.load(Ordering::Relaxed) {
                drop(batch);
                shared.waiting.leave(size(&command));
                return Err(Error::Closed);
            }
            if let (Command::Append(submission), Some(receipt)) = (&mut command, receipt) {
                submission.receipt = Some(batch.env.save(receipt));
            }
            batch.commands.push_back((Arc::clone(shared), command));
            self.depth.fetch_add(1, Ordering::SeqCst);
        }
        if self.writer_sleeps.load(Ordering::SeqCst)
            && self.depth() >= self.wake_at.load(Ordering::Relaxed)
            && self.writer_sleeps.swap(false, Ordering::AcqRel)
        {
            self.wake();
        }
        Ok(())
    }

    /// Says that a shard is closed, whatever waits. `false` when nothing is taken any more.
    pub fn detach(&self, shared: &Arc<Shared>) -> bool {
        let mut batch = relock(&self.batch);
        if self.ended.load(Ordering::Relaxed) {
            return false;
        }
        shared.waiting.enter_anyway();
        let detach = (Arc::clone(shared), Command::Detach);
        batch.commands.push_back(detach);
        self.depth.fetch_add(1, Ordering::SeqCst);
        drop(batch);
        self.wake();
        true
    }

    /// Takes everything that waits, in exchange for an empty batch.
    pub fn take(&self, empty: &mut Batch) {
        let mut batch = relock(&self.batch);
        std::mem::swap(&mut *batch, empty);
        self.depth.fetch_sub(empty.commands.len(), Ordering::SeqCst);
    }

    /// Takes everything that waits, and nothing more from now on.
    pub fn end(&self) -> Batch {
        let mut last = Batch::new();
        let mut batch = relock(&self.batch);
        self.ended.store(true, Ordering::Relaxed);
        std::mem::swap(&mut *batch, &mut last);
        self.depth.fetch_sub(last.commands.len(), Ordering::SeqCst);
        last
    }

    /// Sleeps until that many commands wait, `wake` is called or the time is over.
    pub fn sleep(&self, until: usize, at_most: Duration) {
        self.wake_at.store(until, Ordering::Relaxed);
        self.writer_sleeps.store(true, Ordering::SeqCst);
        // NOTE: looked at again after the flag is up. A push before that does not wake this thread.
        if self.depth() < until {
            thread::park_timeout(at_most);
        }
        self.writer_sleeps.store(false, Ordering::Release);
    }

    /// Wakes the writer, whatever it waits for.
    pub fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// How many commands wait that the writer has not taken.
    pub fn depth(&self) -> usize {
        self.depth.load(Ordering::SeqCst)
    }
}

/// The writer takes a command up: it does not wait any more.
pub fn taken_up(shared: &Shared, command: &Command) {
    shared.waiting.leave(size(command));
}

/// The bytes of events that a command carries.
pub fn size(command: &Command) -> usize {
    match command {
        Command::Append(submission) => submission.appends.iter().map(|a| a.packed.data.len()).sum(),
        Command::Import { rows, .. } => rows.iter().map(|row| row.packed.data.len()).sum(),
        Command::Replace { append, .. } => append.packed.data.len(),
        Command::Erase { .. }
        | Command::Clear { .. }
        | Command::CorrectTime { .. }
        | Command::Pass { .. }
        | Command::Detach => 0,
        Command::Snapshot { snapshot, .. } => snapshot.image.len(),
    }
}
