//! How much of a shard waits for the writer.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// How many bytes of events may wait of one shard.
const MAX_QUEUED_BYTES: usize = 64 * 1024 * 1024;

/// What waits for the writer of one shard, and how much may.
pub struct Waiting {
    commands: AtomicUsize,
    bytes: AtomicUsize,
    limit: usize,
}

impl Waiting {
    /// At most so many commands.
    pub fn new(limit: usize) -> Self {
        Self {
            commands: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            limit,
        }
    }

    /// How many commands wait.
    pub fn depth(&self) -> usize {
        self.commands.load(Ordering::Relaxed)
    }

    /// How many may wait.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many bytes of events wait.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// One more command, of so many bytes. Error: `Overloaded`, at either limit.
    pub fn enter(&self, size: usize) -> Result<()> {
        let commands = self.commands.fetch_add(1, Ordering::Relaxed);
        let bytes = self.bytes.fetch_add(size, Ordering::Relaxed);
        // A command that is alone is always let in: its size was limited when it was packed.
        if commands >= self.limit || bytes > 0 && bytes + size > MAX_QUEUED_BYTES {
            self.leave(size);
            return Err(Error::Overloaded);
        }
        Ok(())
    }

    /// One more command that is let in whatever waits.
    pub fn enter_anyway(&self) {
        self.commands.fetch_add(1, Ordering::Relaxed);
    }

    /// One of so many bytes does not wait any more.
    pub fn leave(&self, size: usize) {
        self.commands.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(size, Ordering::Relaxed);
    }
}
