//! Erasing from the segments what records of erased entities and cleared payloads say.

use std::sync::Arc;

use super::live::Part;
use super::segments::Segments;
use crate::error::Result;

impl Segments {
    /// Erases what the records of a shard at these positions say, in all segments, durably, and all of
    /// those that were given back.
    ///
    /// NOTE: only positions that the shard has in its own file, synced: recovery cannot read these
    /// records any more.
    pub fn blank(&self, shard: u16, positions: &[i64]) -> Result<()> {
        let mut found = Vec::new();
        for live in &self.needed().live {
            if let Some(part) = live.part(shard) {
                let places = positions.iter().filter_map(|at| part.place(*at));
                found.push((Arc::clone(&live.segment), places.collect::<Vec<_>>()));
            }
        }
        for (segment, places) in found.iter().filter(|(_, places)| !places.is_empty()) {
            segment.blank(places)?;
        }
        self.spare.overwrite_all()
    }

    /// The last position of a shard that a segment of an earlier run has.
    pub fn last_of_earlier(&self, shard: u16, run: i64) -> i64 {
        let needed = self.needed();
        let earlier = needed.live.iter().filter(|live| live.segment.run != run);
        let parts = earlier.filter_map(|live| live.part(shard));
        parts.map(Part::last).max().unwrap_or(0)
    }

    /// Erases what all records of a shard say that earlier runs have written, durably: one of these may have
    /// erased an entity in the shard's file, and ended before it blanked its records here.
    ///
    /// NOTE: the shard has to have all of them in its own file, synced.
    pub fn blank_earlier(&self, shard: u16, run: i64) -> Result<()> {
        let mut found = Vec::new();
        for live in &self.needed().live {
            if let Some(part) = live.part(shard).filter(|_| live.segment.run != run) {
                found.push((Arc::clone(&live.segment), part.places().to_vec()));
            }
        }
        for (segment, places) in found {
            segment.blank(&places)?;
            for live in &mut self.needed().live {
                if live.segment.number == segment.number {
                    live.forget(shard);
                }
            }
        }
        Ok(())
    }
}
