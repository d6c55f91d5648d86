//! Erasing an entity: from what finds it at once, from the log piece by piece.
//!
//! The first transaction makes the entity invisible, and overwrites its last rows. Of a small entity
//! that is all. For a larger one it leaves a row in the table `erasing`, which says from where the
//! chain is still to be overwritten. Pieces follow, each in a transaction of its own between the
//! commits of others: rows from the last to the first, then marks, ids and snapshots. After a crash
//! they go on from that row.
//!
//! NOTE: the row at the head goes first. A reader that found the entity in memory before it was
//! erased looks at that row, in whatever later view of the file it has, and knows.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::hash::hash64;
use crate::index::entities::EntityInfo;
use crate::index::open_table;
use crate::journal::RowRef;
use crate::log::edits;
use crate::log::keys;
use crate::log::overwrite;
use crate::log::rows::{self, Row};
use crate::log::schema;
use crate::log::snapshots;

/// How much of all the entities that one transaction erases is overwritten in it at once.
const FIRST_ROWS: usize = if cfg!(test) { 4 } else { 2000 };
const FIRST_BYTES: usize = 4 * 1024 * 1024;
/// How much one piece overwrites.
const PIECE_ROWS: usize = if cfg!(test) { 3 } else { 2000 };
const PIECE_BYTES: usize = 1024 * 1024;
const PIECE_TIME: Duration = Duration::from_millis(5);
/// How many rows of an index one statement deletes.
const INDEX_ROWS: i64 = if cfg!(test) { 1 } else { 256 };

/// What is still to be erased of an entity that nobody finds any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remainder {
    /// Of the life that is being erased.
    pub incarnation: i64,
    /// Of its id.
    pub hash: i64,
    /// The last row that is left of its chain; 0: none is.
    pub position: i64,
}

/// How much more may be erased in one transaction.
pub struct Budget {
    rows: usize,
    bytes: usize,
    until: Option<Instant>,
}

impl Budget {
    /// For all entities that are erased in a transaction with others' appends.
    pub fn first() -> Self {
        Self {
            rows: FIRST_ROWS,
            bytes: FIRST_BYTES,
            until: None,
        }
    }

    fn piece() -> Self {
        Self {
            rows: PIECE_ROWS,
            bytes: PIECE_BYTES,
            until: Some(Instant::now() + PIECE_TIME),
        }
    }

    fn spend(&mut self, rows: usize, bytes: usize) {
        self.rows = self.rows.saturating_sub(rows);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    fn is_spent(&self) -> bool {
        let is_late = |until| Instant::now() >= until;
        self.rows == 0 || self.bytes == 0 || self.until.is_some_and(is_late)
    }
}

/// Makes an entity invisible, in the transaction under way, and erases what the budget allows: its keys, if it has any,
/// at once. `at` is the position of the erasure. Adds the positions of the rows that it has overwritten.
pub fn begin(
    connection: &Connection,
    (at, entity): (i64, &str),
    info: &EntityInfo,
    budget: &mut Budget,
    erased: &mut Vec<i64>,
) -> Result<Option<Remainder>> {
    let mut left = Remainder {
        incarnation: info.incarnation,
        hash: hash64(entity.as_bytes()).cast_signed(),
        position: info.head,
    };
    hide(connection, at, &left)?;
    if left.erase(connection, budget, erased)? {
        return Ok(None);
    }
    note(connection, &left)?;
    Ok(Some(left))
}

fn hide(connection: &Connection, at: i64, left: &Remainder) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM entities WHERE hash = ?1 AND incarnation = ?2")?
        .execute((left.hash, left.incarnation))?;
    open_table::forget(connection, left.incarnation)?;
    if edits::note(connection, at, edits::What::Erased, left.incarnation)? {
        keys::erase(connection, left.incarnation)?;
    }
    Ok(())
}

fn note(connection: &Connection, left: &Remainder) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO erasing (incarnation, hash, position) VALUES (?1, ?2, ?3)")?
        .execute((left.incarnation, left.hash, left.position))?;
    Ok(())
}

/// Makes an entity invisible whose rows cannot be read, and erases its keys, in the transaction under way: it is tried
/// to erase the rows again and again.
pub fn put_off(
    connection: &Connection,
    (at, entity): (i64, &str),
    info: &EntityInfo,
) -> Result<Remainder> {
    let left = Remainder {
        incarnation: info.incarnation,
        hash: hash64(entity.as_bytes()).cast_signed(),
        position: info.head,
    };
    hide(connection, at, &left)?;
    note(connection, &left)?;
    Ok(left)
}

