//! How much may wait for the thread that applies.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How many bytes of events of all shards may wait to be applied.
const MAX_UNAPPLIED: usize = 256 * 1024 * 1024;
/// The same of the shards that the thread that applies gets on with, so that one that is held takes no
/// room of others. Packed appends, which hold these bytes, may have 256 MiB in the VM.
const MAX_MOVING: usize = 96 * 1024 * 1024;

/// Counts bytes of events that are in the journal and not yet in the shards' files.
#[derive(Default)]
pub struct Room {
    unapplied: AtomicUsize,
    /// Those of shards that cannot be applied at present.
    held: AtomicUsize,
}

/// What there is room for.
#[derive(Debug, PartialEq, Eq)]
pub enum Left {
    /// More events.
    Some,
    /// More events soon: what waits is being applied.
    Soon,
    /// Nothing, as long as shards are held.
    None,
}

impl Room {
    /// So many bytes were added.
    pub fn add(&self, bytes: usize) {
        self.unapplied.fetch_add(bytes, Relaxed);
    }

    /// So many bytes are in a shard's file now.
    pub fn applied(&self, bytes: usize) {
        let fewer = |unapplied: usize| Some(unapplied.saturating_sub(bytes));
        let _ = self.unapplied.fetch_update(Relaxed, Relaxed, fewer);
    }

    /// Counted anew: so many bytes are left, and so many of them in shards that are held. What is added while
    /// they are counted may be missed until they are counted again.
    pub fn counted(&self, unapplied: usize, held: usize) {
        self.unapplied.store(unapplied, Relaxed);
        self.held.store(held, Relaxed);
    }

    /// What there is room for.
    pub fn left(&self) -> Left {
        let unapplied = self.unapplied.load(Relaxed);
        if unapplied > MAX_UNAPPLIED {
            Left::None
        } else if unapplied.saturating_sub(self.held.load(Relaxed)) > MAX_MOVING {
            Left::Soon
        } else {
            Left::Some
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn what_is_held_takes_no_room_of_what_moves() {
        let room = Room::default();
        room.add(96 * MIB);
        assert_eq!(room.left(), Left::Some);
        room.add(1);
        assert_eq!(room.left(), Left::Soon);
        room.counted(160 * MIB, 64 * MIB);
        assert_eq!(room.left(), Left::Some);
        room.add(MIB);
        assert_eq!(room.left(), Left::Soon);
        room.applied(2 * MIB);
        assert_eq!(room.left(), Left::Some);
    }

    #[test]
    fn all_together_have_a_limit() {
        let room = Room::default();
        room.counted(256 * MIB, 256 * MIB);
        assert_eq!(room.left(), Left::Some);
        room.add(1);
        assert_eq!(room.left(), Left::None);
        // More than was counted.
        room.applied(usize::MAX);
        assert_eq!(room.left(), Left::Some);
    }
}
