//! The ids that a caller gives to the events of an append.

use std::collections::HashSet;

use super::stored::derived_seq;
use crate::hash::hash64;

/// How an event id that the caller gave is looked up.
#[derive(Clone, Copy)]
pub enum GivenId {
    /// Through the index of ids, by its hash.
    Hash(u64),
    /// It has the form of this entity's derived id with that seq.
    Derived(u64),
}

/// Those of one append.
#[derive(Default)]
pub struct Ids<'a> {
    /// Index of the event and its id, for each id given.
    pub given: Vec<(usize, GivenId)>,
    seen: Seen<'a>,
}

/// Most appends have no ids, and of the others most have one.
#[derive(Default)]
enum Seen<'a> {
    #[default]
    None,
    One(&'a [u8]),
    Many(HashSet<&'a [u8]>),
}

impl<'a> Ids<'a> {
    /// Adds the id of the event at this index of an append to `entity`. False when another event
    /// of the append has it.
    pub fn add(&mut self, entity: &str, index: usize, id: &'a [u8]) -> bool {
        let is_new = self.is_new(id);
        if is_new {
            let text = std::str::from_utf8(id).ok();
            let derived = text.and_then(|text| derived_seq(entity, text));
            let given = derived.map_or_else(|| GivenId::Hash(hash64(id)), GivenId::Derived);
            self.given.push((index, given));
        }
        is_new
    }

    fn is_new(&mut self, id: &'a [u8]) -> bool {
        match &mut self.seen {
            Seen::None => {
                self.seen = Seen::One(id);
                true
            }
            Seen::One(first) => {
                let first = *first;
                self.seen = Seen::Many(HashSet::from([first, id]));
                first != id
            }
            Seen::Many(all) => all.insert(id),
        }
    }
}
