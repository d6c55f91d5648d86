//! Shards that go to another node and come back: what the journal knows of them, and what its segments say.

use std::sync::Arc;

use super::segments::Segments;
use crate::error::{Error, Result};
use crate::sync::relock;

impl Segments {
    /// The last position of a shard that the journal knows of.
    pub fn known(&self, shard: u16) -> Option<i64> {
        self.needed().known.get(&shard).copied()
    }

    /// Forgets a shard that is not here: it needs no segment any more, and no label names it from now on.
    pub fn forget(&self, shard: u16) {
        let needed = &mut *self.needed();
        for live in &mut needed.live {
            live.forget(shard);
        }
        needed.known.remove(&shard);
    }

    /// Erases what the records of a shard say that was given away, durably, and forgets it. Nothing of it is left in
    /// the segments, nor in those that were given back: neither in records that recovery has found or
    /// [`forget`](Self::forget) has let go, nor in what a commit left that does not count.
    ///
    /// NOTE: it reads the segments whole, and keeps others from giving them back meanwhile, but not from writing.
    pub fn leave(&self, shard: u16) -> Result<()> {
        let held = relock(&self.recycling);
        let segments: Vec<_> = {
            let needed = self.needed();
            let live = needed.live.iter();
            live.map(|live| Arc::clone(&live.segment)).collect()
        };
        for segment in segments {
            segment.blank_all_of(shard)?;
        }
        self.forget(shard);
        let overwritten = self.spare.overwrite_all();
        drop(held);
        overwritten
    }

    /// Has the next segment ready, so that who begins one need not wait for the disk. Whoever needs it meets the
    /// error, if there is one.
    pub fn prepare_now(&self) {
        self.spare.prepare_now();
    }

    /// What the label of the segment says that is begun for a shard that comes with this position.
    ///
    /// Error: `Corrupt` when the journal knows of a later one.
    pub fn positions_with(&self, shard: u16, position: i64) -> Result<Vec<(u32, i64)>> {
        if let Some(known) = self.known(shard).filter(|known| *known > position) {
            return Err(Error::corrupt(format!(
                "shard {shard} comes with position {position}, and was here before with position {known}: it is \
                 older than what was given away"
            )));
        }
        let mut positions = self.positions();
        positions.retain(|(other, _)| *other != u32::from(shard));
        positions.push((u32::from(shard), position));
        positions.sort_unstable();
        Ok(positions)
    }
}
