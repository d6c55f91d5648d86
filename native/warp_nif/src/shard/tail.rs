//! What is in the journal but not yet in the shard's file, kept in memory.
//!
//! The writer adds to it after each commit and before each acknowledgement; readers look here
//! first. What is added goes to a *stretch*; the thread that applies closes the stretch, brings it
//! into the file in one transaction, and lets it go. How much may gather is bounded.

use std::collections::HashMap;
use std::sync::Arc;

use super::clearing::Retyping;
use super::entities::{EntityInfo, Mark};
use super::kinds::Changes;
use super::rows::Row;
use crate::event::Packed;
use crate::journal::RowRef;

/// How many entities are remembered that are in the file as they are here, to spare the writer looking
/// them up.
const MAX_CLEAN: usize = 16_384;
/// How much may gather in one shard when applying does not succeed.
const MAX_STEPS: usize = 131_072;
const MAX_BYTES: usize = 64 * 1024 * 1024;

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
    fn new(first: i64, run: i64) -> Self {
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

    fn step(&self, position: i64) -> Option<&Step> {
        let index = usize::try_from(position.checked_sub(self.first)?).ok()?;
        self.steps.get(index)
    }

    /// Which entities were opened or closed in it.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }
}

/// An entity in memory.
#[derive(Debug, Clone)]
pub struct Active {
    /// Where its log ends; none when it was erased.
    pub info: Option<EntityInfo>,
    /// Marks that may not be in the file yet, in order.
    pub marks: Vec<Mark>,
    /// The position of the last step about it.
    changed: i64,
}

/// What is in memory of a shard.
pub struct Tail {
    entities: HashMap<Arc<str>, Active>,
    current: Stretch,
    applying: Option<Arc<Stretch>>,
    /// What was applied last: reads whose view of the file is older find its rows here.
    applied_last: Option<Arc<Stretch>>,
    /// Up to here all is in the file.
    applied: i64,
}

impl Tail {
    /// Of a file that has everything up to this position.
    pub fn new(applied: i64, run: i64) -> Self {
        Self {
            entities: HashMap::new(),
            current: Stretch::new(applied + 1, run),
            applying: None,
            applied_last: None,
            applied,
        }
    }

    /// How many steps are not in the file yet.
    pub fn steps(&self) -> usize {
        self.current.steps.len() + self.applying.as_ref().map_or(0, |s| s.steps.len())
    }

    /// How many bytes of events are not in the file yet.
    pub fn bytes(&self) -> usize {
        self.current.bytes + self.applying.as_ref().map_or(0, |stretch| stretch.bytes)
    }

    /// Whether so much has gathered that nothing more may be added before it is applied.
    pub fn is_full(&self) -> bool {
        self.steps() >= MAX_STEPS || self.bytes() >= MAX_BYTES
    }

    /// The last position that was given.
    pub fn position(&self) -> i64 {
        self.current.last()
    }

    /// The run of the journal that writes now.
    pub fn run(&self) -> i64 {
        self.current.run
    }

    /// Up to which position all is in the file.
    pub fn applied(&self) -> i64 {
        self.applied
    }

    /// What is in memory of an entity; none says nothing about the file.
    pub fn entity(&self, entity: &str) -> Option<&Active> {
        self.entities.get(entity)
    }

    /// The name of an entity that is in memory, to be shared.
    pub fn name(&self, entity: &str) -> Option<&Arc<str>> {
        self.entities.get_key_value(entity).map(|(name, _)| name)
    }

    /// The stretches in memory, the oldest first.
    fn stretches(&self) -> impl Iterator<Item = &Stretch> {
        let earlier = [&self.applied_last, &self.applying].into_iter().flatten();
        earlier.map(Arc::as_ref).chain([&self.current])
    }

    /// The row at a position, if it is in memory.
    pub fn row(&self, position: i64) -> Option<Row> {
        let step = self.stretches().find_map(|stretch| stretch.step(position));
        match step {
            Some(Step::Row(row)) => Some(row.to_row()),
            _ => None,
        }
    }

    /// Whether the step at a position is in memory, whatever it is.
    pub fn has(&self, position: i64) -> bool {
        self.stretches().any(|stretch| stretch.step(position).is_some())
    }

    /// Rows in memory that may hold an id with this hash.
    pub fn positions_of_id(&self, incarnation: i64, hash: u64) -> Vec<i64> {
        let each = self.stretches().filter_map(|s| s.ids.get(&(incarnation, hash)));
        each.flatten().copied().collect()
    }

