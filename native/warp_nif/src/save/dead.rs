//! Which keys of lives the open shards have no more.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use rustler::ResourceArc;

use crate::backup::key::Found;
use crate::backup::pages::Lived;
use crate::engine::Shard;
use crate::error::Result;
use crate::log::edits::{self, What};
use crate::log::keys;

/// What the shards of a context say of keys. It remembers what it was asked.
pub struct Dead {
    shards: BTreeMap<u16, ResourceArc<Shard>>,
    /// What each life has left, by shard and incarnation; `None` for one that the shard has no keys of.
    known: BTreeMap<(u16, i64), Option<Lived>>,
    /// The lives that a shard's edits name as erased. Read when a life has no keys: compacting the file deletes them.
    erased: BTreeMap<u16, BTreeSet<i64>>,
}

impl Dead {
    /// Of these shards, by number.
    pub fn new(shards: BTreeMap<u16, ResourceArc<Shard>>) -> Self {
        Self {
            shards,
            known: BTreeMap::new(),
            erased: BTreeMap::new(),
        }
    }

    /// Whether the key of a part of a life was erased for certain. What a shard does not know of, or a shard that is not
    /// among these, is not: whoever has forgotten a key must not remove what it opens. Errors: `Closed`, those of the
    /// file.
    pub fn is_dead(&mut self, shard: u16, incarnation: i64, part: u16) -> Result<bool> {
        let Some(handle) = self.shards.get(&shard) else {
            return Ok(false);
        };
        let known = match self.known.entry((shard, incarnation)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(lived(handle, incarnation)?),
        };
        if let Some(lived) = known {
            return Ok(matches!(lived.key(part), Found::Erased));
        }
        let erased = match self.erased.entry(shard) {
            Entry::Occupied(erased) => erased.into_mut(),
            Entry::Vacant(place) => place.insert(erased(handle)?),
        };
        Ok(erased.contains(&incarnation))
    }
}

fn lived(shard: &Shard, incarnation: i64) -> Result<Option<Lived>> {
    shard.read(|reader| {
        let connection = reader.connection();
        let mut found = None;
        if keys::made(connection)?.is_some() {
            let range = (incarnation - 1, incarnation);
            keys::between(connection, range, |position, keys| {
                found = Lived::of(position, [0; 8], keys?);
                Ok(())
            })?;
        }
        Ok(found)
    })
}

fn erased(shard: &Shard) -> Result<BTreeSet<i64>> {
    shard.read(|reader| {
        let connection = reader.connection();
        let mut erased = BTreeSet::new();
        if keys::made(connection)?.is_some() {
            edits::between(connection, (0, i64::MAX), |edit| {
                if edit.what == What::Erased {
                    erased.insert(edit.of);
                }
                Ok(())
            })?;
        }
        Ok(erased)
    })
}
