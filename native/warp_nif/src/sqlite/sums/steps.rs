//! The points between two changes of the files. A test ends its process at any of them.

/// A point where the process may end.
#[cfg(not(test))]
pub fn pass() {}

#[cfg(test)]
pub use counted::*;

#[cfg(test)]
mod counted {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    static LEFT: AtomicU64 = AtomicU64::new(0);

    /// A point where the process may end.
    pub fn pass() {
        if LEFT.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) == Ok(1) {
            std::process::abort();
        }
    }

    /// Ends the process at the last of that many points.
    pub fn abort_after(points: u64) {
        LEFT.store(points, SeqCst);
    }
}
