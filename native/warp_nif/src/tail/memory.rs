//! What is in the journal but not yet in the shard's file, kept in memory.
//!
//! The writer adds to it after each commit and before each acknowledgement; readers look here
//! first. What is added goes to a *stretch*; the thread that applies closes the stretch, brings it
//! into the file in one transaction, and lets it go. How much may gather is bounded.

use std::collections::HashMap;
use std::sync::Arc;

use super::stretch::{Step, Stretch, TailRow};
use crate::event::{Packed, RESERVED};
use crate::index::entities::{EntityInfo, Mark};
use crate::log::Row;
use crate::log::kinds::Change;

/// How many entities are remembered that are in the file as they are here, to spare the writer looking
/// them up.
const MAX_CLEAN: usize = 16_384;
/// How much may gather in one shard when applying does not succeed.
const MAX_STEPS: usize = 131_072;
const MAX_BYTES: usize = 64 * 1024 * 1024;

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

/// An entity with steps that are not in the file yet.
#[derive(Default)]
pub struct Young {
    /// Where its log ends; none when it was erased.
    pub info: Option<EntityInfo>,
    /// The rows of its present life among these steps.
    rows: Vec<Arc<Packed>>,
}

impl Young {
    /// Whether one of these rows has an event of one of the aggregates; any, without such.
    pub fn has(&self, aggregates: Option<&[String]>) -> bool {
        aggregates.is_none_or(|wanted| {
            let mut names = self.rows.iter().flat_map(|row| row.aggregates());
            names.any(|name| wanted.iter().any(|wanted| wanted == name.as_ref()))
        })
    }
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
        self.current.bytes() + self.applying.as_ref().map_or(0, |stretch| stretch.bytes())
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
        self.stretches()
            .any(|stretch| stretch.step(position).is_some())
    }

    /// Rows in memory that may hold an id with this hash.
    pub fn positions_of_id(&self, incarnation: i64, hash: u64) -> Vec<i64> {
        let each = self.stretches();
        let found = each.flat_map(|stretch| stretch.positions_of_id(incarnation, hash));
        found.copied().collect()
    }

    /// Rows in memory of an entity that have ids.
    pub fn positions_with_ids(&self, incarnation: i64) -> Vec<i64> {
        let each = self.stretches();
        each.flat_map(|stretch| stretch.positions_with_ids(incarnation))
            .collect()
    }

    /// Entities that were opened or closed, by stretch, the oldest first.
    pub fn changes(&self) -> Vec<Vec<(i64, Change)>> {
        let each = self.stretches();
        each.map(|stretch| stretch.changes().sorted()).collect()
    }

    /// The entities with steps that are not in the file yet.
    pub fn young(&self) -> HashMap<Arc<str>, Young> {
        let mut young: HashMap<Arc<str>, Young> = HashMap::new();
        let unapplied = self.applying.iter().map(Arc::as_ref).chain([&self.current]);
        for step in unapplied.flat_map(|stretch| &stretch.steps) {
            match step {
                Step::Row(row) => {
                    let of_row = young.entry(Arc::clone(&row.entity)).or_default();
                    of_row.info = Some(row.info.clone());
                    of_row.rows.push(Arc::clone(&row.packed));
                }
                Step::Erase { entity, .. } => {
                    young.insert(Arc::clone(entity), Young::default());
                }
                Step::Clear { .. } | Step::Retime { .. } => {}
            }
        }
        young
    }

    /// How many users' entities more there are with the steps that are not in the file yet.
    pub fn users(&self) -> i64 {
        let unapplied = self.applying.iter().map(Arc::as_ref).chain([&self.current]);
        let steps = unapplied.flat_map(|stretch| &stretch.steps);
        let each = steps.map(|step| match step {
            Step::Row(row) if row.info.rows == 1 => (&row.entity, 1),
            Step::Erase {
                entity,
                info: Some(_),
            } => (entity, -1),
            Step::Row(TailRow { entity, .. })
            | Step::Erase { entity, .. }
            | Step::Clear { entity, .. }
            | Step::Retime { entity, .. } => (entity, 0),
        });
        let users = each.filter(|(entity, _)| !entity.starts_with(RESERVED));
        users.map(|(_, more)| more).sum()
    }

    /// Entities that were erased, and the positions at which.
    pub fn erased(&self) -> Vec<(Arc<str>, i64)> {
        let each = self.stretches();
        each.flat_map(Stretch::erased).cloned().collect()
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
                }
                Step::Clear { .. } | Step::Retime { .. } => {}
            }
            self.current.push(step);
        }
    }

    fn publish_row(&mut self, row: &TailRow, position: i64) {
        let after = &row.info;
        assert!(after.head == position, "{after:?} at position {position}");
        let applied = self.applied;
        let active = match self.entities.get_mut(&row.entity) {
            Some(active) => active,
            None => self
                .entities
                .entry(Arc::clone(&row.entity))
                .or_insert(Active {
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
    pub fn begin_apply(&mut self) -> Option<Arc<Stretch>> {
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
        std::mem::replace(&mut self.applied_last, self.applying.take())
    }

    /// Lets go of what was applied last, when nothing new has come for long.
    pub fn forget_applied(&mut self) -> Option<Arc<Stretch>> {
        self.applied_last.take()
    }
}
