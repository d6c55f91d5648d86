//! What finds an entity's rows, gathered for one transaction and written in bulk: sorted, so that each
//! page of the file is changed once.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::Connection;

use crate::error::Result;
use crate::hash::hash64;
use crate::index::aggregates::{Names, Set};
use crate::index::entities::{self, EntityInfo, Mark};
use crate::index::open_table;
use crate::log::kinds::Changes;
use crate::tail::stretch::TailRow;

/// Changes of the index that are not in the file yet.
#[derive(Default)]
pub struct Index {
    /// By hash of the id and incarnation: with the aggregates of the rows that were noted.
    entities: BTreeMap<(i64, i64), (Arc<str>, EntityInfo, Set)>,
    /// The names of aggregates, once they were needed.
    names: Option<Names>,
    marks: Vec<(i64, u64, i64)>,
    ids: Vec<(i64, i64, i64)>,
}

impl Index {
    /// Notes a row. Gives a name that has none its number, in the transaction under way.
    pub fn row(&mut self, connection: &Connection, row: &TailRow) -> Result<()> {
        let incarnation = row.info.incarnation;
        let hash = hash64(row.entity.as_bytes()).cast_signed();
        let names = match &mut self.names {
            Some(names) => names,
            None => self.names.insert(Names::read(connection)?),
        };
        let set = names.set_of(connection, row.packed.aggregates())?;
        let key = (hash, incarnation);
        let (_, info, aggregates) = self
            .entities
            .entry(key)
            .or_insert_with(|| (Arc::clone(&row.entity), row.info.clone(), set));
        *info = row.info.clone();
        *aggregates |= set;
        if row.info.is_marked() {
            self.marks.push((incarnation, row.seq, row.info.head));
        }
        let each = row
            .ids
            .iter()
            .map(|id| (incarnation, id.cast_signed(), row.info.head));
        self.ids.extend(each);
        Ok(())
    }

    /// Where an entity's log ends, with marks that are not in the file; none says nothing about the file.
    pub fn entity(&self, entity: &str) -> Option<(EntityInfo, Vec<Mark>)> {
        let hash = hash64(entity.as_bytes()).cast_signed();
        let range = (hash, i64::MIN)..=(hash, i64::MAX);
        let mut found = self.entities.range(range).map(|(_, found)| found);
        let (_, info, _) = found.rfind(|(name, _, _)| name.as_ref() == entity)?;
        let own = self
            .marks
            .iter()
            .filter(|(of, _, _)| *of == info.incarnation);
        Some((info.clone(), own.map(|(_, seq, at)| (*seq, *at)).collect()))
    }

    /// Drops what is gathered of a life that is erased.
    pub fn forget(&mut self, incarnation: i64) {
        self.entities.retain(|(_, of), _| *of != incarnation);
        self.marks.retain(|(of, _, _)| *of != incarnation);
        self.ids.retain(|(of, _, _)| *of != incarnation);
    }

    /// Writes it all, in the transaction under way.
    pub fn write(self, connection: &Connection, changes: &Changes) -> Result<()> {
        let mut upsert = entities::upsert_statement(connection)?;
        for ((hash, _), (_, info, aggregates)) in &self.entities {
            entities::upsert(&mut upsert, *hash, info, *aggregates)?;
        }
        entities::insert_marks(connection, self.marks)?;
        entities::insert_ids(connection, self.ids)?;
        open_table::flush(connection, changes)?;
        Ok(())
    }
}
