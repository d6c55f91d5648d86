//! The gate that reads pass. A writer closes it for a moment when the WAL has to begin anew, which
//! SQLite can do only while no read is under way; and who closes the file waits until all have left.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::sync::relock;

/// How long a read waits at most for the gate to open, and the writer for reads to end.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How long closing a file waits for the reads under way.
const LAST_PATIENCE: Duration = Duration::from_secs(10);

/// Counts reads, and holds new ones back while it is closed.
#[derive(Default)]
pub struct Gate {
    reading: AtomicUsize,
    closed: AtomicBool,
    /// No read may begin any more.
    ended: AtomicBool,
    lock: Mutex<()>,
    opened: Condvar,
}

/// A read while it is under way.
pub struct UnderWay<'g>(&'g Gate);

impl<'g> UnderWay<'g> {
    /// Begins a read. Waits while the gate is closed, but never longer than `PATIENCE`. Error:
    /// `Closed`, once reads have been ended.
    pub fn begin(gate: &'g Gate) -> Result<Self> {
        gate.enter();
        let counted = Self(gate);
        // NOTE: looked at after counting. Whoever ends reads now waits for this one.
        if gate.has_ended() {
            Err(Error::Closed)
        } else {
            Ok(counted)
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Gate {
    fn enter(&self) {
        let mut deadline = None;
        loop {
            self.reading.fetch_add(1, Ordering::SeqCst);
            // NOTE: looked at after counting. A writer that closes the gate now waits for this read.
            if !self.closed.load(Ordering::SeqCst) {
                return;
            }
            let now = Instant::now();
            let until = *deadline.get_or_insert(now + PATIENCE);
            if now >= until {
                return;
            }
            self.reading.fetch_sub(1, Ordering::SeqCst);
            let held = relock(&self.lock);
            let is_closed = |(): &mut ()| self.closed.load(Ordering::SeqCst);
            let waited = self.opened.wait_timeout_while(held, until - now, is_closed);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn leave(&self) {
        self.reading.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether no read is under way.
    pub fn is_idle(&self) -> bool {
        self.reading.load(Ordering::SeqCst) == 0
    }

    /// Holds reads back that begin from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Lets those go on that were held back.
    pub fn open(&self) {
        // NOTE: under the lock. A read that has just looked would else wait for a signal that was given.
        let held = relock(&self.lock);
        self.closed.store(false, Ordering::SeqCst);
        drop(held);
        self.opened.notify_all();
    }

    /// Lets no read begin any more, for good, and those go on that were held back.
    pub fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.open();
    }

    /// Whether no read may begin any more.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// After `end`: waits for the reads under way, up to ten seconds. Whether all have ended.
    pub fn wait_for_the_last(&self) -> bool {
        let deadline = Instant::now() + LAST_PATIENCE;
        while !self.is_idle() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.is_idle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn reads_wait_for_an_open_gate_and_no_longer_than_their_patience() {
        let gate = Arc::new(Gate::default());
        let under_way = UnderWay::begin(&gate).expect("begins");
        gate.close();
        assert!(!gate.is_idle());
        drop(under_way);
        assert!(gate.is_idle());
        let enter = |gate: &Arc<Gate>| {
            let gate = Arc::clone(gate);
            std::thread::spawn(move || {
                let started = Instant::now();
                drop(UnderWay::begin(&gate));
                started.elapsed()
            })
        };
        let held = enter(&gate);
        std::thread::sleep(Duration::from_millis(50));
        assert!(gate.is_idle());
        gate.open();
        let waited = held.join().expect("enters");
        assert!(waited >= Duration::from_millis(40) && waited < PATIENCE);
        gate.close();
        assert!(enter(&gate).join().expect("enters") >= PATIENCE);
    }

    #[test]
    fn no_read_begins_after_the_end_and_the_last_one_is_waited_for() {
        let gate = Gate::default();
        let last = UnderWay::begin(&gate).expect("begins");
        gate.end();
        assert!(matches!(UnderWay::begin(&gate), Err(Error::Closed)));
        assert!(!gate.is_idle());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                drop(last);
            });
            assert!(gate.wait_for_the_last());
        });
    }
}
