//! The bounded queue between the callers of a shard and its writer.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;

use super::command::Command;
use crate::error::{Error, Result};

/// How many bytes of events may wait in one queue.
const MAX_QUEUED_BYTES: usize = 64 * 1024 * 1024;

/// Many producers, one consumer; full means `Overloaded`, never waiting.
pub struct Queue {
    commands: ArrayQueue<Command>,
    bytes: AtomicUsize,
    writer: OnceLock<Thread>,
    writer_sleeps: AtomicBool,
    /// How many commands have to wait for a sleeping writer to be woken.
    wake_at: AtomicUsize,
}

impl Queue {
    /// An empty queue of at most so many commands.
    pub fn new(limit: usize) -> Self {
        Self {
            commands: ArrayQueue::new(limit),
            bytes: AtomicUsize::new(0),
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

    /// Adds a command. Error: `Overloaded`, at either limit.
    pub fn push(&self, command: Command) -> Result<()> {
        let bytes = size(&command);
        let queued = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // A command that is alone is always let in: its size was limited when it was packed.
        if queued > 0 && queued + bytes > MAX_QUEUED_BYTES || self.commands.push(command).is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Error::Overloaded);
        }
        if self.writer_sleeps.load(Ordering::SeqCst)
            && self.commands.len() >= self.wake_at.load(Ordering::Relaxed)
            && self.writer_sleeps.swap(false, Ordering::AcqRel)
        {
            self.wake();
        }
        Ok(())
    }

    /// Takes the oldest command.
    pub fn pop(&self) -> Option<Command> {
        let command = self.commands.pop()?;
        self.bytes.fetch_sub(size(&command), Ordering::Relaxed);
        Some(command)
    }

    /// Sleeps until that many commands wait, `wake` is called or the time is over. Whether any
    /// wait.
    pub fn sleep(&self, until: usize, at_most: Duration) -> bool {
        self.wake_at.store(until, Ordering::Relaxed);
        self.writer_sleeps.store(true, Ordering::SeqCst);
        // NOTE: looked at again after the flag is up. A push before that does not wake this thread.
        if self.commands.len() < until {
            thread::park_timeout(at_most);
        }
        self.writer_sleeps.store(false, Ordering::Release);
        !self.commands.is_empty()
    }

    /// Wakes the writer, whatever it waits for.
    pub fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// How many commands wait.
    pub fn depth(&self) -> usize {
        self.commands.len()
    }

    /// How many may wait.
    pub fn limit(&self) -> usize {
        self.commands.capacity()
    }

    /// How many bytes of events wait.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// The bytes of events that a command carries.
pub fn size(command: &Command) -> usize {
    match command {
        Command::Append(submission) => submission.appends.iter().map(|a| a.packed.data.len()).sum(),
        Command::Erase { .. }
        | Command::Clear { .. }
        | Command::CorrectTime { .. }
        | Command::Pass { .. } => 0,
        Command::Snapshot { snapshot, .. } => snapshot.image.len(),
    }
}
