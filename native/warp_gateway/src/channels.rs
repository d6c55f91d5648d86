//! The channels that are open, by number. What the VM sends to a channel that is not there is dropped.

use crate::config::Limits;
use crate::frames::Kind;
use crate::limits::lock;
use crate::link::Link;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What waits for the VM's frames.
pub trait Channel: Send + Sync {
    /// Takes the head of a response.
    fn head(&self, head: &[u8]);
    /// Takes a piece of a body or a message.
    fn data(&self, last: bool, bytes: &[u8]);
    /// Has to close, with a code and a reason.
    fn close(&self, code: u16, reason: &[u8]);
    /// Cannot be finished.
    fn abort(&self);
    /// Wakes the task that has the channel, after it took frames.
    fn wake(&self);
    /// Looks at the time. Called several times a second.
    fn check(&self, now: u64, limits: &Limits, is_stopping: bool);
}

/// The channels that are open.
#[derive(Default)]
pub struct Channels {
    /// The last number that was given.
    last: AtomicU64,
    /// The channels.
    open: Mutex<HashMap<u64, Arc<dyn Channel>>>,
}

impl Channels {
    /// A number for a new channel.
    pub fn number(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The channel with a number.
    pub fn get(&self, number: u64) -> Option<Arc<dyn Channel>> {
        lock(&self.open).get(&number).cloned()
    }

    /// All channels.
    pub fn all(&self) -> Vec<Arc<dyn Channel>> {
        lock(&self.open).values().cloned().collect()
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        lock(&self.open).len()
    }

    /// Opens a channel, until what is given is dropped.
    pub fn open(
        self: &Arc<Self>,
        number: u64,
        channel: Arc<dyn Channel>,
        link: &Arc<Link>,
    ) -> Open {
        lock(&self.open).insert(number, channel);
        Open {
            number,
            channels: Arc::clone(self),
            link: Arc::clone(link),
        }
    }
}

/// A channel that is open. Dropped, it is closed, and the VM told.
pub struct Open {
    /// The number.
    number: u64,
    /// Where it is open.
    channels: Arc<Channels>,
    /// The way to the VM.
    link: Arc<Link>,
}

impl Open {
    /// The number.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        lock(&self.channels.open).remove(&self.number);
        self.link.send(self.number, Kind::Closed, &[]);
    }
}
