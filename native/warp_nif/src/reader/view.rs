//! Reading an entity's log, beside the writer, from a consistent view of the file.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::event::Packed;
use crate::index::chain;
use crate::index::entities::{self, EntityInfo, Mark};
use crate::index::ids::Stop;
use crate::index::ids::{Lookup, hashes};
use crate::log::rows::{self, Log, Row};
use crate::log::schema;
use crate::log::snapshots::{self, Stored};
use crate::shard::idle::Slot;
use crate::shard::shared::Shared;
use crate::sqlite::UnderWay;
use crate::sync::relock;
use crate::tail::memory::Active;

/// How many idle read connections a shard keeps.
const MAX_IDLE: usize = 4;
/// How many bytes of rows one page holds at most, but for a single larger row.
pub const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// How many rows, or entries of an index, one piece of a long read takes at most.
pub const PIECE_ROWS: usize = 1024;

/// How often a read is begun again because what it looked for went from memory into the file meanwhile.
const MAX_TRIES: usize = 100;

/// A connection inside a read transaction, beside what is in memory.
///
/// NOTE: memory first, then the file. What is not in memory any more was in the file before it was let
/// go; a view of the file that began earlier lacks it, and the read begins again with another view.
pub struct Reader<'s> {
    connection: &'s Connection,
    shared: &'s Shared,
}

/// Which way a history goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// By rising seq.
    Forward,
    /// By falling seq.
    Backward,
}

/// Where an entity's log stands.
pub struct Head {
    /// Which life of the entity this is.
    pub incarnation: i64,
    /// The seq of its last event.
    pub seq: u64,
    /// The time of its last row, in microseconds since 1970.
    pub recorded_at: i64,
}

/// What is known of an entity, and the last row of its log.
pub struct EntityLog {
    info: EntityInfo,
    head: Row,
    /// Marks that are not written behind yet.
    marks: Vec<Mark>,
}

impl EntityLog {
    /// Which life of the entity this is.
    pub fn incarnation(&self) -> i64 {
        self.info.incarnation
    }
}

/// Rows in the order asked for, and the seq to go on from.
pub struct Page {
    /// Which life of the entity this is; 0 when it has no events.
    pub incarnation: i64,
    /// Rows whose events are wanted, some perhaps only in part.
    pub rows: Vec<Row>,
    /// The first seq wanted of `rows`, in the direction asked for.
    pub from: u64,
    /// The seq that the next page begins with; none when this is the last one.
    pub next: Option<u64>,
}

