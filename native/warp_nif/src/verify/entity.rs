//! Checking one entity: its chain of rows, back from the last one, and what finds them.

use rusqlite::Connection;

use super::seen::Seen;
use crate::error::Result;
use crate::hash::hash64;
use crate::index::aggregates::{Names, Set, bit};
use crate::index::entities::{EntityInfo, MARK_EVERY};
use crate::log::kinds::Kinds;
use crate::log::rows::{self, Row, broken};
use crate::log::snapshots;
use crate::tail::found_row::Events;

/// A walk along the rows of an entity, which may be so many that it takes several views.
pub struct Walk {
    /// The hash of its id.
    pub hash: i64,
    info: EntityInfo,
    entity: String,
    is_open: Option<bool>,
    /// The row that comes next.
    next: Option<Row>,
    /// How many rows there are up to it.
    number: u64,
    /// The last seq that it has to have.
    last_seq: u64,
    ids: i64,
    /// The aggregates of the rows that were taken.
    aggregates: Set,
}

/// What is known of the entity that comes next in the index behind one, by hash and incarnation.
pub fn next(connection: &Connection, after: (i64, i64)) -> Result<Option<(i64, EntityInfo)>> {
    let mut statement = connection.prepare_cached(
        "SELECT hash, incarnation, seq, head, rows FROM entities
         WHERE (hash, incarnation) > (?1, ?2) ORDER BY hash, incarnation LIMIT 1",
    )?;
    let mut found = statement.query(after)?;
    let Some(row) = found.next()? else {
        return Ok(None);
    };
    let info = EntityInfo {
        incarnation: row.get(1)?,
        seq: row.get::<_, i64>(2)?.cast_unsigned(),
        head: row.get(3)?,
        rows: row.get::<_, i64>(4)?.cast_unsigned(),
    };
    Ok(Some((row.get(0)?, info)))
}

impl Walk {
    /// Begins at the last row of an entity.
    pub fn begin(
        connection: &Connection,
        hash: i64,
        info: EntityInfo,
        kinds: &Kinds,
    ) -> Result<Self> {
        let head = rows::at(connection, info.head)?
            .ok_or_else(|| broken(info.head, "erased, and still the last of an entity"))?;
        if hash64(head.entity.as_bytes()).cast_signed() != hash {
            return Err(broken(info.head, "not the last of its entity"));
        }
        let head = info.check(head)?;
        Ok(Self {
            hash,
            entity: head.entity.clone(),
            is_open: kinds.leaves_open(&head.entity, &head.aggregate),
            next: Some(head),
            number: info.rows,
            last_seq: info.seq,
            ids: 0,
            aggregates: 0,
            info,
        })
    }

    /// Takes one row: how many bytes it has. `None` at the end. `names` are those of the file, if it has such.
    pub fn step(
        &mut self,
        connection: &Connection,
        names: Option<&Names>,
        seen: &mut Seen,
    ) -> Result<Option<usize>> {
        let Some(row) = self.next.take() else {
            return Ok(None);
        };
        self.check(connection, names, &row)?;
        seen.add(row.position);
        if row.prev != 0 {
            self.number -= 1;
            self.last_seq = row.seq - 1;
            self.next = rows::at(connection, row.prev)?;
            if self.next.is_none() && self.is_there(connection)? {
                return Err(broken(row.prev, "erased, and its entity is not"));
            }
        }
        Ok(Some(row.data.len()))
    }

