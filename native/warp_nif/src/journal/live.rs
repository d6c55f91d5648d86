//! Which records of each shard a segment has, and where they stand in it.

use std::collections::HashMap;
use std::sync::Arc;

use super::segment::Segment;

/// The records of a shard in a segment: their positions have no gap.
pub struct Part {
    first: i64,
    places: Vec<u32>,
}

impl Part {
    /// The position of the first one.
    pub fn first(&self) -> i64 {
        self.first
    }

    /// The position of the last one.
    pub fn last(&self) -> i64 {
        self.first + self.places.len() as i64 - 1
    }

    /// Adds the next one.
    pub fn push(&mut self, place: u32) {
        self.places.push(place);
    }

    /// Where the one of a position stands, if it is here.
    pub fn place(&self, position: i64) -> Option<u32> {
        let index = usize::try_from(position.checked_sub(self.first)?).ok()?;
        self.places.get(index).copied()
    }

    /// Where they stand, in the order of their positions.
    pub fn places(&self) -> &[u32] {
        &self.places
    }
}

/// A segment that is needed still.
pub struct Live {
    /// Its file.
    pub segment: Arc<Segment>,
    parts: HashMap<u16, Part>,
}

impl Live {
    /// One without records.
    pub fn new(segment: Segment) -> Self {
        Self {
            segment: Arc::new(segment),
            parts: HashMap::new(),
        }
    }

    /// The records of each shard.
    pub fn parts(&self) -> impl Iterator<Item = (u16, &Part)> {
        self.parts.iter().map(|(shard, part)| (*shard, part))
    }

    /// Those of one shard.
    pub fn part(&self, shard: u16) -> Option<&Part> {
        self.parts.get(&shard)
    }

    /// Likewise; where there are none, they begin with this position.
    pub fn part_from(&mut self, shard: u16, first: i64) -> &mut Part {
        let places = Vec::new();
        self.parts.entry(shard).or_insert(Part { first, places })
    }

    /// Drops those of one shard, which nobody needs any more.
    pub fn forget(&mut self, shard: u16) {
        self.parts.remove(&shard);
    }

    /// The shards that need it: their files do not have all of their records, up to where they are
    /// durable.
    pub fn needed_by(&self, durable: impl Fn(u16) -> i64) -> impl Iterator<Item = u16> {
        self.parts()
            .filter(move |(shard, part)| durable(*shard) < part.last())
            .map(|(shard, _)| shard)
    }
}
