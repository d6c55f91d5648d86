//! Reading what the shard knows of sagas. There can be many, so each is read in pieces, between
//! which the view of the file is given up: one that stays for long makes the WAL grow.

use std::collections::{BTreeSet, HashSet};

use rusqlite::Connection;

use super::reader::{PAGE_BYTES, Reader, with_reader};
use super::shared::Shared;
use super::{chain, rows, sagas};
use crate::error::{Error, Result};

/// How many rows, or ids, one piece takes at most.
const PIECE_ROWS: usize = 1024;
const LIMIT: i64 = PIECE_ROWS as i64;

/// The sagas that are not closed.
#[derive(Default)]
pub struct OpenSagas {
    /// Their entities.
    pub entities: Vec<String>,
    /// What is wrong with those whose first row cannot be read.
    pub broken: Vec<String>,
}

/// The entities of all sagas that are not closed.
pub fn open_sagas(shared: &Shared) -> Result<OpenSagas> {
    let first_rows: Vec<i64> = with_reader(shared, |reader| {
        let changes = shared.tail().sagas().list();
        let open = sagas::open(reader.connection(), &changes)?;
        Ok(open.into_iter().collect())
    })?;
    let mut found = OpenSagas::default();
    let mut left = first_rows.into_iter();
    while left.len() > 0 {
        with_reader(shared, |reader| {
            let mut bytes = 0;
            for incarnation in left.by_ref().take(PIECE_ROWS) {
                match rows::at(reader.connection(), incarnation) {
                    Ok(Some(row)) => {
                        bytes += row.data.len();
                        found.entities.push(row.entity);
                    }
                    Ok(None) => found
                        .broken
                        .push(format!("log row at position {incarnation}: erased")),
                    // One that is damaged is no reason to hold the others up.
                    Err(Error::Corrupt(what)) => found.broken.push(what),
                    Err(error) => return Err(error),
                }
                if bytes > PAGE_BYTES {
                    break;
                }
            }
            Ok(())
        })?;
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

/// The steps of sagas, as saga and number, that left events in the entity's log.
pub fn saga_steps(shared: &Shared, entity: &str) -> Result<BTreeSet<(String, u64)>> {
    let mut steps = BTreeSet::new();
    let begun = with_reader(shared, |reader| {
        // NOTE: one look into memory, before the view begins. A second one could find that ids were
        // written behind which this view does not have.
        let (active, of_tail) = {
            let tail = shared.tail();
            let active = tail.entity(entity).cloned();
            let incarnation = active.as_ref().map(|active| active.info.incarnation);
            let ids = tail.ids().filter(|(of, _, _)| Some(*of) == incarnation);
            let known: HashSet<i64> = ids.map(|(_, _, position)| position).collect();
            (active, known)
        };
        Ok(reader.find_from(entity, active)?.map(|place| Left {
            incarnation: place.incarnation(),
            rows: of_tail.iter().copied().collect(),
            known: of_tail,
            after: (i64::MIN, i64::MIN),
            at_end: false,
        }))
    })?;
    let Some(mut left) = begun else {
        return Ok(steps);
    };
    while !left.at_end || !left.rows.is_empty() {
        let is_there = with_reader(shared, |reader| {
            let now = reader.place(entity)?.map(|(incarnation, _, _)| incarnation);
            if now != Some(left.incarnation) {
                return Ok(false);
            }
            left.more(reader.connection())?;
            left.look(reader, entity, &mut steps)?;
            Ok(true)
        })?;
        if !is_there {
            // Deleted meanwhile: whoever did that had the rest.
            break;
        }
    }
    Ok(steps)
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
        // In the order in which they stand in the file.
        self.rows.sort_unstable_by(|a, b| b.cmp(a));
        Ok(())
    }

    fn look(
        &mut self,
        reader: &Reader<'_>,
        entity: &str,
        steps: &mut BTreeSet<(String, u64)>,
    ) -> Result<()> {
        let (mut looked, mut bytes) = (0, 0);
        while looked < PIECE_ROWS && bytes < PAGE_BYTES {
            let Some(position) = self.rows.pop() else {
                break;
            };
            let row = chain::link(reader.connection(), entity, position)?;
            steps.extend(sagas::steps_of(&row)?);
            looked += 1;
            bytes += row.data.len();
        }
        Ok(())
    }
}