    fn check(&mut self, connection: &Connection, names: Option<&Names>, row: &Row) -> Result<()> {
        let at = row.position;
        if row.entity != self.entity {
            return Err(broken(at, "not of its entity"));
        }
        if row.last_seq() != self.last_seq {
            return Err(broken(at, "out of sequence"));
        }
        if (row.prev == 0) != (self.number == 1) || self.number == 0 {
            return Err(broken(
                at,
                "the index has another number of rows of its entity",
            ));
        }
        if row.prev == 0 && at != self.info.incarnation {
            return Err(broken(at, "the index has another first row of its entity"));
        }
        let events = Events::of(&row.borrow())?;
        if events.count as u64 != row.count {
            return Err(broken(at, "it has another number of events than it says"));
        }
        if let Some(names) = names {
            for name in events.aggregates(row) {
                let number = names.number(name);
                let number =
                    number.ok_or_else(|| broken(at, "its aggregate is not in the index"))?;
                self.aggregates |= bit(number);
            }
        }
        let mut in_index = connection.prepare_cached(
            "SELECT 1 FROM ids WHERE incarnation = ?1 AND hash = ?2 AND position = ?3",
        )?;
        for id in &events.ids {
            if !in_index.exists((self.info.incarnation, id.cast_signed(), at))? {
                return Err(broken(at, "an id of its events is not in the index"));
            }
        }
        self.ids += events.ids.len() as i64;
        if self.number.is_multiple_of(MARK_EVERY) {
            let mut in_index = connection.prepare_cached(
                "SELECT 1 FROM marks WHERE incarnation = ?1 AND seq = ?2 AND position = ?3",
            )?;
            if !in_index.exists((self.info.incarnation, row.seq.cast_signed(), at))? {
                return Err(broken(at, "it is not marked in the index"));
            }
        }
        Ok(())
    }

    /// Looks at what is left when all rows were taken: that the index has nothing else of the entity, and
    /// its snapshots, of which it gives the number.
    pub fn end(&self, connection: &Connection, names: Option<&Names>) -> Result<u64> {
        if !self.is_there(connection)? {
            return Ok(0);
        }
        let EntityInfo {
            incarnation,
            head,
            rows,
            ..
        } = self.info;
        let counted = |sql: &str| -> Result<i64> {
            let mut statement = connection.prepare_cached(sql)?;
            Ok(statement.query_row((incarnation, head), |row| row.get(0))?)
        };
        let marks = "SELECT count(*) FROM marks WHERE incarnation = ?1 AND position <= ?2";
        let ids = "SELECT count(*) FROM ids WHERE incarnation = ?1 AND position <= ?2";
        if counted(marks)? != (rows / MARK_EVERY).cast_signed() {
            return Err(broken(
                head,
                "the index has other marks of its entity than the log",
            ));
        }
        if counted(ids)? != self.ids {
            return Err(broken(
                head,
                "the index has other ids of its entity than the log",
            ));
        }
        let is_last = connection
            .prepare_cached(
                "SELECT 1 FROM entities WHERE hash = ?1 AND incarnation = ?2 AND head = ?3",
            )?
            .exists((self.hash, incarnation, head))?;
        let is_listed = |table: &str| {
            connection
                .prepare_cached(&format!("SELECT 1 FROM {table} WHERE incarnation = ?1"))?
                .exists([incarnation])
        };
        if let Some(is_open) = self.is_open
            && is_last
            && (is_listed("open_sagas")? != is_open
                || is_listed("closed_sagas")? != (!is_open && rows > 1))
        {
            let what = "the tables of open and closed entities say something else";
            return Err(broken(head, what));
        }
        if names.is_some() && is_last {
            let mut says = connection.prepare_cached(
                "SELECT aggregates FROM entities WHERE hash = ?1 AND incarnation = ?2",
            )?;
            let set: Set = says.query_row((self.hash, incarnation), |row| row.get(0))?;
            if set != self.aggregates {
                let what = "the index has other aggregates of its entity than the log";
                return Err(broken(head, what));
            }
        }
        snapshots::check(connection, incarnation)
    }

    /// Whether the entity has not been erased meanwhile.
    fn is_there(&self, connection: &Connection) -> Result<bool> {
        let mut statement = connection
            .prepare_cached("SELECT 1 FROM entities WHERE hash = ?1 AND incarnation = ?2")?;
        Ok(statement.exists((self.hash, self.info.incarnation))?)
    }
}
