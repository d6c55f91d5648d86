//! What the shard knows about an entity's log: where it ends and where it can be entered.

use rusqlite::{CachedStatement, Connection, OptionalExtension};

use crate::error::Result;
use crate::hash::hash64;
use crate::index::aggregates::Set;
use crate::journal::RowRef;
use crate::log::rows::{self, Row};
use crate::sqlite::insert_all;

/// Every how many rows of an entity one is marked, so that a read can start near it.
pub const MARK_EVERY: u64 = if cfg!(test) { 8 } else { 64 };

/// The first seq of a marked row, and its position.
pub type Mark = (u64, i64);

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
    ///
    /// # Panics
    ///
    /// When the row holds no event, or does not stand behind the entity's last one: then nothing of the
    /// transaction must be kept. `tail` asserts the same of what it is told.
    pub fn advance(before: Option<&Self>, position: i64, count: u64) -> Self {
        assert!(count > 0, "a row without events at position {position}");
        let last = before.map_or(0, |info| info.head);
        assert!(last < position, "a row at {position} behind one at {last}");
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

    /// The row at `head`, if it is the last of this log.
    pub fn check(&self, head: Row) -> Result<Row> {
        let is_first = head.prev == 0;
        if head.last_seq() == self.seq
            && self.incarnation <= self.head
            && is_first == (self.incarnation == self.head)
        {
            Ok(head)
        } else {
            Err(rows::broken(self.head, "not the last of its entity"))
        }
    }

    /// Whether the last row is one to be marked.
    pub fn is_marked(&self) -> bool {
        self.rows.is_multiple_of(MARK_EVERY)
    }
}

/// Looks an entity up in what was written behind, with the row at its head. Not what came after the
/// last flush.
///
/// Another entity can have the same hash: the head row tells, and is believed only when its checksum
/// fits. Else a damaged row would make its entity look like one without events.
pub fn find(connection: &Connection, entity: &str) -> Result<Option<(EntityInfo, Row)>> {
    let mut statement = connection
        .prepare_cached("SELECT incarnation, seq, head, rows FROM entities WHERE hash = ?1")?;
    let hash = hash64(entity.as_bytes());
    let mut found = statement.query([hash.cast_signed()])?;
    while let Some(row) = found.next()? {
        let info = EntityInfo {
            incarnation: row.get(0)?,
            seq: row.get::<_, i64>(1)?.cast_unsigned(),
            head: row.get(2)?,
            rows: row.get::<_, i64>(3)?.cast_unsigned(),
        };
        let head = rows::at(connection, info.head)?
            .ok_or_else(|| rows::broken(info.head, "erased, and still the last of an entity"))?;
        if head.entity == entity {
            return info.check(head).map(|head| Some((info, head)));
        }
        if hash64(head.entity.as_bytes()) != hash {
            return Err(rows::broken(info.head, "not the last of its entity"));
        }
    }
    Ok(None)
}

/// The statement that `of_life` runs.
pub fn of_life_statement(connection: &Connection) -> rusqlite::Result<CachedStatement<'_>> {
    connection
        .prepare_cached("SELECT seq, head, rows FROM entities WHERE hash = ?1 AND incarnation = ?2")
}

/// Where the log of the life with this incarnation ends, of an entity with this hash, as the table says. `None` when it is
/// not there. No two lives have one incarnation, so no row has to tell whose it is.
pub fn of_life(
    statement: &mut CachedStatement<'_>,
    hash: i64,
    incarnation: i64,
) -> rusqlite::Result<Option<EntityInfo>> {
    let found = statement.query_row((hash, incarnation), |row| {
        Ok(EntityInfo {
            incarnation,
            seq: row.get::<_, i64>(0)?.cast_unsigned(),
            head: row.get(1)?,
            rows: row.get::<_, i64>(2)?.cast_unsigned(),
        })
    });
    found.optional()
}

