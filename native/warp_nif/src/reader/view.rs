//! What is known of an entity, from memory and a consistent view of the file.

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::index::entities::{self, EntityInfo, Mark};
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

/// Where an entity's log stands.
pub struct Head {
    /// Which life of the entity this is.
    pub incarnation: i64,
    /// The seq of its last event.
    pub seq: u64,
    /// The time of its last row, in microseconds since 1970.
    pub recorded_at: i64,
}

/// An entity's log.
pub struct EntityLog {
    /// What is known of it.
    pub(super) info: EntityInfo,
    /// The last row of its log.
    pub(super) head: Row,
    /// Marks that are not written behind yet.
    pub(super) marks: Vec<Mark>,
}

impl EntityLog {
    /// Which life of the entity this is.
    pub fn incarnation(&self) -> i64 {
        self.info.incarnation
    }
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
    pub(super) fn find(&self, entity: &str) -> Result<Option<EntityLog>> {
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
}
