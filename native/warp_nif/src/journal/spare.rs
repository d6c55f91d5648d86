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
/// The largest that is prepared while callers wait for it.
const QUICK: u64 = 4 * 1024 * 1024;

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
    /// The numbers of others that nobody needs, whose files may still be there.
    waste: Vec<u64>,
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
                waste: Vec::new(),
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

    /// Waits until nothing is being prepared.
    pub fn await_prepared(&self) {
        drop(self.settled());
    }

    /// Removes the segments that no shard needs any more, but for one that becomes the next.
    ///
    /// What could not be removed is tried again with the next call.
    pub fn give_back(&self, mut numbers: Vec<u64>) -> Result<()> {
        {
            let state = &mut *self.state();
            if state.old.is_none() {
                state.old = numbers.pop();
            }
            state.waste.append(&mut numbers);
        }
        self.remove_waste()
    }

    /// Removes all that were given back, or overwrites them: nothing is left of what stood in them.
    pub fn overwrite_all(&self) -> Result<()> {
        {
            let state = &mut *self.settled();
            state.waste.extend(state.old.take());
        }
        self.remove_waste()
    }

    fn remove_waste(&self) -> Result<()> {
        let waste = std::mem::take(&mut self.state().waste);
        let removed = files::remove(&self.dir, &waste);
        if removed.is_err() {
            self.state().waste.extend(waste);
        }
        removed
    }

    /// Forgets what was prepared or given back, and waits for what is being prepared first.
    pub fn clear(&self) {
        let state = &mut *self.settled();
        (state.next, state.old) = (Next::None, None);
        state.waste.clear();
    }

    /// Has a segment of the usual size prepared by another thread, unless one is prepared already.
    pub fn prepare(self: &Arc<Self>) {
        self.prepare_up_to(LARGEST);
    }

    /// Likewise one that is soon prepared, and waits for that.
    pub fn prepare_now(self: &Arc<Self>) {
        self.prepare_up_to(QUICK);
        self.await_prepared();
    }

    fn prepare_up_to(self: &Arc<Self>, most: u64) {
        {
            let mut state = self.state();
            if !matches!(state.next, Next::None | Next::Failed) {
                return;
            }
            state.next = Next::Preparing;
        }
        let spare = Arc::clone(self);
        let job = move || {
            // Whoever needs one tries again, and meets the error.
            let made = spare.make(0, most).map_or(Next::Failed, Next::Ready);
            spare.settle(made);
        };
        // NOTE: in a thread of its own. Those of the pool may all wait for a writer that waits for this.
        let started = std::thread::Builder::new()
            .name("warp-prepare".into())
            .spawn(job);
        if started.is_err() {
            self.settle(Next::Failed);
        }
    }

    fn settle(&self, next: Next) {
        self.state().next = next;
        self.prepared.notify_all();
    }

    /// Makes a segment of the usual size and at most of that one, or of that many bytes if these are more. Whoever calls
    /// says afterwards that nothing is being prepared any more.
    fn make(&self, bytes: u64, most: u64) -> Result<Prepared> {
        // NOTE: also after a panic something is said, since a commit may wait for it.
        catch_unwind(AssertUnwindSafe(|| self.make_uncaught(bytes, most)))
            .unwrap_or_else(|panic| Err(Error::internal(panic_message(&*panic))))
    }

    fn make_uncaught(&self, bytes: u64, most: u64) -> Result<Prepared> {
        let made = self.make_of(bytes, SMALLEST, most);
        if bytes > 0 && matches!(made, Err(Error::DiskFull)) {
            return self.make_of(bytes, UNIT, 0);
        }
        made
    }

    fn make_of(&self, bytes: u64, unit: u64, most: u64) -> Result<Prepared> {
        let (number, size, old) = {
            let state = &mut *self.state();
            let usual = state.size.min(most);
            let size = usual.max(bytes.next_multiple_of(unit));
            let number = state.number;
            state.number += 1;
            (number, size, state.old.take())
        };
        let prepared = files::prepare(&self.dir, self.access, number, size, old);
        let state = &mut *self.state();
        if prepared.is_ok() {
            // NOTE: shards that come one after the other, each with a segment of its own, make none larger.
            if most != QUICK {
                state.size = (state.size * 2).min(LARGEST);
            }
        } else if let Some(old) = old {
            // What it was made of is there under the one number or the other.
            state.waste.extend([old, number]);
        }
        prepared
    }

    /// A segment to be begun that has room for so many bytes. Waits for the one that is being
    /// prepared, and makes one if there is none.
    pub fn take(&self, bytes: u64) -> Result<Prepared> {
        let next = std::mem::replace(&mut self.settled().next, Next::Preparing);
        let taken = match next {
            Next::Ready(prepared) if prepared.size >= bytes => Ok(prepared),
            Next::Ready(small) => {
                self.state().waste.push(small.number);
                // A disk that is full may need its room. That it cannot be removed is said by the next call.
                let _ = self.remove_waste();
                self.make(bytes, LARGEST)
            }
            Next::None | Next::Preparing | Next::Failed => self.make(bytes, LARGEST),
        };
        self.settle(Next::None);
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn spare() -> (tempfile::TempDir, Spare) {
        let dir = tempfile::tempdir().expect("temp dir");
        let spare = Spare::new(dir.path().into(), Access::Owner, 10);
        (dir, spare)
    }

    #[test]
    fn one_that_was_given_back_becomes_the_next() {
        let (dir, spare) = spare();
        for number in [4, 5] {
            fs::write(files::path(dir.path(), number), "erased").expect("written");
        }
        spare.give_back(vec![4, 5]).expect("removed");
        assert_eq!(files::numbers(dir.path()).expect("listed"), [5]);
        assert_eq!(spare.take(1).expect("made").number, 10);
        assert_eq!(files::numbers(dir.path()).expect("listed"), [10]);
    }

    #[test]
    fn what_cannot_be_removed_now_is_not_forgotten() {
        let (dir, spare) = spare();
        let (four, five) = (files::path(dir.path(), 4), files::path(dir.path(), 5));
        // A folder can neither be removed as a file, nor become a segment.
        fs::create_dir(&four).expect("created");
        fs::create_dir(&five).expect("created");
        assert!(spare.give_back(vec![4, 5]).is_err());
        assert!(spare.take(1).is_err());
        assert!(spare.overwrite_all().is_err());
        let entries = || fs::read_dir(dir.path()).expect("listed").flatten();
        for path in entries().map(|entry| entry.path()) {
            fs::remove_dir(&path).expect("removed");
            fs::write(&path, "erased").expect("written");
        }
        spare.overwrite_all().expect("removed");
        assert_eq!(entries().count(), 0);
    }

    #[test]
    fn those_that_callers_wait_for_stay_small() {
        let (_dir, spare) = spare();
        let spare = Arc::new(spare);
        while spare.take(1).expect("made").size < 2 * QUICK {}
        for _ in 0..3 {
            spare.prepare_now();
            assert_eq!(spare.take(1).expect("prepared").size, QUICK);
        }
        spare.prepare();
        assert_eq!(spare.take(1).expect("prepared").size, 4 * QUICK);
    }

    #[test]
    fn one_that_is_too_small_is_removed() {
        let (dir, spare) = spare();
        let spare = Arc::new(spare);
        spare.prepare();
        assert_eq!(spare.take(2 * SMALLEST).expect("made").number, 11);
        assert_eq!(files::numbers(dir.path()).expect("listed"), [11]);
    }
}
