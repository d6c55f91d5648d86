//! The next segment, prepared by a thread of its own while the last one is written.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::files::{self, Prepared};
use crate::error::{Error, Result, panic_message};
use crate::files::Access;
use crate::sync::relock;

/// The sizes of segments: the first one of a run is small, and each is twice as large as the one
/// before, up to the largest.
const SMALLEST: u64 = 256 * 1024;
/// What the size of a segment is a multiple of, where the disk has no room for the usual size.
const UNIT: u64 = 64 * 1024;
const LARGEST: u64 = 64 * 1024 * 1024;

enum Next {
    None,
    Preparing,
    Ready(Prepared),
    Failed,
}

struct State {
    next: Next,
    number: u64,
    size: u64,
    /// The number of one that was given back, and can become the next.
    old: Option<u64>,
}

/// What becomes the next segment.
pub struct Spare {
    dir: PathBuf,
    access: Access,
    state: Mutex<State>,
    prepared: Condvar,
}

impl Spare {
    /// None yet. The next segment has this number.
    pub fn new(dir: PathBuf, access: Access, number: u64) -> Self {
        Self {
            dir,
            access,
            state: Mutex::new(State {
                next: Next::None,
                number,
                size: SMALLEST,
                old: None,
            }),
            prepared: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        relock(&self.state)
    }

    /// The state, once nothing is being prepared.
    fn settled(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        while matches!(state.next, Next::Preparing) {
            let waited = self.prepared.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Takes one of the segments that were given back, to be made the next one, if it has none.
    pub fn keep_one(&self, given_back: &mut Vec<u64>) {
        let state = &mut *self.state();
        if state.old.is_none() {
            state.old = given_back.pop();
        }
    }

    /// Lets the one go that was kept. It is still there.
    pub fn let_go(&self) -> Option<u64> {
        self.state().old.take()
    }

    /// Waits until nothing is being prepared: what stood in a segment that was given back is overwritten.
    pub fn wait(&self) {
        drop(self.settled());
    }

    /// Forgets what was prepared, and waits for what is being prepared first.
    pub fn clear(&self) {
        self.settled().next = Next::None;
    }

    /// Has a segment prepared by another thread, unless one is prepared already.
    pub fn prepare(self: &Arc<Self>) {
        {
            let mut state = self.state();
            if !matches!(state.next, Next::None | Next::Failed) {
                return;
            }
            state.next = Next::Preparing;
        }
        let spare = Arc::clone(self);
        let job = move || {
            // NOTE: also after a panic, since a commit may wait for it.
            let made = catch_unwind(AssertUnwindSafe(|| spare.make(0)))
                .unwrap_or_else(|panic| Err(Error::internal(panic_message(&*panic))));
            spare.made(made);
        };
        // NOTE: in a thread of its own. Those of the pool may all wait for a writer that waits for this.
        let started = std::thread::Builder::new()
            .name("warp-prepare".into())
            .spawn(job);
        if let Err(error) = started {
            let what = format!("a thread cannot be started: {error}");
            self.made(Err(Error::Io(what.into())));
        }
    }

    fn made(&self, made: Result<Prepared>) {
        // Whoever needs one tries again, and meets the error.
        self.state().next = made.map_or(Next::Failed, Next::Ready);
        self.prepared.notify_all();
    }

    /// Makes a segment of the usual size, or of that many bytes if these are more.
    fn make(&self, bytes: u64) -> Result<Prepared> {
        let made = self.make_of(bytes, SMALLEST);
        if bytes > 0 && matches!(made, Err(Error::DiskFull)) {
            return self.make_of(bytes, UNIT);
        }
        made
    }

    fn make_of(&self, bytes: u64, unit: u64) -> Result<Prepared> {
        let (number, size, old) = {
            let state = &mut *self.state();
            let usual = if unit == SMALLEST { state.size } else { 0 };
            let size = usual.max(bytes.next_multiple_of(unit));
            let number = state.number;
            state.number += 1;
            (number, size, state.old.take())
        };
        let prepared = files::prepare(&self.dir, self.access, number, size, old)?;
        let state = &mut *self.state();
        state.size = (state.size * 2).min(LARGEST);
        Ok(prepared)
    }

    /// A segment to be begun that has room for so many bytes. Waits for the one that is being
    /// prepared, and makes one if there is none.
    pub fn take(&self, bytes: u64) -> Result<Prepared> {
        let next = std::mem::replace(&mut self.settled().next, Next::None);
        match next {
            Next::Ready(prepared) if prepared.size >= bytes => Ok(prepared),
            Next::Ready(small) => {
                files::remove(&self.dir, &[small.number])?;
                self.make(bytes)
            }
            Next::None | Next::Preparing | Next::Failed => self.make(bytes),
        }
    }
}
