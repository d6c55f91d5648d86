//! What has been committed to the log but not yet written behind, kept in memory.
//!
//! The writer adds to it after each commit and before each acknowledgement; readers look here
//! first. Its size is bounded by how many rows may pass before a flush.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::entities::{EntityInfo, Mark};
use super::kinds::Changes;

/// After how many rows, or ids, the tail is written behind.
const FLUSH_ROWS: usize = 8192;
/// After how many bytes of event data: they are read again at opening after a crash.
const FLUSH_BYTES: usize = 32 * 1024 * 1024;
/// How many entities are remembered that nothing was written to since the last flush, to spare the
/// writer looking them up.
const MAX_CLEAN: usize = 16_384;
/// How much may gather when writing behind does not succeed.
const MAX_ROWS: usize = 16 * FLUSH_ROWS;
const MAX_BYTES: usize = 16 * FLUSH_BYTES;

/// An entity in the tail.
#[derive(Debug, Clone)]
pub struct Active {
    /// Where its log ends.
    pub info: EntityInfo,
    /// Marks since the last flush, in order.
    pub marks: Vec<Mark>,
    /// Whether `info` differs from what was written behind.
    pub dirty: bool,
}

/// The part of the index that is only in memory.
#[derive(Default)]
pub struct Tail {
    entities: HashMap<String, Active>,
    /// How many of them are not dirty.
    clean: usize,
    /// By incarnation and hash of the id.
    ids: HashMap<(i64, u64), Vec<i64>>,
    changes: Changes,
    rows: usize,
    bytes: usize,
}

/// One row's effect on the tail.
pub struct Change {
    /// The entity whose row it is.
    pub entity: String,
    /// Where its log ends with that row.
    pub info: EntityInfo,
    /// The seq of the row's first event.
    pub first_seq: u64,
    /// Bytes of its data.
    pub bytes: usize,
    /// Hashes of the ids that the row's events were given, each once.
    pub ids: Vec<u64>,
    /// Whether the row leaves its entity open, if that is of a kind.
    pub open: Option<bool>,
}

impl Tail {
    /// How many rows were not written behind yet.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether enough has gathered to be written behind.
    pub fn is_due(&self) -> bool {
        self.rows >= FLUSH_ROWS || self.ids.len() >= FLUSH_ROWS || self.bytes >= FLUSH_BYTES
    }

    /// Whether so much has gathered that nothing more may be added before it is written behind.
    pub fn is_full(&self) -> bool {
        self.rows >= MAX_ROWS || self.ids.len() >= MAX_ROWS || self.bytes >= MAX_BYTES
    }

    /// What is in memory of an entity; none says nothing about the file.
    pub fn entity(&self, entity: &str) -> Option<&Active> {
        self.entities.get(entity)
    }

    /// Rows that may hold an id with this hash, of those in memory.
    pub fn positions_of_id(&self, incarnation: i64, hash: u64) -> &[i64] {
        self.ids
            .get(&(incarnation, hash))
            .map_or(&[], Vec::as_slice)
    }

    /// Notes an entity that was looked up on disk.
    pub fn remember(&mut self, entity: &str, info: EntityInfo) {
        if self.clean >= MAX_CLEAN {
            self.entities.retain(|_, active| active.dirty);
            self.clean = 0;
        }
        if let Entry::Vacant(place) = self.entities.entry(entity.to_owned()) {
            place.insert(Active {
                info,
                marks: Vec::new(),
                dirty: false,
            });
            self.clean += 1;
        }
    }

    /// Notes a committed row.
    ///
    /// # Panics
    ///
    /// When the row does not follow on what is known of its entity. Whoever waits gets `interrupted`
    /// then, and the shard is opened again, with what the file says.
    pub fn apply(&mut self, change: Change) {
        self.rows += 1;
        self.bytes += change.bytes;
        let incarnation = change.info.incarnation;
        for hash in change.ids {
            let positions = self.ids.entry((incarnation, hash)).or_default();
            positions.push(change.info.head);
        }
        if let Some(open) = change.open {
            self.changes.apply(incarnation, change.first_seq == 1, open);
        }
        let mark = change
            .info
            .is_marked()
            .then_some((change.first_seq, change.info.head));
        match self.entities.get_mut(&change.entity) {
            Some(active) => {
                let (before, after) = (&active.info, &change.info);
                let follows = after.incarnation == before.incarnation
                    && after.head > before.head
                    && after.rows == before.rows + 1
                    && change.first_seq == before.seq + 1
                    && after.seq >= change.first_seq;
                assert!(follows, "{after:?} does not follow on {before:?}");
                active.info = change.info;
                self.clean -= usize::from(!active.dirty);
                active.dirty = true;
                active.marks.extend(mark);
            }
            None => {
                // Either this is the entity's first row, or those before it were written behind.
                let is_first = change.info.rows == 1;
                let begins = is_first == (change.first_seq == 1);
                assert!(begins, "{:?} begins at {}", change.info, change.first_seq);
                let active = Active {
                    info: change.info,
                    marks: mark.into_iter().collect(),
                    dirty: true,
                };
                self.entities.insert(change.entity, active);
            }
        }
    }

