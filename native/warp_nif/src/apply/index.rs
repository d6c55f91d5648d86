//! What finds an entity's rows, gathered for one transaction and written in bulk: sorted, so that each
//! page of the file is changed once.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::Connection;

use crate::error::Result;
use crate::hash::hash64;
use crate::index::entities::{self, EntityInfo, Mark};
use crate::index::open_table;
use crate::log::kinds::Changes;
use crate::tail::stretch::TailRow;

/// Changes of the index that are not in the file yet.
#[derive(Default)]
pub struct Index {
    /// By hash of the id and incarnation.
    entities: BTreeMap<(i64, i64), (Arc<str>, EntityInfo)>,
    marks: Vec<(i64, u64, i64)>,
    ids: Vec<(i64, i64, i64)>,
}

impl Index {
    /// Notes a row.
    pub fn row(&mut self, row: &TailRow) {
        let incarnation = row.info.incarnation;
        let hash = hash64(row.entity.as_bytes()).cast_signed();
        let entity = Arc::clone(&row.entity);
        self.entities
            .insert((hash, incarnation), (entity, row.info.clone()));
        if row.info.is_marked() {
            self.marks.push((incarnation, row.seq, row.info.head));
        }
        let each = row
            .ids
            .iter()
            .map(|id| (incarnation, id.cast_signed(), row.info.head));
        self.ids.extend(each);
    }

    /// Where an entity's log ends, with marks that are not in the file; none says nothing about the file.
    pub fn entity(&self, entity: &str) -> Option<(EntityInfo, Vec<Mark>)> {
        let hash = hash64(entity.as_bytes()).cast_signed();
        let range = (hash, i64::MIN)..=(hash, i64::MAX);
        let mut found = self.entities.range(range).map(|(_, found)| found);
        let (_, info) = found.rfind(|(name, _)| name.as_ref() == entity)?;
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
    pub fn write(mut self, connection: &Connection, changes: &Changes) -> Result<()> {
        for ((hash, _), (_, info)) in &self.entities {
            entities::upsert(connection, hash.cast_unsigned(), info)?;
        }
        self.marks.sort_unstable();
        let mut insert = connection
            .prepare_cached("INSERT INTO marks (incarnation, seq, position) VALUES (?1, ?2, ?3)")?;
        for (incarnation, seq, at) in self.marks {
            insert.execute((incarnation, seq.cast_signed(), at))?;
        }
        self.ids.sort_unstable();
        let mut insert = connection.prepare_cached(
            "INSERT OR IGNORE INTO ids (incarnation, hash, position) VALUES (?1, ?2, ?3)",
        )?;
        for id in self.ids {
            insert.execute(id)?;
        }
        open_table::flush(connection, changes)?;
        Ok(())
    }
}
