//! What the shard knows about an entity's log: where it ends and where it can be entered.

use rusqlite::{Connection, OptionalExtension};

use super::rows;
use crate::error::Result;
use crate::hash::hash64;

/// Every how many rows of an entity one is marked, so that a read can start near it.
pub const MARK_EVERY: u64 = 64;

/// The state of one entity's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityInfo {
    /// The position of its first row: no two lives of an entity share it.
    pub incarnation: i64,
    /// The seq of its last event.
    pub seq: u64,
    /// The position of its last row.
    pub head: i64,
    /// How many rows it has.
    pub rows: u64,
}

impl EntityInfo {
    /// The entity after one more row of `count` events at `position`.
    pub fn advance(before: Option<&Self>, position: i64, count: u64) -> Self {
        match before {
            None => Self {
                incarnation: position,
                seq: count,
                head: position,
                rows: 1,
            },
            Some(info) => Self {
                incarnation: info.incarnation,
                seq: info.seq + count,
                head: position,
                rows: info.rows + 1,
            },
        }
    }

    /// Whether the last row is one to be marked.
    pub fn is_marked(&self) -> bool {
        self.rows.is_multiple_of(MARK_EVERY)
    }
}

/// Looks an entity up in what was written behind. Not what came after the last flush.
pub fn find(connection: &Connection, entity: &str) -> Result<Option<EntityInfo>> {
    let mut statement = connection
        .prepare_cached("SELECT incarnation, seq, head, rows FROM entities WHERE hash = ?1")?;
    let mut found = statement.query([hash64(entity.as_bytes()).cast_signed()])?;
    while let Some(row) = found.next()? {
        let info = EntityInfo {
            incarnation: row.get(0)?,
            seq: row.get::<_, i64>(1)?.cast_unsigned(),
            head: row.get(2)?,
            rows: row.get::<_, i64>(3)?.cast_unsigned(),
        };
        // Another entity can have the same hash: the head row tells.
        match rows::stamp(connection, info.head)? {
            rows::Stamp::Live { entity: name, .. } if name == entity => return Ok(Some(info)),
            rows::Stamp::Live { .. } | rows::Stamp::Erased => {}
        }
    }
    Ok(None)
}

/// Writes what is known of an entity.
pub fn upsert(connection: &Connection, hash: u64, info: &EntityInfo) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO entities (hash, incarnation, seq, head, rows) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (hash, incarnation) DO UPDATE
             SET seq = excluded.seq, head = excluded.head, rows = excluded.rows",
        )?
        .execute((
            hash.cast_signed(),
            info.incarnation,
            info.seq.cast_signed(),
            info.head,
            info.rows.cast_signed(),
        ))
        .map(drop)
}

/// The position of the first marked row whose first seq is at least `seq`.
pub fn mark_from(connection: &Connection, incarnation: i64, seq: u64) -> Result<Option<i64>> {
    Ok(connection
        .prepare_cached(
            "SELECT position FROM marks WHERE incarnation = ?1 AND seq >= ?2 ORDER BY seq LIMIT 1",
        )?
        .query_row((incarnation, seq.cast_signed()), |row| row.get(0))
        .optional()?)
}

/// The positions of rows that may hold an event with an id of this hash.
pub fn positions_of_id(connection: &Connection, incarnation: i64, hash: u64) -> Result<Vec<i64>> {
    let mut statement = connection
        .prepare_cached("SELECT position FROM ids WHERE incarnation = ?1 AND hash = ?2")?;
    let found = statement.query_map((incarnation, hash.cast_signed()), |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}