    /// Forgets an entity that was erased.
    pub fn forget(&mut self, entity: &str, incarnation: i64) {
        if let Some(active) = self.entities.remove(entity) {
            self.clean -= usize::from(!active.dirty);
        }
        self.ids.retain(|(of, _), _| *of != incarnation);
    }

    /// Entities that differ from what was written behind.
    pub fn dirty(&self) -> impl Iterator<Item = (&String, &Active)> {
        self.entities.iter().filter(|(_, active)| active.dirty)
    }

    /// Ids not yet written: incarnation, hash, position.
    pub fn ids(&self) -> impl Iterator<Item = (i64, u64, i64)> {
        let each = |(&(incarnation, hash), positions): (&(i64, u64), &Vec<i64>)| {
            let positions = positions.clone();
            positions
                .into_iter()
                .map(move |position| (incarnation, hash, position))
        };
        self.ids.iter().flat_map(each)
    }

    /// Which entities were opened or closed since the last flush.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Everything was written behind.
    pub fn flushed(&mut self) {
        self.rows = 0;
        self.bytes = 0;
        self.ids.clear();
        self.changes.clear();
        if self.entities.len() > MAX_CLEAN {
            self.entities.clear();
        }
        self.clean = self.entities.len();
        for active in self.entities.values_mut() {
            active.dirty = false;
            active.marks.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(head: i64) -> EntityInfo {
        EntityInfo::advance(None, head, 1)
    }

    /// A row of an entity, as `entities` makes it of the one before.
    fn row(before: Option<&EntityInfo>, head: i64, count: u64) -> Change {
        Change {
            entity: "e".into(),
            info: EntityInfo::advance(before, head, count),
            first_seq: before.map_or(0, |info| info.seq) + 1,
            bytes: 1,
            ids: Vec::new(),
            open: None,
        }
    }

    #[test]
    fn rows_that_follow_on_each_other_are_taken() {
        let mut tail = Tail::default();
        tail.apply(row(None, 1, 3));
        let first = tail.entity("e").expect("known").info.clone();
        tail.apply(row(Some(&first), 9, 2));
        assert_eq!(tail.entity("e").map(|active| active.info.seq), Some(5));
        // One that was written behind before.
        let mut emptied = Tail::default();
        emptied.apply(row(Some(&first), 9, 2));
    }

    #[test]
    #[should_panic(expected = "does not follow on")]
    fn a_row_that_leaves_a_gap_is_a_panic() {
        let mut tail = Tail::default();
        tail.apply(row(None, 1, 3));
        let mut other = EntityInfo::advance(None, 1, 3);
        other.seq = 4;
        tail.apply(row(Some(&other), 2, 1));
    }

    #[test]
    #[should_panic(expected = "does not follow on")]
    fn a_row_of_another_life_is_a_panic() {
        let mut tail = Tail::default();
        tail.apply(row(None, 1, 3));
        tail.apply(row(None, 2, 1));
    }

    #[test]
    #[should_panic(expected = "behind one at")]
    fn a_position_that_was_given_before_is_a_panic() {
        let first = EntityInfo::advance(None, 5, 1);
        let _ = EntityInfo::advance(Some(&first), 5, 1);
    }

    #[test]
    fn entities_that_were_only_looked_up_are_not_kept_without_a_bound() {
        let mut tail = Tail::default();
        let change = |entity: &str, head: i64| Change {
            entity: entity.into(),
            info: info(head),
            first_seq: 1,
            bytes: 1,
            ids: Vec::new(),
            open: None,
        };
        tail.apply(change("dirty", 1));
        for round in 0..3 {
            for n in 0..100_000 {
                tail.remember(&format!("entity-{n}"), info(n + 2));
                assert!(tail.entities.len() <= MAX_CLEAN + 2);
                if n % 10_000 == 0 {
                    let next = EntityInfo::advance(Some(&info(n + 2)), 1_000_000 + n, 1);
                    tail.apply(Change {
                        info: next,
                        first_seq: 2,
                        ..change(&format!("entity-{n}"), 1)
                    });
                    tail.forget(&format!("entity-{n}"), n + 2);
                }
            }
            assert!(tail.entity("dirty").is_some_and(|active| active.dirty));
            assert!(tail.entity("entity-99999").is_some());
            let clean = tail.entities.values().filter(|active| !active.dirty);
            assert_eq!(tail.clean, clean.count(), "round {round}");
        }
        tail.flushed();
        assert_eq!(tail.clean, tail.entities.len());
    }
}
