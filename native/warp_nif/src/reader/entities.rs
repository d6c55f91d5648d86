//! Listing a shard's entities.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::error::Result;
use crate::event::RESERVED;
use crate::hash::hash64;
use crate::index::aggregates::{self, Names, Set};
use crate::index::{chain, entities};
use crate::log::rows;
use crate::reader::page::PIECE_ROWS;
use crate::reader::view::{Reader, applied};
use crate::tail::found_row::Events;
use crate::tail::memory::Young;

/// Where a list stands: the hash of an entity's id, and its incarnation. No entity stands at the least one.
pub type Place = (i64, i64);

/// Some of a shard's entities, in the order of their places.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Their ids, with the seqs of their last events.
    pub found: Vec<(String, u64)>,
    /// From where to go on; none when all were looked at.
    pub next: Option<Place>,
}

/// Which entities are listed.
pub struct Wanted<'w> {
    /// What their ids begin with.
    pub prefix: &'w str,
    /// Of one of which aggregates they have events; none: of any.
    pub aggregates: Option<&'w [String]>,
}

/// The bits of the aggregates that are looked for: all, and those that stand for one aggregate alone.
struct Sought {
    any: Set,
    own: Set,
}

impl Sought {
    fn of(numbers: impl Iterator<Item = i64>) -> Self {
        let mut sought = Self { any: 0, own: 0 };
        for number in numbers {
            sought.any |= aggregates::bit(number);
            if !aggregates::is_shared(number) {
                sought.own |= aggregates::bit(number);
            }
        }
        sought
    }
}

impl Reader<'_> {
    /// The entities behind a place, Warp's own left out: so many at most, and no more than one piece of a long read
    /// looks at. Each that was there during the whole list is listed once; of one that came or went meanwhile
    /// nothing is promised.
    pub fn entities(&self, after: Place, wanted: &Wanted<'_>, limit: usize) -> Result<Listed> {
        // NOTE: memory first. What is not in memory any more is in a view of the file that begins later.
        let young = self.shared().tail().young();
        let hashes: HashSet<i64> = young.keys().map(|name| hash_of(name)).collect();
        let file = self.connection();
        let sought = match wanted.aggregates {
            None => None,
            Some(names) => {
                let known = Names::read(file)?;
                let numbers = names.iter().filter_map(|name| known.number(name));
                Some(Sought::of(numbers))
            }
        };
        let mut only_in_memory = self.only_in_memory(&young, after, wanted)?;
        let mut listed = Listed::default();
        let mut looked_at = 0;
        let mut statement = file.prepare_cached(
            "SELECT hash, incarnation, seq, head, aggregates FROM entities
             WHERE (hash, incarnation) > (?1, ?2) ORDER BY hash, incarnation",
        )?;
        let mut rows = statement.query(after)?;
        loop {
            let row = rows.next()?;
            let place: Option<Place> = match row {
                Some(row) => Some((row.get(0)?, row.get(1)?)),
                None => None,
            };
            while let Some(entry) = only_in_memory.first_entry()
                && place.is_none_or(|place| *entry.key() < place)
            {
                if listed.found.len() == limit {
                    return Ok(listed);
                }
                let (place, found) = entry.remove_entry();
                listed.found.push(found);
                listed.next = Some(place);
            }
            let (Some(row), Some(place)) = (row, place) else {
                listed.next = None;
                return Ok(listed);
            };
            if listed.found.len() == limit || looked_at == PIECE_ROWS {
                return Ok(listed);
            }
            looked_at += 1;
            let (seq, head, set): (i64, i64, Set) = (row.get(2)?, row.get(3)?, row.get(4)?);
            let may_have = match &sought {
                None => true,
                // One of them may have got its first event of it just now.
                Some(sought) => hashes.contains(&place.0) || set & sought.any != 0,
            };
            if may_have {
                let of_file = (place.1, seq.cast_unsigned(), head, set);
                let found = self.in_file(of_file, sought.as_ref(), &young, wanted)?;
                listed.found.extend(found);
            }
            listed.next = Some(place);
        }
    }

    /// The aggregates that the file has events of, without these and Warp's own, each with how many entities have such
    /// events.
    pub fn other_aggregates(&self, known: &[String]) -> Result<Vec<(String, u64)>> {
        let file = self.connection();
        let mut others = Names::read(file)?.others(file, known)?;
        others.retain(|(name, _)| !name.starts_with(RESERVED));
        Ok(others)
    }

    /// Those whose first event is not in the view of the file.
    fn only_in_memory(
        &self,
        young: &HashMap<Arc<str>, Young>,
        after: Place,
        wanted: &Wanted<'_>,
    ) -> Result<BTreeMap<Place, (String, u64)>> {
        let applied = applied(self.connection())?;
        let mut found = BTreeMap::new();
        for (name, young) in young {
            let Some(info) = &young.info else {
                continue;
            };
            let place = (hash_of(name), info.incarnation);
            if info.incarnation > applied
                && place > after
                && is_wanted(name, wanted)
                && young.has(wanted.aggregates)
            {
                found.insert(place, (name.to_string(), info.seq));
            }
        }
        Ok(found)
    }

    /// One that the file has, if it is wanted and was not erased meanwhile.
    fn in_file(
        &self,
        (incarnation, seq, head, set): (i64, u64, i64, Set),
        sought: Option<&Sought>,
        young: &HashMap<Arc<str>, Young>,
        wanted: &Wanted<'_>,
    ) -> Result<Option<(String, u64)>> {
        let Some(name) = entities::name_at(self.connection(), head)? else {
            return Err(rows::broken(
                head,
                "missing, and still the last of an entity",
            ));
        };
        if !is_wanted(&name, wanted) {
            return Ok(None);
        }
        let newer = young.get(name.as_str());
        let seq = match newer.map(|young| &young.info) {
            Some(Some(info)) if info.incarnation == incarnation => info.seq,
            Some(_) => return Ok(None),
            None => seq,
        };
        let has = match sought {
            None => true,
            Some(_) if newer.is_some_and(|young| young.has(wanted.aggregates)) => true,
            Some(sought) if set & sought.own != 0 => true,
            Some(sought) if set & sought.any != 0 => {
                self.has_rows_of(&name, head, wanted.aggregates)?
            }
            Some(_) => false,
        };
        Ok(has.then_some((name, seq)))
    }

    /// Whether one of an entity's rows up to this one has an event of one of the aggregates.
    fn has_rows_of(&self, name: &str, head: i64, aggregates: Option<&[String]>) -> Result<bool> {
        let is_one = |name: &str| aggregates.is_some_and(|all| all.iter().any(|one| one == name));
        let mut has = Ok(false);
        chain::walk_back(self, name, chain::link(self, name, head)?, |row| {
            has = Events::of(&row.borrow()).map(|events| events.aggregates(&row).any(is_one));
            match has {
                Ok(false) => ControlFlow::Continue(()),
                Ok(true) | Err(_) => ControlFlow::Break(()),
            }
        })?;
        has
    }
}

fn hash_of(name: &str) -> i64 {
    hash64(name.as_bytes()).cast_signed()
}

fn is_wanted(name: &str, wanted: &Wanted<'_>) -> bool {
    name.starts_with(wanted.prefix) && !name.starts_with(RESERVED)
}