/// Erases one piece more, in the transaction under way: what is left then. Adds the positions of its
/// rows.
pub fn go_on(
    connection: &Connection,
    left: &Remainder,
    erased: &mut Vec<i64>,
) -> Result<Option<Remainder>> {
    let mut left = left.clone();
    if left.erase(connection, &mut Budget::piece(), erased)? {
        connection
            .prepare_cached("DELETE FROM erasing WHERE incarnation = ?1")?
            .execute([left.incarnation])?;
        return Ok(None);
    }
    connection
        .prepare_cached("UPDATE erasing SET position = ?2 WHERE incarnation = ?1")?
        .execute((left.incarnation, left.position))?;
    Ok(Some(left))
}

/// All that is still to be erased.
pub fn left(connection: &Connection) -> Result<Vec<Remainder>> {
    let mut statement =
        connection.prepare_cached("SELECT incarnation, hash, position FROM erasing")?;
    let found = statement.query_map([], |row| {
        Ok(Remainder {
            incarnation: row.get(0)?,
            hash: row.get(1)?,
            position: row.get(2)?,
        })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Which rows behind `position` are still to be erased: they are not to be taken for new ones.
pub fn behind(connection: &Connection, position: i64) -> Result<HashSet<i64>> {
    let mut found = HashSet::new();
    for mut left in left(connection)? {
        while left.position > position {
            found.insert(left.position);
            left.position = left.row(connection)?.prev;
        }
    }
    Ok(found)
}

/// Rows that whoever follows the log does not see any more, though they stand in it still.
pub struct Hidden(Vec<(Remainder, Option<String>)>);

impl Hidden {
    /// Those of this view of the file.
    pub fn read(connection: &Connection) -> Result<Self> {
        let mut hidden = Vec::new();
        for left in left(connection)?
            .into_iter()
            .filter(|left| left.position > 0)
        {
            let name = match left.row(connection) {
                Ok(row) => Some(row.entity),
                // The row that has the id is broken, so the hash has to do.
                Err(Error::Corrupt(_)) => None,
                Err(error) => return Err(error),
            };
            hidden.push((left, name));
        }
        Ok(Self(hidden))
    }

    /// Whether this row is one of them.
    pub fn has(&self, row: &RowRef<'_>) -> bool {
        self.0.iter().any(|(left, name)| {
            (left.incarnation..=left.position).contains(&row.position)
                && match name {
                    Some(name) => *name == row.entity,
                    None => hash64(row.entity.as_bytes()).cast_signed() == left.hash,
                }
        })
    }
}

impl Remainder {
    fn row(&self, connection: &Connection) -> Result<Row> {
        rows::at(connection, self.position)?
            .filter(|row| hash64(row.entity.as_bytes()).cast_signed() == self.hash)
            .ok_or_else(|| rows::broken(self.position, "not of the entity that is being erased"))
    }

    /// Erases one row at least. Whether nothing is left.
    fn erase(
        &mut self,
        connection: &Connection,
        budget: &mut Budget,
        positions: &mut Vec<i64>,
    ) -> Result<bool> {
        let mut erased = 0;
        while self.position != 0 {
            let row = self.row(connection)?;
            overwrite::erase(connection, self.position)?;
            positions.push(self.position);
            let bytes = row.data.len() + row.entity.len();
            budget.spend(1, bytes);
            erased += bytes;
            self.position = row.prev;
            if budget.is_spent() {
                break;
            }
        }
        if erased > 0 {
            let before: i64 = schema::meta(connection, "erased_bytes")?;
            let erased = i64::try_from(erased).unwrap_or(i64::MAX);
            schema::set_meta(connection, "erased_bytes", before.saturating_add(erased))?;
        }
        if self.position != 0 {
            return Ok(false);
        }
        for sql in [
            "DELETE FROM marks WHERE incarnation = ?1 AND seq IN
               (SELECT seq FROM marks WHERE incarnation = ?1 LIMIT ?2)",
            "DELETE FROM ids WHERE (incarnation, hash, position) IN
               (SELECT incarnation, hash, position FROM ids WHERE incarnation = ?1 LIMIT ?2)",
        ] {
            let mut delete = connection.prepare_cached(sql)?;
            loop {
                let deleted = delete.execute((self.incarnation, INDEX_ROWS))?;
                if deleted == 0 {
                    break;
                }
                budget.spend(deleted, 0);
                if budget.is_spent() {
                    return Ok(false);
                }
            }
        }
        while let Some(bytes) = snapshots::erase_one(connection, self.incarnation)? {
            budget.spend(1, bytes);
            if budget.is_spent() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
