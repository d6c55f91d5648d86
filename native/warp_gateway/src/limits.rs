//! Counts that have a limit: connections, requests in flight, bytes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Locks what stays right even if a thread panicked with it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A count with a limit, for whose falling below the limit sockets can wait.
#[derive(Debug, Default)]
pub struct Gauge {
    /// How much is in use.
    used: AtomicUsize,
    /// How much may be. A new configuration changes it.
    limit: AtomicUsize,
    /// Whether anybody waits.
    awaited: AtomicBool,
    /// Who waits, by channel.
    waiting: Mutex<HashMap<u64, Waker>>,
}

impl Gauge {
    /// Nothing in use of so much.
    #[cfg(test)]
    pub fn new(limit: usize) -> Self {
        Gauge {
            limit: AtomicUsize::new(limit),
            ..Gauge::default()
        }
    }

    /// How much may be in use.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Sets how much may be in use.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
        self.wake();
    }

    /// Takes so much if there is room for it.
    pub fn try_take(&self, amount: usize) -> bool {
        let limit = self.limit();
        let more = |used: usize| used.checked_add(amount).filter(|sum| *sum <= limit);
        self.used
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, more)
            .is_ok()
    }

    /// Takes so much, past the limit too: for what has been read already.
    pub fn take(&self, amount: usize) {
        self.used.fetch_add(amount, Ordering::SeqCst);
    }

    /// Gives back what was taken.
    pub fn give(&self, amount: usize) {
        self.used.fetch_sub(amount, Ordering::SeqCst);
        if self.awaited.load(Ordering::SeqCst) && !self.is_full() {
            self.wake();
        }
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        self.used.load(Ordering::SeqCst) >= self.limit()
    }

    /// Whether there is no room. If so, the waker of the channel is woken when there is.
    pub fn is_full_for(&self, channel: u64, waker: &Waker) -> bool {
        if !self.is_full() {
            return false;
        }
        lock(&self.waiting).insert(channel, waker.clone());
        self.awaited.store(true, Ordering::SeqCst);
        // Somebody may have given something back before the waker was there. NOTE: that one of both sees the other
        // needs an order of all accesses, the sequentially consistent one.
        self.is_full()
    }

    /// The channel waits no more.
    pub fn forget(&self, channel: u64) {
        if self.awaited.load(Ordering::SeqCst) {
            lock(&self.waiting).remove(&channel);
        }
    }

    /// Wakes all who wait.
    fn wake(&self) {
        self.awaited.store(false, Ordering::SeqCst);
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        waiting.into_values().for_each(Waker::wake);
    }

    /// How much is in use.
    #[cfg(test)]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_gives_no_more_than_its_limit() {
        let gauge = Gauge::new(3);
        assert!(gauge.try_take(2));
        assert!(!gauge.try_take(2));
        assert!(gauge.try_take(1));
        assert!(gauge.is_full());
        gauge.give(3);
        assert_eq!(gauge.used(), 0);
        gauge.take(5);
        assert!(gauge.is_full());
        gauge.set_limit(6);
        assert!(!gauge.is_full());
        assert!(!gauge.try_take(usize::MAX));
    }
}
