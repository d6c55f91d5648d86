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
///
/// NOTE: only of what was erased up to the position that the key pages of the backup have. Of a life that was erased
/// later they have the key still, and other segments have rows: a restore would find these without those left out.
pub struct Dead {
    /// The open shards, and up to where the key pages are complete.
    shards: BTreeMap<u16, (ResourceArc<Shard>, i64)>,
    /// What is left of each life, by shard and incarnation.
    known: BTreeMap<(u16, i64), Left>,
    /// The lives that a shard's edits name as erased. Read when a life has no keys: compacting the file deletes them.
    erased: BTreeMap<u16, BTreeSet<i64>>,
}

enum Left {
    /// These keys.
    Keys(Lived),
    /// The keys that the key pages have: some were erased since.
    Stored,
    /// The shard has no keys of it.
    Nothing,
}

impl Dead {
    /// Of these shards, by number, with the positions up to which the key pages are complete.
    pub fn new(shards: BTreeMap<u16, (ResourceArc<Shard>, i64)>) -> Self {
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
        let Some((handle, covered)) = self.shards.get(&shard) else {
            return Ok(false);
        };
        let known = match self.known.entry((shard, incarnation)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(left(handle, incarnation, *covered)?),
        };
        match known {
            Left::Keys(lived) => Ok(matches!(lived.key(part), Found::Erased)),
            Left::Stored => Ok(false),
            Left::Nothing => {
                let erased = match self.erased.entry(shard) {
                    Entry::Occupied(erased) => erased.into_mut(),
                    Entry::Vacant(place) => place.insert(erased(handle, *covered)?),
                };
                Ok(erased.contains(&incarnation))
            }
        }
    }
}

fn left(shard: &Shard, incarnation: i64, covered: i64) -> Result<Left> {
    shard.read(|reader| {
        let connection = reader.connection();
        let mut left = Left::Nothing;
        if keys::made(connection)?.is_some() {
            let range = (incarnation - 1, incarnation);
            keys::between(connection, range, |position, keys| {
                let lived = Lived::of(position, [0; 8], keys?);
                left = lived.map_or(Left::Nothing, Left::Keys);
                Ok(())
            })?;
            // In the same view of the file: keys are erased together with their edits.
            edits::between(connection, (covered, i64::MAX), |edit| {
                if edit.of == incarnation {
                    left = Left::Stored;
                }
                Ok(())
            })?;
        }
        Ok(left)
    })
}

fn erased(shard: &Shard, covered: i64) -> Result<BTreeSet<i64>> {
    shard.read(|reader| {
        let connection = reader.connection();
        let mut erased = BTreeSet::new();
        if keys::made(connection)?.is_some() {
            edits::between(connection, (0, covered), |edit| {
                if edit.what == What::Erased {
                    erased.insert(edit.of);
                }
                Ok(())
            })?;
        }
        Ok(erased)
    })
}
