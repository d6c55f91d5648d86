//! The gate that reads pass. The writer closes it for a moment when the WAL has to begin anew, which
//! SQLite can do only while no read is under way.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a read waits at most for the gate to open, and the writer for reads to end.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Counts reads, and holds new ones back while it is closed.
#[derive(Default)]
pub struct Gate {
    reading: AtomicUsize,
    closed: AtomicBool,
    lock: Mutex<()>,
    opened: Condvar,
}

impl Gate {
    /// Before a read. Waits while the gate is closed, but never longer than `PATIENCE`.
    pub fn enter(&self) {
        let mut deadline = None;
        loop {
            self.reading.fetch_add(1, Ordering::SeqCst);
            // Looked at after counting: a writer that closes now waits for this read.
            if !self.closed.load(Ordering::SeqCst) {
                return;
            }
            let now = Instant::now();
            let until = *deadline.get_or_insert(now + PATIENCE);
            if now >= until {
                return;
            }
            self.reading.fetch_sub(1, Ordering::SeqCst);
            let held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            let is_closed = |(): &mut ()| self.closed.load(Ordering::SeqCst);
            drop(self.opened.wait_timeout_while(held, until - now, is_closed));
        }
    }

    /// After a read. Whether a closed gate waited for this one.
    pub fn leave(&self) -> bool {
        self.reading.fetch_sub(1, Ordering::SeqCst) == 1 && self.closed.load(Ordering::SeqCst)
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
        // Under the lock: one that has just looked would else wait for a signal that was given.
        let held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.closed.store(false, Ordering::SeqCst);
        drop(held);
        self.opened.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn reads_wait_for_an_open_gate_and_no_longer_than_their_patience() {
        let gate = Arc::new(Gate::default());
        gate.enter();
        gate.close();
        assert!(!gate.is_idle());
        assert!(gate.leave());
        assert!(gate.is_idle());
        let enter = |gate: &Arc<Gate>| {
            let gate = Arc::clone(gate);
            std::thread::spawn(move || {
                let started = Instant::now();
                gate.enter();
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
}
