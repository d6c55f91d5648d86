//! What one commit adds to all shards.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::shard::shared::Shared;
use crate::writer::staged::Staged;

/// What one commit adds to all shards, in the order in which they come.
#[derive(Default)]
pub struct Group {
    index: HashMap<u16, usize>,
    /// By shard.
    pub staged: Vec<Staged>,
}

impl Group {
    /// Lets all views of files go.
    pub fn end_views(&self) {
        for staged in &self.staged {
            staged.end_view();
        }
    }

    /// What is staged of a shard.
    pub fn of(&mut self, shared: &Arc<Shared>) -> Option<&mut Staged> {
        let index = match self.index.entry(shared.number) {
            Entry::Occupied(found) => *found.get(),
            Entry::Vacant(place) => {
                self.staged.push(Staged::new(Arc::clone(shared)));
                *place.insert(self.staged.len() - 1)
            }
        };
        self.staged.get_mut(index)
    }
}
