//! A stretch of a shard's log in memory: steps at positions without a gap.

use std::collections::HashMap;
use std::sync::Arc;

use crate::erase::clearing::Retyping;
use crate::event::Packed;
use crate::index::entities::EntityInfo;
use crate::journal::RowRef;
use crate::log::Row;
use crate::log::kinds::Changes;

/// A row that is in memory.
pub struct TailRow {
    /// Its entity.
    pub entity: Arc<str>,
    /// Its events.
    pub packed: Arc<Packed>,
    /// The seq of its first event.
    pub seq: u64,
    /// How many events.
    pub count: u64,
    /// Microseconds since 1970, UTC.
    pub recorded_at: i64,
    /// The position of the entity's previous row; 0 for its first.
    pub prev: i64,
    /// Its checksum, as it stands in the log.
    pub checksum: i64,
    /// Where the entity's log ends with it.
    pub info: EntityInfo,
    /// Hashes of the ids that its events were given, each once.
    pub ids: Vec<u64>,
    /// Whether it leaves its entity open, if that is of a kind.
    pub open: Option<bool>,
}

impl TailRow {
    /// The row, borrowed.
    pub fn borrow(&self) -> RowRef<'_> {
        RowRef {
            position: self.info.head,
            entity: &self.entity,
            aggregate: &self.packed.aggregate,
            seq: self.seq,
            count: self.count,
            recorded_at: self.recorded_at,
            prev: self.prev,
            data: &self.packed.data,
        }
    }

    /// A copy.
    pub fn to_row(&self) -> Row {
        Row {
            position: self.info.head,
            entity: self.entity.as_ref().to_owned(),
            aggregate: self.packed.aggregate.to_string(),
            seq: self.seq,
            count: self.count,
            recorded_at: self.recorded_at,
            prev: self.prev,
            data: self.packed.data.clone(),
        }
    }
}

/// What is done at one position of a shard's log.
pub enum Step {
    /// A row is appended.
    Row(TailRow),
    /// An entity is erased.
    Erase {
        /// Its id.
        entity: Arc<str>,
        /// Where its log ended; none when it had no events.
        info: Option<EntityInfo>,
    },
    /// Payloads of an entity's events are cleared.
    Clear {
        /// Its id.
        entity: Arc<str>,
        /// The seqs of the events.
        seqs: Vec<u64>,
        /// What becomes of their types.
        types: Arc<Retyping>,
    },
    /// The time of the row that holds an event is corrected.
    Retime {
        /// The entity's id.
        entity: Arc<str>,
        /// The seq of the event.
        seq: u64,
        /// Microseconds since 1970, UTC.
        recorded_at: i64,
    },
}

/// Steps at positions without a gap.
pub struct Stretch {
    /// The position of the first one.
    pub first: i64,
    /// In order.
    pub steps: Vec<Step>,
    /// The run of the journal that they were written in, if it changes here: see `runs`.
    pub run: i64,
    /// By incarnation and hash of the id: positions of rows that may hold it.
    ids: HashMap<(i64, u64), Vec<i64>>,
    /// Entities that were erased, and the positions at which.
    erased: Vec<(Arc<str>, i64)>,
    changes: Changes,
    bytes: usize,
}

impl Stretch {
    /// Without steps yet.
    pub fn new(first: i64, run: i64) -> Self {
        Self {
            first,
            steps: Vec::new(),
            run,
            ids: HashMap::new(),
            erased: Vec::new(),
            changes: Changes::default(),
            bytes: 0,
        }
    }

    /// The position of the last step.
    pub fn last(&self) -> i64 {
        self.first + self.steps.len() as i64 - 1
    }

    /// The step at a position, if it is here.
    pub fn step(&self, position: i64) -> Option<&Step> {
        let index = usize::try_from(position.checked_sub(self.first)?).ok()?;
        self.steps.get(index)
    }

    /// Adds a step at the next position.
    pub fn push(&mut self, step: Step) {
        let position = self.last() + 1;
        match &step {
            Step::Row(row) => {
                let incarnation = row.info.incarnation;
                for hash in &row.ids {
                    let positions = self.ids.entry((incarnation, *hash)).or_default();
                    positions.push(position);
                }
                if let Some(open) = row.open {
                    self.changes.apply(incarnation, row.seq == 1, open);
                }
                self.bytes += row.packed.data.len();
            }
            Step::Erase { entity, info } => {
                self.erased.push((Arc::clone(entity), position));
                if let Some(info) = info {
                    self.changes.erase(info.incarnation);
                }
            }
            Step::Clear { .. } | Step::Retime { .. } => {}
        }
        self.steps.push(step);
    }

    /// How many bytes of events it has.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Rows that may hold an id with this hash.
    pub fn positions_of_id(&self, incarnation: i64, hash: u64) -> &[i64] {
        let found = self.ids.get(&(incarnation, hash));
        found.map_or(&[], Vec::as_slice)
    }

    /// Rows of an entity that have ids.
    pub fn positions_with_ids(&self, incarnation: i64) -> impl Iterator<Item = i64> {
        let own = self
            .ids
            .iter()
            .filter(move |((of, _), _)| *of == incarnation);
        own.flat_map(|(_, positions)| positions).copied()
    }

    /// Entities that were erased, and the positions at which.
    pub fn erased(&self) -> &[(Arc<str>, i64)] {
        &self.erased
    }

    /// Which entities were opened or closed in it.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }
}