/// The statement that `upsert` runs.
pub fn upsert_statement(connection: &Connection) -> rusqlite::Result<CachedStatement<'_>> {
    connection.prepare_cached(
        "INSERT INTO entities (hash, incarnation, seq, head, rows, aggregates)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (hash, incarnation) DO UPDATE
         SET seq = excluded.seq, head = excluded.head, rows = excluded.rows,
             aggregates = aggregates | excluded.aggregates",
    )
}

/// Writes what is known of an entity, and adds to its aggregates.
pub fn upsert(
    statement: &mut CachedStatement<'_>,
    hash: i64,
    info: &EntityInfo,
    aggregates: Set,
) -> rusqlite::Result<()> {
    statement
        .execute((
            hash,
            info.incarnation,
            info.seq.cast_signed(),
            info.head,
            info.rows.cast_signed(),
            aggregates,
        ))
        .map(drop)
}

/// Adds entities that the table does not have: the hash, what is known, and the aggregates of each.
pub fn insert_new(connection: &Connection, entities: &[(i64, EntityInfo, Set)]) -> Result<()> {
    let insert = "INSERT OR FAIL INTO entities (hash, incarnation, seq, head, rows, aggregates)";
    insert_all(connection, insert, entities, |(hash, info, set)| {
        [
            (*hash).into(),
            info.incarnation.into(),
            info.seq.cast_signed().into(),
            info.head.into(),
            info.rows.cast_signed().into(),
            (*set).into(),
        ]
    })?;
    Ok(())
}

/// Adds marks: incarnation, first seq and position of a row.
pub fn insert_marks(connection: &Connection, mut marks: Vec<(i64, u64, i64)>) -> Result<()> {
    marks.sort_unstable();
    let insert = "INSERT OR FAIL INTO marks (incarnation, seq, position)";
    insert_all(connection, insert, &marks, |(incarnation, seq, at)| {
        [
            (*incarnation).into(),
            seq.cast_signed().into(),
            (*at).into(),
        ]
    })?;
    Ok(())
}

/// Adds hashes of ids: incarnation, hash and position of the row.
pub fn insert_ids(connection: &Connection, mut ids: Vec<(i64, i64, i64)>) -> Result<()> {
    ids.sort_unstable();
    let insert = "INSERT OR IGNORE INTO ids (incarnation, hash, position)";
    insert_all(connection, insert, &ids, |(incarnation, hash, at)| {
        [(*incarnation).into(), (*hash).into(), (*at).into()]
    })?;
    Ok(())
}

/// Which entity of the index a row of the log belongs to, by hash and incarnation, with its aggregates. `None` when it
/// is not in the index.
pub fn row_of(connection: &Connection, row: &RowRef<'_>) -> Result<Option<(i64, i64, Set)>> {
    let hash = hash64(row.entity.as_bytes()).cast_signed();
    let mut statement = connection.prepare_cached(
        "SELECT incarnation, head, aggregates FROM entities
         WHERE hash = ?1 AND incarnation <= ?2 AND head >= ?2",
    )?;
    let mut found = statement.query((hash, row.position))?;
    while let Some(each) = found.next()? {
        // Another entity can have the same hash.
        let head: i64 = each.get(1)?;
        let name = name_at(connection, head)?;
        if name.as_deref() == Some(row.entity) {
            return Ok(Some((hash, each.get(0)?, each.get(2)?)));
        }
    }
    Ok(None)
}

/// Whose row stands at a position; `None` for an erased one, and where there is none.
pub fn name_at(connection: &Connection, position: i64) -> Result<Option<String>> {
    let name = connection
        .prepare_cached("SELECT entity FROM log WHERE position = ?1 AND typeof(entity) = 'text'")?
        .query_row([position], |row| row.get(0))
        .optional()?;
    Ok(name)
}

/// Adds to the aggregates of an entity.
pub fn add_aggregates(
    connection: &Connection,
    (hash, incarnation): (i64, i64),
    set: Set,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE entities SET aggregates = aggregates | ?3 WHERE hash = ?1 AND incarnation = ?2",
        )?
        .execute((hash, incarnation, set))
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
