//! Looking given ids up, before an append goes to the writer.

use std::collections::HashMap;

use super::view::{EntityLog, Reader};
use crate::error::Result;
use crate::event::Packed;
use crate::index::entities;
use crate::index::ids::{Lookup, Stop, hashes};

impl Reader<'_> {
    /// What would keep `packed` from being appended, as of what is committed.
    pub fn check_ids(&self, entity: &str, packed: &Packed) -> Result<Option<Stop>> {
        // NOTE: one look into memory, before the view begins. A second one could find that ids were
        // written behind which this view does not have, or such as came after it.
        let (active, recent) = {
            let tail = self.shared().tail();
            let active = tail.entity(entity).cloned();
            let info = active.as_ref().and_then(|active| active.info.as_ref());
            let incarnation = info.map_or(0, |info| info.incarnation);
            let recent: HashMap<u64, Vec<i64>> = hashes(packed)
                .into_iter()
                .map(|hash| (hash, tail.positions_of_id(incarnation, hash)))
                .collect();
            (active, recent)
        };
        let Some(EntityLog { info, marks, .. }) = self.find_from(entity, active)? else {
            return Ok(None);
        };
        let positions = |hash| {
            let mut found = recent.get(&hash).cloned().unwrap_or_default();
            found.extend(entities::positions_of_id(
                self.connection(),
                info.incarnation,
                hash,
            )?);
            found.sort_unstable();
            found.dedup();
            Ok(found)
        };
        Lookup {
            log: self,
            entity,
            info: &info,
            marks: &marks,
            positions,
        }
        .check(packed)
    }
}
