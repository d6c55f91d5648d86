//! Event ids that an entity may have already.

use rusqlite::Connection;

use super::chain;
use super::command::Stop;
use super::entities::EntityInfo;
use super::rows::{self, Row};
use super::tail::Mark;
use crate::error::{Error, Result};
use crate::event::{GivenId, Packed, StoredEvent, derived_id, parse_row, same_content};

/// The log that ids are looked up in.
pub struct Lookup<'a, F> {
    pub connection: &'a Connection,
    pub entity: &'a str,
    pub info: &'a EntityInfo,
    pub marks: &'a [Mark],
    /// Positions of rows that may hold an id with this hash.
    pub positions: F,
}

impl<F: Fn(u64) -> Result<Vec<i64>>> Lookup<'_, F> {
    /// What keeps `packed` from being appended: ids in use, or reserved ones.
    pub fn check(&self, packed: &Packed) -> Result<Option<Stop>> {
        if packed.ids.is_empty() {
            return Ok(None);
        }
        let given = parse_row(&packed.data)?;
        let mut duplicates = Vec::new();
        for (index, id) in &packed.ids {
            let event = given
                .get(*index)
                .ok_or_else(|| Error::corrupt("an id of no event"))?;
            match self.find(*id, event, &packed.aggregate)? {
                Some((seq, true)) => duplicates.push((*index, seq)),
                Some((seq, false)) => return Ok(Some(Stop::Conflict(seq))),
                None => {}
            }
        }
        if !duplicates.is_empty() {
            return Ok(Some(Stop::Duplicates(duplicates)));
        }
        let reserved = packed.ids.iter().find(|(index, id)| match id {
            GivenId::Derived(seq) => *seq != self.info.seq + 1 + *index as u64,
            GivenId::Hash(_) => false,
        });
        let id = reserved.and_then(|(index, _)| given.get(*index)?.id.as_deref());
        Ok(id.map(|id| Stop::Reserved(id.to_owned())))
    }

    /// The seq of the event that has the id of `event`, and whether it says the same.
    fn find(
        &self,
        id: GivenId,
        event: &StoredEvent<'_>,
        aggregate: &str,
    ) -> Result<Option<(u64, bool)>> {
        let wanted = event.id.as_deref().unwrap_or_default();
        let in_row = |row: &Row| -> Result<Option<(u64, bool)>> {
            for (seq, stored) in (row.seq..).zip(parse_row(&row.data)?) {
                let same_id = match &stored.id {
                    Some(id) => *id == wanted,
                    None => derived_id(self.entity, seq) == wanted,
                };
                if same_id {
                    let same = same_content(event, aggregate, &stored, &row.aggregate);
                    return Ok(Some((seq, same)));
                }
            }
            Ok(None)
        };
        match id {
            GivenId::Derived(seq) if seq > self.info.seq => Ok(None),
            GivenId::Derived(seq) => {
                let row = chain::row_of(self.connection, self.entity, self.info, self.marks, seq)?;
                row.map_or(Ok(None), |row| in_row(&row))
            }
            GivenId::Hash(hash) => {
                for position in (self.positions)(hash)? {
                    if let Some(row) = rows::at(self.connection, position)?
                        && let Some(found) = in_row(&row)?
                    {
                        return Ok(Some(found));
                    }
                }
                Ok(None)
            }
        }
    }
}
