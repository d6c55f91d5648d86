//! What the writer is asked to do, and what it answers.

use std::sync::Arc;

use rustler::env::SavedTerm;
use rustler::{LocalPid, ResourceArc};

use crate::erase::clearing::{Clearing, Retyping};
use crate::error::Error;
use crate::event::{ImportRow, Packed, PackedHandle, Tied};
use crate::index::ids::Stop;

/// A request to the writer. Answers go to the process that asked, if one did: `from`.
pub enum Command {
    /// Append rows to one entity.
    Append(Submission),
    /// Append rows to an entity without events: all of them in one commit, or none.
    Import {
        /// The entity's id.
        entity: String,
        /// In order. No event id stands in them twice.
        rows: Arc<Vec<ImportRow>>,
        /// Who is told that they are durable.
        from: Option<LocalPid>,
    },
    /// Erase everything of an entity, and begin its log anew with one row: both, or neither.
    Replace {
        /// The entity's id.
        entity: String,
        /// The seq that its log has to end at.
        base: u64,
        /// The row. Its events have no ids.
        append: Append,
        /// Who is told that it is durable.
        from: Option<LocalPid>,
    },
    /// Erase everything of an entity.
    Erase {
        /// The entity's id.
        entity: String,
        /// Who is told that its bytes are gone.
        from: Option<LocalPid>,
    },
    /// Clear payloads of events.
    Clear {
        /// Entities, and the seqs of their events.
        events: Vec<(String, Vec<u64>)>,
        /// What becomes of the types of those events.
        types: Arc<Retyping>,
        /// Who is told that the payloads' bytes are gone.
        from: Option<LocalPid>,
    },
    /// Overwrite the time of the row that holds an event.
    CorrectTime {
        /// The entity's id.
        entity: String,
        /// The seq of the event.
        seq: u64,
        /// The time, in microseconds since 1970.
        recorded_at: i64,
        /// Who is told what became of it.
        from: Option<LocalPid>,
    },
    /// Answer once everything queued before is committed, or has failed.
    Pass {
        /// Who waits for that.
        from: Option<LocalPid>,
    },
    /// The shard is being closed: nothing of it comes behind this. Never answered.
    Detach,
    /// Keep a snapshot. Never answered: it is only ever an optimisation.
    Snapshot {
        /// The entity's id.
        entity: String,
        /// Its life whose state this is: one of an erased life is dropped.
        incarnation: i64,
        /// The state.
        snapshot: crate::log::snapshots::SnapshotRow,
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
    pub clear: Option<Clearing>,
    /// What the journal's owner gets in place of an answer for `from`, when all of them are stored: a
    /// term in the environment of the batch, see `queue`.
    pub receipt: Option<SavedTerm>,
    /// Nobody is told when all of them are stored.
    pub is_silent: bool,
}

impl Submission {
    /// The appends from that one on are not taken: their tickets are void.
    pub fn stopped_at(&self, append: usize) {
        for append in self.appends.iter().skip(append) {
            if let Some(tied) = &append.tied {
                tied.ticket().make_void();
            }
        }
    }

    /// So many of the appends are durable.
    pub fn stored(&mut self, appends: usize) {
        for append in self.appends.iter_mut().take(appends) {
            if let Some(tied) = &mut append.tied {
                tied.stored();
            }
        }
    }
}

/// One append of a submission.
pub struct Append {
    /// Its events.
    pub packed: Arc<Packed>,
    /// Where Erlang has them, to be released once they are stored. Only of large ones.
    pub handle: Option<ResourceArc<PackedHandle>>,
    /// Microseconds since 1970, UTC.
    pub recorded_at: i64,
    /// Its ticket, if it has one.
    pub tied: Option<Tied>,
}

/// What became of a command.
#[derive(Debug)]
pub enum Answer {
    /// All appends are durable.
    Stored {
        /// Which life of the entity they belong to.
        incarnation: i64,
    },
    /// The first appends are durable; the next one was not taken, nor any behind it.
    Stopped {
        /// Which life of the entity those belong to; 0 when it has no events.
        incarnation: i64,
        /// How many are durable.
        appends: usize,
        /// Why the next one was not taken.
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
