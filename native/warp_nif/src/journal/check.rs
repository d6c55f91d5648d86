//! Checking the records of segments, beside the threads that use them.

use std::sync::Arc;

use super::segments::Segments;
use crate::error::{Error, Result};

impl Segments {
    /// The numbers of those that were begun and are needed still.
    pub fn numbers(&self) -> Vec<u64> {
        let needed = self.needed();
        let live = needed.live.iter();
        live.map(|live| live.segment.number).collect()
    }

    fn is_needed(&self, number: u64) -> bool {
        self.numbers().contains(&number)
    }

    /// Reads all records of a segment: how many there are; none when it was given back meanwhile. Errors:
    /// `Corrupt` when one is not what was written; `Io`.
    pub fn check(&self, number: u64) -> Result<u64> {
        let (segment, records) = {
            let needed = self.needed();
            let mut live = needed.live.iter();
            let Some(live) = live.find(|live| live.segment.number == number) else {
                return Ok(0);
            };
            let records = live.parts().flat_map(|(shard, part)| {
                let places = (part.first()..).zip(part.places());
                places.map(move |(position, place)| (shard, position, *place))
            });
            (Arc::clone(&live.segment), records.collect::<Vec<_>>())
        };
        for (shard, position, place) in &records {
            let is_sound = || segment.is_sound(*place, *position);
            // NOTE: twice, since it may just have been made blank.
            let sound = is_sound().and_then(|sound| Ok(sound || is_sound()?));
            if !matches!(sound, Ok(true)) && self.is_needed(number) {
                sound.map_err(|error| Error::io(&segment.path, error))?;
                let what = format!("the record of position {position} of shard {shard} is damaged");
                return Err(Error::corrupt(what).at(&segment.path));
            }
        }
        Ok(records.len() as u64)
    }
}
