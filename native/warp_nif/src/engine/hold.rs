//! Holds: the writer makes no commit until somebody says so, so that all nodes of a cluster can cut at one moment.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::sync::relock;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Held,
    Released,
    /// The limit was over first.
    Expired,
}

/// What the writer waits for.
#[derive(Default)]
pub struct Holding {
    state: Mutex<State>,
    changed: Condvar,
}

impl Holding {
    /// For the writer: waits until it is released, for `limit` at most.
    pub fn wait(&self, limit: Duration) {
        let is_held = |state: &mut State| *state == State::Held;
        let waited = self
            .changed
            .wait_timeout_while(relock(&self.state), limit, is_held);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *state == State::Held {
            *state = State::Expired;
        }
    }
}

/// A hold. Dropping it releases it.
pub struct Hold(pub Arc<Holding>);

impl Hold {
    /// Lets the writer go on. Whether it has made no commit up to now.
    pub fn release(&self) -> bool {
        let mut state = relock(&self.0.state);
        if *state == State::Held {
            *state = State::Released;
            self.0.changed.notify_all();
            return true;
        }
        false
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[test]
    fn it_is_released_once_or_expires() {
        for limit in [Duration::from_secs(60), Duration::from_millis(1)] {
            let holding = Arc::new(Holding::default());
            let hold = Hold(Arc::clone(&holding));
            let begun = Instant::now();
            let writer = thread::spawn(move || holding.wait(limit));
            if limit < Duration::from_secs(1) {
                writer.join().expect("ended");
                assert!(!hold.release());
            } else {
                assert!(hold.release());
                writer.join().expect("ended");
                assert!(!hold.release());
                assert!(begun.elapsed() < limit);
            }
        }
    }

    #[test]
    fn one_that_is_dropped_is_released() {
        let holding = Arc::new(Holding::default());
        drop(Hold(Arc::clone(&holding)));
        holding.wait(Duration::from_secs(60));
        assert_eq!(*relock(&holding.state), State::Released);
    }
}
