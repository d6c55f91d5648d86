//! Which entities are open, by a rule that whoever opens the shard gives.
//!
//! An entity of a kind is open from its first row on until its first row of the aggregate that
//! closes the kind. The shard keeps a list of those that are open, so that after a crash their owner
//! finds them without reading the whole log.

use std::collections::{BTreeSet, HashMap};

use super::apart::Apart;
use crate::error::{Error, Result};

/// A kind of entities.
#[derive(Clone)]
pub struct Kind {
    /// What their ids begin with.
    pub prefix: String,
    /// The aggregate of the row that closes one.
    pub closing: String,
    /// Which of their payloads have keys of their own.
    pub apart: Apart,
}

/// The kinds of a shard.
#[derive(Clone, Default)]
pub struct Kinds(Vec<Kind>);

impl Kinds {
    /// Error: `Internal` when an entity could be of two of them, or when every entity is of one.
    pub fn new(kinds: Vec<Kind>) -> Result<Self> {
        for (index, kind) in kinds.iter().enumerate() {
            let overlaps = |other: &Kind| kind.prefix.starts_with(&other.prefix);
            let others = kinds.iter().enumerate().filter(|(at, _)| *at != index);
            if kind.prefix.is_empty() || others.into_iter().any(|(_, other)| overlaps(other)) {
                let what = format!("the kinds of a shard overlap at {:?}", kind.prefix);
                return Err(Error::internal(what));
            }
        }
        Ok(Self(kinds))
    }

    /// Each of them.
    pub fn all(&self) -> &[Kind] {
        &self.0
    }

    /// Whether a row leaves its entity open; `None` when the entity is of no kind.
    pub fn leaves_open(&self, entity: &str, aggregate: &str) -> Option<bool> {
        Some(aggregate != self.of(entity)?.closing)
    }

    /// The kind of an entity, if it is of one.
    pub fn of(&self, entity: &str) -> Option<&Kind> {
        let mut kinds = self.0.iter();
        kinds.find(|kind| entity.starts_with(&kind.prefix))
    }

    /// Error: `Internal` when the shard keeps no list of the kind with this prefix.
    pub fn check(&self, prefix: &str) -> Result<()> {
        if self.0.iter().any(|kind| kind.prefix == prefix) {
            return Ok(());
        }
        let what = format!("the shard was opened without the kind {prefix:?}");
        Err(Error::internal(what))
    }
}

/// What was not yet written behind of one entity that is of a kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was begun since, and is open.
    Begun,
    /// It was begun before, and is open.
    Open,
    /// It was begun before, and was closed.
    Closed,
}

/// Changes of entities, by incarnation.
#[derive(Default)]
pub struct Changes {
    open: HashMap<i64, Change>,
    /// Those that were closed by a row behind their first.
    closed: BTreeSet<i64>,
}

impl Changes {
    /// Notes a row of an entity that is of a kind.
    pub fn apply(&mut self, incarnation: i64, is_first: bool, open: bool) {
        if !open && !is_first {
            self.closed.insert(incarnation);
        }
        match (open, self.open.get(&incarnation)) {
            (true, None) if is_first => {
                self.open.insert(incarnation, Change::Begun);
            }
            (true, None) => {
                self.open.insert(incarnation, Change::Open);
            }
            (true, Some(_)) => {}
            // The table has no row of this entity, so there is nothing to delete.
            (false, Some(Change::Begun)) => {
                self.open.remove(&incarnation);
            }
            (false, None) if is_first => {}
            (false, _) => {
                self.open.insert(incarnation, Change::Closed);
            }
        }
    }

    /// Notes that an entity was erased.
    pub fn erase(&mut self, incarnation: i64) {
        self.closed.remove(&incarnation);
        match self.open.get(&incarnation) {
            Some(Change::Begun) => drop(self.open.remove(&incarnation)),
            Some(Change::Open) => drop(self.open.insert(incarnation, Change::Closed)),
            Some(Change::Closed) | None => {}
        }
    }

    /// Those that were closed, and have more than the row that closed them.
    pub fn closed(&self) -> &BTreeSet<i64> {
        &self.closed
    }

    /// A copy in the order of incarnations, of those that are open or were.
    pub fn sorted(&self) -> Vec<(i64, Change)> {
        let mut changes: Vec<_> = self
            .open
            .iter()
            .map(|(at, change)| (*at, *change))
            .collect();
        changes.sort_unstable_by_key(|(at, _)| *at);
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(prefixes: &[&str]) -> Result<Kinds> {
        let each = prefixes.iter().map(|prefix| Kind {
            prefix: (*prefix).into(),
            closing: format!("{prefix}end"),
            apart: Apart::default(),
        });
        Kinds::new(each.collect())
    }

    #[test]
    fn a_row_closes_only_an_entity_of_its_kind() {
        let kinds = kinds(&["a/", "b/"]).expect("kinds");
        assert_eq!(kinds.leaves_open("a/1", "x"), Some(true));
        assert_eq!(kinds.leaves_open("a/1", "a/end"), Some(false));
        assert_eq!(kinds.leaves_open("a/1", "b/end"), Some(true));
        assert_eq!(kinds.leaves_open("b/1", "b/end"), Some(false));
        assert_eq!(kinds.leaves_open("c/1", "a/end"), None);
        assert!(kinds.check("b/").is_ok());
        assert!(matches!(kinds.check("b"), Err(Error::Internal(_))));
    }

    #[test]
    fn kinds_that_overlap_are_refused() {
        for bad in [&["a/", "a/b/"], &["a/b/", "a/"], &["a/", "a/"], &["", "a/"]] {
            assert!(matches!(kinds(bad), Err(Error::Internal(_))));
        }
        assert!(kinds(&[]).is_ok_and(|none| none.leaves_open("a/1", "x").is_none()));
    }

    #[test]
    fn what_was_begun_and_closed_since_is_never_written_behind() {
        let mut changes = Changes::default();
        changes.apply(1, true, true);
        changes.apply(2, true, true);
        changes.apply(1, false, false);
        changes.apply(9, false, true);
        changes.apply(8, false, false);
        let open: Vec<_> = changes.sorted().into_iter().map(|(at, _)| at).collect();
        assert_eq!(open, [2, 8, 9]);
        assert!(matches!(changes.sorted()[1], (8, Change::Closed)));
        assert_eq!(changes.closed().iter().collect::<Vec<_>>(), [&1, &8]);
        for incarnation in [1, 2, 8, 9] {
            changes.erase(incarnation);
        }
        assert!(changes.closed().is_empty());
        let left = changes.sorted();
        assert!(matches!(
            left[..],
            [(8, Change::Closed), (9, Change::Closed)]
        ));
    }
}
