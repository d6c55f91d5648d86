//! Reading an entity's log, beside the writer, from a consistent view of the file.

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use rusqlite::Connection;

use super::command::Stop;
use super::entities::{self, EntityInfo};
use super::idle::Slot;
use super::ids::Lookup;
use super::rows::{self, Row};
use super::snapshots::{self, Stored};
use super::tail::Mark;
use super::{Shared, chain, relock, sagas, schema};
use crate::error::{Error, Result};
use crate::event::Packed;

/// How many idle read connections a shard keeps.
const MAX_IDLE: usize = 4;
/// How many bytes of rows one page holds at most, but for a single larger row.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// A connection inside a read transaction.
pub struct Reader<'s> {
    connection: &'s Connection,
    shared: &'s Shared,
}

/// Which way a history goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Backward,
}

/// Where an entity's log stands.
pub struct Head {
    pub incarnation: i64,
    pub seq: u64,
    pub recorded_at: i64,
}

/// Rows in the order asked for, and the seq to go on from.
pub struct Page {
    pub incarnation: i64,
    pub rows: Vec<Row>,
    /// The first seq wanted of `rows`, in the direction asked for.
    pub from: u64,
    pub next: Option<u64>,
}

/// Runs `read` in a read transaction on an idle connection, or a new one.
pub fn with_reader<T>(shared: &Shared, read: impl FnOnce(&Reader<'_>) -> Result<T>) -> Result<T> {
    let _under_way = UnderWay::begin(shared)?;
    let idle = relock(&shared.readers).pop();
    let connection = match idle {
        Some((connection, _)) => connection,
        None => schema::open_reader(&shared.path)?,
    };
    connection.prepare_cached("BEGIN")?.execute([])?;
    // A connection that met an error is not used again: closing it ends its transaction.
    let found = read(&Reader {
        connection: &connection,
        shared,
    })?;
    connection.prepare_cached("ROLLBACK")?.execute([])?;
    let mut idle = relock(&shared.readers);
    if idle.len() < MAX_IDLE
        && !shared.is_closed()
        && let Some(slot) = Slot::take()
    {
        idle.push((connection, slot));
    }
    Ok(found)
}

/// Counts a read while it is under way.
struct UnderWay<'s>(&'s Shared);