    /// Ids in memory of an entity: the positions of their rows.
    pub fn positions_with_ids(&self, incarnation: i64) -> Vec<i64> {
        let each = self.stretches().flat_map(|stretch| &stretch.ids);
        let own = each.filter(|((of, _), _)| *of == incarnation);
        own.flat_map(|(_, positions)| positions).copied().collect()
    }

    /// Entities that were opened or closed, by stretch, the oldest first.
    pub fn changes(&self) -> Vec<Vec<(i64, super::kinds::Change)>> {
        self.stretches().map(|stretch| stretch.changes.sorted()).collect()
    }

    /// Entities that were erased, and the positions at which.
    pub fn erased(&self) -> Vec<(Arc<str>, i64)> {
        self.stretches().flat_map(|stretch| &stretch.erased).cloned().collect()
    }

    /// Notes an entity that was looked up in the file.
    pub fn remember(&mut self, entity: Arc<str>, info: EntityInfo) {
        self.make_room();
        let applied = self.applied;
        self.entities.entry(entity).or_insert(Active {
            info: Some(info),
            marks: Vec::new(),
            changed: applied,
        });
    }

    fn make_room(&mut self) {
        let dirty = self.steps();
        if self.entities.len() >= MAX_CLEAN + dirty {
            let applied = self.applied;
            self.entities.retain(|_, active| active.changed > applied);
        }
    }

    /// Notes steps that are in the journal.
    ///
    /// # Panics
    ///
    /// When a row does not follow on what is known of its entity. Whoever waits gets `interrupted`
    /// then, and the shard is opened again, with what the files say.
    pub fn publish(&mut self, steps: impl IntoIterator<Item = Step>) {
        self.make_room();
        for step in steps {
            let position = self.current.last() + 1;
            match &step {
                Step::Row(row) => self.publish_row(row, position),
                Step::Erase { entity, .. } => {
                    let gone = Active {
                        info: None,
                        marks: Vec::new(),
                        changed: position,
                    };
                    self.entities.insert(Arc::clone(entity), gone);
                    self.current.erased.push((Arc::clone(entity), position));
                }
                Step::Clear { .. } | Step::Retime { .. } => {}
            }
            self.current.steps.push(step);
        }
    }

    fn publish_row(&mut self, row: &TailRow, position: i64) {
        let after = &row.info;
        assert!(after.head == position, "{after:?} at position {position}");
        let applied = self.applied;
        for hash in &row.ids {
            let positions = self.current.ids.entry((after.incarnation, *hash));
            positions.or_default().push(position);
        }
        if let Some(open) = row.open {
            self.current.changes.apply(after.incarnation, row.seq == 1, open);
        }
        self.current.bytes += row.packed.data.len();
        let active = match self.entities.get_mut(&row.entity) {
            Some(active) => active,
            None => self.entities.entry(Arc::clone(&row.entity)).or_insert(Active {
                info: None,
                marks: Vec::new(),
                changed: 0,
            }),
        };
        let follows = match &active.info {
            Some(before) => {
                after.incarnation == before.incarnation
                    && after.head > before.head
                    && after.rows == before.rows + 1
                    && row.seq == before.seq + 1
            }
            // Either this is the entity's first row, or those before it are in the file.
            None => (after.rows == 1) == (row.seq == 1),
        };
        assert!(
            follows && after.seq >= row.seq,
            "{after:?} does not follow on {:?}",
            active.info
        );
        active.info = Some(after.clone());
        active.changed = position;
        if after.is_marked() {
            active.marks.retain(|(_, at)| *at > applied);
            active.marks.push((row.seq, position));
        }
    }

    /// Closes the current stretch, so that it can be applied; or the one whose applying failed.
    /// `None` when nothing is left to be applied.
    pub fn to_apply(&mut self) -> Option<Arc<Stretch>> {
        if self.applying.is_none() && !self.current.steps.is_empty() {
            let next = Stretch::new(self.current.last() + 1, self.current.run);
            let full = std::mem::replace(&mut self.current, next);
            self.applying = Some(Arc::new(full));
        }
        self.applying.clone()
    }

    /// The stretch that was closed last is in the file. What it gives back is to be dropped by the
    /// caller once the lock is open again.
    pub fn applied_all(&mut self) -> Option<Arc<Stretch>> {
        if let Some(stretch) = &self.applying {
            self.applied = stretch.last();
        }
        let old = std::mem::replace(&mut self.applied_last, self.applying.take());
        old
    }

    /// Lets go of what was applied last, when nothing new has come for long.
    pub fn forget_applied(&mut self) -> Option<Arc<Stretch>> {
        self.applied_last.take()
    }
}
