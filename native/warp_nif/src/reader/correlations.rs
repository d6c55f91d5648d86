//! Reading the correlations of an entity's events.
//!
//! There can be many, so they are read in pieces, between which the view of the file is given up: one
//! that stays for long makes the WAL grow.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};

use rusqlite::Connection;
use serde::Deserialize;

use crate::error::Result;
use crate::event::parse_row;
use crate::index::chain;
use crate::log::Row;
use crate::reader::page::{PAGE_BYTES, PIECE_ROWS};
use crate::reader::view::{Reader, with_reader};
use crate::shard::shared::Shared;

/// How many ids one piece reads from the index.
const LIMIT: i64 = PIECE_ROWS as i64;

/// A correlation, and the number that an event with it has among those of the correlation.
///
/// The event's id says so: it is the correlation, one of the infixes that the caller gives, and a
/// decimal number. Other events are left out, since an entity can have millions of them.
type Numbered = (String, u64);

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    correlation: Option<Cow<'a, str>>,
}

fn numbered(row: &Row, infixes: &[String]) -> Result<Vec<Numbered>> {
    let mut found = Vec::new();
    for event in parse_row(&row.data)? {
        let (Some(id), Some(metadata)) = (&event.id, event.metadata) else {
            continue;
        };
        // A correlation that is no text is a user's own.
        let Ok(Metadata {
            correlation: Some(correlation),
        }) = serde_json::from_str(metadata.get())
        else {
            continue;
        };
        let rest = id.strip_prefix(correlation.as_ref());
        let number = rest.and_then(|rest| {
            let digits = infixes.iter().find_map(|infix| rest.strip_prefix(infix))?;
            let are_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
            are_digits.then(|| digits.parse().ok())?
        });
        found.extend(number.map(|number| (correlation.into_owned(), number)));
    }
    Ok(found)
}

/// Where the ids of an entity are left to be read.
struct Left {
    incarnation: i64,
    /// Positions of rows with ids, not yet looked into.
    rows: Vec<i64>,
    /// All that were in `rows`: one row can hold many ids.
    known: HashSet<i64>,
    /// The last id read from the file, as hash and position.
    after: (i64, i64),
    at_end: bool,
}

/// Which correlations the entity's events have, and which of them each event is: see [`Numbered`].
pub fn correlations(
    shared: &Shared,
    entity: &str,
    infixes: &[String],
) -> Result<BTreeSet<Numbered>> {
    let mut found = BTreeSet::new();
    let begun = with_reader(shared, |reader| {
        // NOTE: one look into memory, before the view begins. A second one could find that ids were
        // written behind which this view does not have.
        let (active, of_tail) = {
            let tail = shared.tail();
            let active = tail.entity(entity).cloned();
            let info = active.as_ref().and_then(|active| active.info.as_ref());
            let known = info.map_or_else(Vec::new, |i| tail.positions_with_ids(i.incarnation));
            (active, known.into_iter().collect::<HashSet<i64>>())
        };
        Ok(reader.find_from(entity, active)?.map(|log| Left {
            incarnation: log.incarnation(),
            rows: of_tail.iter().copied().collect(),
            known: of_tail.clone(),
            after: (i64::MIN, i64::MIN),
            at_end: false,
        }))
    })?;
    let Some(mut left) = begun else {
        return Ok(found);
    };
    while !left.at_end || !left.rows.is_empty() {
        let is_there = with_reader(shared, |reader| {
            let now = reader
                .last_row(entity)?
                .map(|(incarnation, _, _)| incarnation);
            if now != Some(left.incarnation) {
                return Ok(false);
            }
            left.more(reader.connection())?;
            left.look(reader, entity, infixes, &mut found)?;
            Ok(true)
        })?;
        if !is_there {
            // NOTE: another process deleted the entity meanwhile, and has found the rest itself.
            break;
        }
    }
    Ok(found)
}

impl Left {
    fn more(&mut self, connection: &Connection) -> Result<()> {
        if self.at_end || !self.rows.is_empty() {
            return Ok(());
        }
        let mut statement = connection.prepare_cached(
            "SELECT hash, position FROM ids WHERE incarnation = ?1 AND (hash, position) > (?2, ?3)
             ORDER BY hash, position LIMIT ?4",
        )?;
        let (hash, position) = self.after;
        let found = statement
            .query_map((self.incarnation, hash, position, LIMIT), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<rusqlite::Result<Vec<(i64, i64)>>>()?;
        self.at_end = found.len() < PIECE_ROWS;
        if let Some(last) = found.last() {
            self.after = *last;
        }
        let positions = found.into_iter().map(|(_, position)| position);
        let known = &mut self.known;
        self.rows
            .extend(positions.filter(|position| known.insert(*position)));
        // Rows are read in the order in which they stand in the file.
        self.rows.sort_unstable_by(|a, b| b.cmp(a));
        Ok(())
    }

    fn look(
        &mut self,
        reader: &Reader<'_>,
        entity: &str,
        infixes: &[String],
        found: &mut BTreeSet<Numbered>,
    ) -> Result<()> {
        let (mut looked, mut bytes) = (0, 0);
        while looked < PIECE_ROWS && bytes < PAGE_BYTES {
            let Some(position) = self.rows.pop() else {
                break;
            };
            let row = chain::link(reader, entity, position)?;
            found.extend(numbered(&row, infixes)?);
            looked += 1;
            bytes += row.data.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::row::testing::row;

    #[test]
    fn events_are_numbered_by_id_and_correlation() {
        let row = row(
            r#"[{"type":"A","id":"x/y/fwd/12","metadata":{"correlation":"x/y"},"payload":{}},
                {"type":"A","id":"x/comp/0","metadata":{"correlation":"x"},"payload":{}},
                {"type":"A","id":"x/fwd/1","metadata":{"correlation":"y"},"payload":{}},
                {"type":"A","id":"x/fwd/1","metadata":{"correlation":7},"payload":{}},
                {"type":"A","id":"x/fwd/+1","metadata":{"correlation":"x"},"payload":{}},
                {"type":"A","id":"x/fwd/","metadata":{"correlation":"x"},"payload":{}},
                {"type":"A","id":"x/fwd/1","payload":{}}]"#,
        );
        let infixes = ["/fwd/".into(), "/comp/".into()];
        let found = numbered(&row, &infixes).expect("reads");
        assert!(numbered(&row, &[]).expect("reads").is_empty());
        assert_eq!(found, [("x/y".into(), 12), ("x".into(), 0)]);
    }
}
