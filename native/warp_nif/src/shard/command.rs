//! What the writer is asked to do, and what it answers.

use std::sync::Arc;

use rustler::env::SavedTerm;
use rustler::{LocalPid, OwnedEnv, ResourceArc};

use super::clearing::{Clearing, Retyping};
use crate::error::Error;
use crate::event::{Packed, PackedHandle};

/// A request to the writer. Answers go to the process that asked.
pub enum Command {
    /// Append rows to one entity.
    Append(Submission),
    /// Erase everything of an entity.
    Erase {
        entity: String,
        from: Option<LocalPid>,
    },
    /// Clear payloads of events: entities, and the seqs of those events.
    Clear {
        events: Vec<(String, Vec<u64>)>,
        types: Retyping,
        from: Option<LocalPid>,
    },
    /// Overwrite the time of the row that holds the entity's event with that seq.
    CorrectTime {
        entity: String,
        seq: u64,
        recorded_at: i64,
        from: Option<LocalPid>,
    },
    /// Answer once everything queued before is committed, or has failed.
    Pass { from: Option<LocalPid> },
    /// Keep a snapshot. Never answered: it is only ever an optimisation.
    Snapshot {
        entity: String,
        incarnation: i64,
        snapshot: super::snapshots::SnapshotRow,
    },
}

/// The appends that one entity's process hands over at once.
pub struct Submission {
    /// The entity's id.
    pub entity: String,
    /// Who gets the answer, if anyone.
    pub from: Option<LocalPid>,
    /// The seq that the entity's log must end at for these appends to be what was decided.
    pub base: u64,
    /// In order; each becomes one row.
    pub appends: Vec<Append>,
    /// Which of the entity's events are cleared in the same transaction.
    pub clear: Clearing,
    /// What the owner gets in place of an answer for `from`, when all of them are stored.
    pub receipt: Option<Receipt>,
}

/// A term kept for the owner of the shard.
pub struct Receipt {
    pub env: OwnedEnv,
    pub term: SavedTerm,
}

/// One append of a submission.
pub struct Append {
    /// Its events.
    pub packed: Arc<Packed>,
    /// Where Erlang has them, to be released once they are stored. Only of large ones.
    pub handle: Option<ResourceArc<PackedHandle>>,
    /// Microseconds since 1970, UTC.
    pub recorded_at: i64,
}

/// What became of a command.
#[derive(Debug)]
pub enum Answer {
    /// All appends are durable.
    Stored { incarnation: i64 },
    /// The first `appends` are durable; the next one was not taken, nor any behind it.
    Stopped {
        incarnation: i64,
        appends: usize,
        why: Stop,
    },
    /// The log does not end at `base`, but at this seq. Nothing was written.
    WrongBase(u64),
    /// The entity and its bytes are gone.
    Erased,
    /// The payloads and their bytes are gone.
    Cleared,
    /// The row has the time given.
    Corrected,
    /// The entity has no event with that seq.
    NoEvent,
    /// Everything before is done.
    Passed,
    /// Nothing was written.
    Failed(Error),
}

/// Why an append was not taken.
#[derive(Debug)]
pub enum Stop {
    /// These of its events (by index) are in the log already, at these seqs.
    Duplicates(Vec<(usize, u64)>),
    /// An id of it belongs to another event, at this seq.
    Conflict(u64),
    /// This id has the form of a derived one, but is not that of the event it was given to.
    Reserved(String),
}
