//! Work that no caller waits for: what of it fails at present, since when and why.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use rustler::Atom;

use crate::atoms;
use crate::error::{Error, Result};
use crate::sync::relock;

/// What is done in the background. `warp_shard_background` says what it means when one fails.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Bringing the file up to the journal.
    WriteBehind,
    /// Moving the WAL into the file.
    Checkpoint,
    /// Freeing the WAL of what was erased.
    EmptyWal,
    /// Erasing a piece of a large entity.
    Erase,
    /// Giving back the room of what was erased.
    Compaction,
    /// Keeping a snapshot.
    Snapshot,
    /// Beginning a segment of the journal after a commit that failed.
    Seal,
    /// Giving back segments of the journal.
    Recycle,
}

impl Task {
    fn name(self) -> Atom {
        match self {
            Self::WriteBehind => atoms::write_behind(),
            Self::Checkpoint => atoms::checkpoint(),
            Self::EmptyWal => atoms::empty_wal(),
            Self::Erase => atoms::erase(),
            Self::Compaction => atoms::compaction(),
            Self::Snapshot => atoms::snapshot(),
            Self::Seal => atoms::seal(),
            Self::Recycle => atoms::recycle(),
        }
    }
}

/// A task that failed when it was last tried: its name, microseconds since 1970 of its first failure in a
/// row, and its last error.
pub type Failing = (Atom, i64, Error);

/// The tasks that failed when they were last tried.
#[derive(Default)]
pub struct Background(Mutex<BTreeMap<Task, (i64, Error)>>);

impl Background {
    /// Notes how a task went.
    pub fn note<T>(&self, task: Task, result: &Result<T>) {
        let mut failing = relock(&self.0);
        match result {
            Ok(_) => drop(failing.remove(&task)),
            Err(error) => {
                let (_, why) = failing.entry(task).or_insert((now(), Error::Closed));
                why.clone_from(error);
            }
        }
    }

    /// The error of a task that fails at present, if one does.
    pub fn first_error(&self) -> Option<Error> {
        let failing = relock(&self.0);
        failing.values().next().map(|(_, error)| error.clone())
    }

    /// Those that fail at present.
    pub fn failing(&self) -> Vec<Failing> {
        let failing = relock(&self.0);
        let each = failing.iter();
        each.map(|(task, (since, error))| (task.name(), *since, error.clone()))
            .collect()
    }
}

fn now() -> i64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX)
}