impl<'s> UnderWay<'s> {
    fn begin(shared: &'s Shared) -> Result<Self> {
        shared.reading.fetch_add(1, Ordering::SeqCst);
        let counted = Self(shared);
        // Looked at after counting: a writer that closes now waits for this read.
        if shared.is_closed() {
            Err(Error::Closed)
        } else {
            Ok(counted)
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.reading.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Reader<'_> {
    pub(super) fn connection(&self) -> &Connection {
        self.connection
    }

    /// What is known of an entity; `None` when it has no events.
    ///
    /// NOTE: memory first, then the file. What was in memory stands in any later view of the
    /// file, and what is no longer in memory had been written behind before this view began.
    fn info(&self, entity: &str) -> Result<Option<(EntityInfo, Vec<Mark>)>> {
        let active = self.shared.tail().entity(entity).cloned();
        match active {
            None => Ok(entities::find(self.connection, entity)?.map(|info| (info, Vec::new()))),
            Some(active) => {
                // Erased since we looked into memory?
                match rows::stamp(self.connection, active.info.head)? {
                    rows::Stamp::Live { .. } => Ok(Some((active.info, active.marks))),
                    rows::Stamp::Erased => Ok(None),
                }
            }
        }
    }

    /// Where the entity's log ends; `None` when it has no events.
    pub fn head(&self, entity: &str) -> Result<Option<Head>> {
        let Some((info, _)) = self.info(entity)? else {
            return Ok(None);
        };
        match rows::stamp(self.connection, info.head)? {
            rows::Stamp::Live { recorded_at, .. } => Ok(Some(Head {
                incarnation: info.incarnation,
                seq: info.seq,
                recorded_at,
            })),
            rows::Stamp::Erased => Ok(None),
        }
    }

    /// The entity's incarnation, the seq of its last event and the position of its last row;
    /// `None` when it has no events.
    pub fn place(&self, entity: &str) -> Result<Option<(i64, u64, i64)>> {
        let info = self.info(entity)?;
        Ok(info.map(|(info, _)| (info.incarnation, info.seq, info.head)))
    }

    /// The snapshot of an aggregate, if there is one that can be read.
    pub fn snapshot(&self, incarnation: i64, aggregate: &str) -> Result<Option<Stored>> {
        snapshots::load(self.connection, incarnation, aggregate)
    }

    /// The rows that hold up to `limit` events from `from` on.
    ///
    /// `incarnation` is that of an earlier page, or 0; another one now is the error `Changed`.
    pub fn page(
        &self,
        entity: &str,
        incarnation: i64,
        from: Option<u64>,
        limit: u64,
        direction: Direction,
    ) -> Result<Page> {
        let info = self.info(entity)?;
        if incarnation != 0
            && info
                .as_ref()
                .is_none_or(|(i, _)| i.incarnation != incarnation)
        {
            return Err(Error::Changed);
        }
        let Some((info, marks)) = info else {
            return Ok(Page {
                incarnation: 0,
                rows: Vec::new(),
                from: 1,
                next: None,
            });
        };
        match direction {
            Direction::Forward => self.forward(entity, &info, &marks, from.unwrap_or(1), limit),
            Direction::Backward => {
                let from = from.unwrap_or(info.seq).min(info.seq);
                self.backward(entity, &info, &marks, from, limit)
            }
        }
    }

    fn forward(
        &self,
        entity: &str,
        info: &EntityInfo,
        marks: &[Mark],
        from: u64,
        limit: u64,
    ) -> Result<Page> {
        let end = from.saturating_add(limit);
        let mut found = VecDeque::new();
        let mut bytes = 0;
        if from <= info.seq {
            let entry = chain::entry(self.connection, info, marks, end)?;
            chain::walk_back(self.connection, entity, entry, |row| {
                if row.last_seq() < from {
                    return ControlFlow::Break(());
                }
                let is_last = row.seq <= from;
                if row.seq < end {
                    bytes += row.data.len();
                    found.push_front(row);
                    // Too much for one page: the later rows wait for the next one.
                    while bytes > PAGE_BYTES && found.len() > 1 {
                        bytes -= found.pop_back().map_or(0, |row| row.data.len());
                    }
                }
                if is_last {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })?;
        }
        let next = found.back().map(|row| row.last_seq().min(end - 1) + 1);
        Ok(Page {
            incarnation: info.incarnation,
            rows: found.into(),
            from,
            next: next.filter(|seq| *seq <= info.seq),
        })
    }

    fn backward(
        &self,
        entity: &str,
        info: &EntityInfo,
        marks: &[Mark],
        from: u64,
        limit: u64,
    ) -> Result<Page> {
        // The lowest seq wanted.
        let end = from.saturating_sub(limit.saturating_sub(1)).max(1);
        let mut found = Vec::new();
        let mut bytes = 0;
        if from > 0 {
            let entry = chain::entry(self.connection, info, marks, from)?;
            chain::walk_back(self.connection, entity, entry, |row| {
                if row.seq > from {
                    return ControlFlow::Continue(());
                }
                bytes += row.data.len();
                let is_last = row.seq <= end || bytes > PAGE_BYTES;
                found.push(row);
                if is_last {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })?;
        }
        let next = found.last().map(|row| row.seq.max(end) - 1);
        Ok(Page {
            incarnation: info.incarnation,
            rows: found,
            from,
            next: next.filter(|seq| *seq > 0),
        })
    }

    /// The entities of all sagas that are not closed.
    pub fn open_sagas(&self) -> Result<Vec<String>> {
        let changes = self.shared.tail().sagas().list();
        let mut names = Vec::new();
        for incarnation in sagas::open(self.connection, &changes)? {
            if let rows::Stamp::Live { entity, .. } = rows::stamp(self.connection, incarnation)? {
                names.push(entity);
            }
        }
        Ok(names)
    }

    /// The steps of sagas, as saga and number, that left events in the entity's log.
    pub fn saga_steps(&self, entity: &str) -> Result<BTreeSet<(String, u64)>> {
        let Some((info, _)) = self.info(entity)? else {
            return Ok(BTreeSet::new());
        };
        let mut positions: BTreeSet<i64> = {
            let tail = self.shared.tail();
            let of_entity = tail.ids().filter(|(of, _, _)| *of == info.incarnation);
            of_entity.map(|(_, _, position)| position).collect()
        };
        let mut statement = self
            .connection
            .prepare_cached("SELECT position FROM ids WHERE incarnation = ?1")?;
        for position in statement.query_map([info.incarnation], |row| row.get(0))? {
            positions.insert(position?);
        }
        let mut steps = BTreeSet::new();
        for position in positions {
            if let Some(row) = rows::at(self.connection, position)? {
                steps.extend(sagas::steps_of(&row)?);
            }
        }
        Ok(steps)
    }

    /// What would keep `packed` from being appended, as of what is committed.
    pub fn check_ids(&self, entity: &str, packed: &Packed) -> Result<Option<Stop>> {
        let Some((info, marks)) = self.info(entity)? else {
            return Ok(None);
        };
        let positions = |hash| {
            let mut found = self
                .shared
                .tail()
                .positions_of_id(info.incarnation, hash)
                .to_vec();
            found.extend(entities::positions_of_id(
                self.connection,
                info.incarnation,
                hash,
            )?);
            Ok(found)
        };
        Lookup {
            connection: self.connection,
            entity,
            info: &info,
            marks: &marks,
            positions,
        }
        .check(packed)
    }
}
