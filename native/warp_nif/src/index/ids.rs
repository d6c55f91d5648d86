//! Event ids that an entity may have already.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use crate::error::{Error, Result};
use crate::event::{GivenId, Packed, StoredEvent, derived_id, parse_row, same_content};
use crate::hash::distinct;
use crate::index::chain;
use crate::index::entities::{EntityInfo, Mark};
use crate::log::rows::{Log, Row};

/// Why an append was not taken.
#[derive(Debug)]
pub enum Stop {
    /// These of its events (by index) are in the log already, at these seqs.
    Duplicates(Vec<(usize, u64)>),
    /// An id of it belongs to another event, at this seq.
    Conflict(u64),
    /// This id has the form of a derived one, but is not that of the event it was given to.
    Reserved(String),
    /// Its ticket is void: another append with that ticket was not stored.
    Void,
}

/// The log that ids are looked up in.
pub struct Lookup<'a, L, F> {
    /// Its rows.
    pub log: &'a L,
    /// Whose ids are looked up: each entity has its own.
    pub entity: &'a str,
    /// Where its log ends.
    pub info: &'a EntityInfo,
    /// Marks that may not be in the file yet.
    pub marks: &'a [Mark],
    /// Positions of rows that may hold an id with this hash.
    pub positions: F,
}

/// The seq that an id stands at, and whether that event says the same as the one to be appended.
type Found = (u64, bool);

impl<L: Log, F: Fn(u64) -> Result<Vec<i64>>> Lookup<'_, L, F> {
    /// What keeps `packed` from being appended: ids in use, or reserved ones.
    pub fn check(&self, packed: &Packed) -> Result<Option<Stop>> {
        if packed.ids.is_empty() {
            return Ok(None);
        }
        let candidates = self.candidates(packed)?;
        let is_derived = |(_, id): &(usize, GivenId)| matches!(id, GivenId::Derived(_));
        if candidates.is_empty() && !packed.ids.iter().any(is_derived) {
            return Ok(None);
        }
        let given = parse_row(&packed.data)?;
        let mut found: BTreeMap<usize, Found> = BTreeMap::new();
        // A batch that is appended again has all its ids in one row: each row is read once.
        for (position, indexes) in candidates {
            let row = chain::link(self.log, self.entity, position)?;
            self.look_into(&row, &indexes, &given, packed, &mut found)?;
        }
        if let Some((seq, _)) = found.values().find(|(_, same)| !same) {
            return Ok(Some(Stop::Conflict(*seq)));
        }
        if !found.is_empty() {
            let duplicates = found.into_iter().map(|(index, (seq, _))| (index, seq));
            return Ok(Some(Stop::Duplicates(duplicates.collect())));
        }
        let reserved = packed.ids.iter().find(|(index, id)| match id {
            GivenId::Derived(seq) => *seq != self.info.seq + 1 + *index as u64,
            GivenId::Hash(_) => false,
        });
        let id = reserved.and_then(|(index, _)| given.get(*index)?.id.as_deref());
        Ok(id.map(|id| Stop::Reserved(id.to_owned())))
    }

    /// The rows that may hold ids of `packed`, with the indexes of the events that have them.
    fn candidates(&self, packed: &Packed) -> Result<BTreeMap<i64, Vec<usize>>> {
        let mut candidates: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        let mut last: Option<Row> = None;
        for (index, id) in &packed.ids {
            match *id {
                GivenId::Hash(hash) => {
                    for position in (self.positions)(hash)? {
                        candidates.entry(position).or_default().push(*index);
                    }
                }
                GivenId::Derived(seq) if seq <= self.info.seq => {
                    if last
                        .as_ref()
                        .is_none_or(|row| !(row.seq..=row.last_seq()).contains(&seq))
                    {
                        let (log, marks) = (self.log, self.marks);
                        last = chain::row_of(log, self.entity, self.info, marks, seq)?;
                    }
                    if let Some(row) = &last {
                        candidates.entry(row.position).or_default().push(*index);
                    }
                }
                GivenId::Derived(_) => {}
            }
        }
        Ok(candidates)
    }

    fn look_into(
        &self,
        row: &Row,
        indexes: &[usize],
        given: &[StoredEvent<'_>],
        packed: &Packed,
        found: &mut BTreeMap<usize, Found>,
    ) -> Result<()> {
        let stored = parse_row(&row.data)?;
        let by_id: HashMap<Cow<'_, str>, (u64, &StoredEvent<'_>)> = (row.seq..)
            .zip(&stored)
            .map(|(seq, event)| {
                let id = event
                    .id
                    .as_deref()
                    .map_or_else(|| Cow::Owned(derived_id(self.entity, seq)), Cow::Borrowed);
                (id, (seq, event))
            })
            .collect();
        for index in indexes {
            let event = given
                .get(*index)
                .ok_or_else(|| Error::internal("an id of no event"))?;
            let id = event.id.as_deref().unwrap_or_default();
            if let Some((seq, stored)) = by_id.get(id) {
                let same = same_content(
                    (event, &packed.aggregate),
                    (stored, &row.aggregate),
                    packed.earlier.as_deref(),
                );
                found.insert(*index, (*seq, same));
            }
        }
        Ok(())
    }
}

/// The hashes of the ids that are looked up through the index, each once.
pub fn hashes(packed: &Packed) -> Vec<u64> {
    distinct(packed.ids.iter().filter_map(|(_, id)| match id {
        GivenId::Hash(hash) => Some(*hash),
        GivenId::Derived(_) => None,
    }))
}