/// Runs `read` in a read transaction on an idle connection, or a new one; again when it was `Stale`.
pub fn with_reader<T>(
    shared: &Shared,
    mut read: impl FnMut(&Reader<'_>) -> Result<T>,
) -> Result<T> {
    let _under_way = UnderWay::begin(&shared.gate)?;
    let idle = relock(&shared.readers).pop();
    let connection = match idle {
        Some((connection, _)) => connection,
        None => crate::log::connection::open_reader(&shared.path, &shared.sums)?,
    };
    let mut tries = 0;
    let found = loop {
        connection.prepare_cached("BEGIN")?.execute([])?;
        // A connection that met an error is dropped here, which ends its transaction.
        let found = read(&Reader {
            connection: &connection,
            shared,
        });
        tries += 1;
        match found {
            Err(Error::Stale) if tries < MAX_TRIES => {
                connection.prepare_cached("ROLLBACK")?.execute([])?;
            }
            found => break found?,
        }
    };
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

impl Log for Reader<'_> {
    fn at(&self, position: i64) -> Result<Option<Row>> {
        if let Some(row) = self.shared.tail().row(position) {
            return Ok(Some(row));
        }
        let found = rows::at(self.connection, position);
        if matches!(found, Err(Error::Corrupt(_))) && position > applied(self.connection)? {
            return Err(Error::Stale);
        }
        found
    }

    fn file(&self) -> &Connection {
        self.connection
    }
}

/// Up to which position a view of the file has all.
pub fn applied(connection: &Connection) -> Result<i64> {
    schema::meta(connection, "flushed")
}

impl Reader<'_> {
    /// The view of the file.
    pub fn connection(&self) -> &Connection {
        self.connection
    }

    /// What is known of an entity; `None` when it has no events.
    fn find(&self, entity: &str) -> Result<Option<EntityLog>> {
        let active = self.shared.tail().entity(entity).cloned();
        self.find_from(entity, active)
    }

    /// Likewise, given what was in memory of it.
    pub fn find_from(&self, entity: &str, active: Option<Active>) -> Result<Option<EntityLog>> {
        let Some(Active { info, marks, .. }) = active else {
            let found = entities::find(self.connection, entity)?;
            return Ok(found.map(|(info, head)| EntityLog {
                info,
                head,
                marks: Vec::new(),
            }));
        };
        let Some(info) = info else {
            return Ok(None);
        };
        // NOTE: without that row, the entity was erased since we looked into memory.
        let Some(head) = self.at(info.head)? else {
            return Ok(None);
        };
        if head.entity != entity {
            return Err(rows::broken(info.head, "not of its entity"));
        }
        let head = info.check(head)?;
        Ok(Some(EntityLog { info, head, marks }))
    }

    /// What is in memory, to be looked at with one view of the file.
    pub fn shared(&self) -> &Shared {
        self.shared
    }

    /// Where the entity's log ends; `None` when it has no events.
    pub fn head(&self, entity: &str) -> Result<Option<Head>> {
        Ok(self.find(entity)?.map(|log| Head {
            incarnation: log.info.incarnation,
            seq: log.info.seq,
            recorded_at: log.head.recorded_at,
        }))
    }

    /// The entity's incarnation, the seq of its last event and the position of its last row;
    /// `None` when it has no events.
    pub fn last_row(&self, entity: &str) -> Result<Option<(i64, u64, i64)>> {
        let found = self.find(entity)?;
        Ok(found.map(|EntityLog { info, .. }| (info.incarnation, info.seq, info.head)))
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
        let found = self.find(entity)?;
        if incarnation != 0
            && found
                .as_ref()
                .is_none_or(|log| log.info.incarnation != incarnation)
        {
            return Err(Error::Changed);
        }
        let Some(log) = found else {
            return Ok(Page {
                incarnation: 0,
                rows: Vec::new(),
                from: 1,
                next: None,
            });
        };
        match direction {
            Direction::Forward => self.forward(entity, log, from.unwrap_or(1), limit),
            Direction::Backward => {
                let from = from.unwrap_or(log.info.seq).min(log.info.seq);
                self.backward(entity, log, from, limit)
            }
        }
    }

    /// The row to walk back from in order to reach `seq`.
    fn enter(&self, entity: &str, log: EntityLog, seq: u64) -> Result<Row> {
        let position = chain::entry(self, &log.info, &log.marks, seq)?;
        if position == log.head.position {
            return Ok(log.head);
        }
        chain::link(self, entity, position)
    }

    fn forward(&self, entity: &str, log: EntityLog, from: u64, limit: u64) -> Result<Page> {
        let end = from.saturating_add(limit);
        let EntityInfo {
            incarnation, seq, ..
        } = log.info;
        let mut found = VecDeque::new();
        let mut bytes = 0;
        if from <= seq {
            let entry = self.enter(entity, log, end)?;
            chain::walk_back(self, entity, entry, |row| {
                if row.last_seq() < from {
                    return ControlFlow::Break(());
                }
                let is_last = row.seq <= from;
                if row.seq < end {
                    bytes += row.data.len();
                    found.push_front(row);
                    // This is too much for one page, so the later rows wait for the next one.
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
            incarnation,
            rows: found.into(),
            from,
            next: next.filter(|next| *next <= seq),
        })
    }

    fn backward(&self, entity: &str, log: EntityLog, from: u64, limit: u64) -> Result<Page> {
        // The lowest seq wanted.
        let end = from.saturating_sub(limit.saturating_sub(1)).max(1);
        let incarnation = log.info.incarnation;
        let mut found = Vec::new();
        let mut bytes = 0;
        if from > 0 {
            let entry = self.enter(entity, log, from)?;
            chain::walk_back(self, entity, entry, |row| {
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
            incarnation,
            rows: found,
            from,
            next: next.filter(|seq| *seq > 0),
        })
    }

    /// What would keep `packed` from being appended, as of what is committed.
    pub fn check_ids(&self, entity: &str, packed: &Packed) -> Result<Option<Stop>> {
        // NOTE: one look into memory, before the view begins. A second one could find that ids were
        // written behind which this view does not have, or such as came after it.
        let (active, recent) = {
            let tail = self.shared.tail();
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
                self.connection,
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
