//! What one commit adds to one shard, and what the writer finds in it while it decides: in what is staged, in memory,
//! and in the file.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;

use crate::error::Result;
use crate::event::Packed;
use crate::index::entities::{self, EntityInfo, Mark};
use crate::index::ids::{Lookup, Stop};
use crate::log::rows::{self, Log, Row};
use crate::shard::shared::Shared;
use crate::sync::relock;
use crate::tail::stretch::Step;

/// What one commit adds to one shard.
pub struct Staged {
    /// The shard.
    pub shared: Arc<Shared>,
    /// In order, from the first position that is not given yet.
    pub steps: Vec<Step>,
    pub(super) first: i64,
    /// `None` for an entity erased in this commit.
    pub(super) entities: HashMap<Arc<str>, Option<EntityInfo>>,
    pub(super) ids: HashMap<(i64, u64), Vec<i64>>,
    /// Up to which position the view of the file has all, if one is open.
    viewed: Cell<i64>,
    /// Rows, events and bytes.
    pub written: (u64, u64, u64),
}

/// The shard's log as the commands that follow see it.
pub(super) struct View<'a> {
    connection: &'a Connection,
    staged: &'a Staged,
}

impl View<'_> {
    /// The file, in a view that has all up to this position, which memory may have let go. The looks of one
    /// commit share views: to begin and end one costs more than most looks.
    fn up_to(&self, applied: i64) -> Result<&Connection> {
        let is_open = !self.connection.is_autocommit();
        if is_open && self.staged.viewed.get() >= applied {
            return Ok(self.connection);
        }
        if is_open {
            end(self.connection)?;
        }
        self.connection.prepare_cached("BEGIN")?.execute([])?;
        self.staged.viewed.set(applied);
        Ok(self.connection)
    }
}

fn end(connection: &Connection) -> Result<()> {
    connection.prepare_cached("ROLLBACK")?.execute([])?;
    Ok(())
}

impl Log for View<'_> {
    fn at(&self, position: i64) -> Result<Option<Row>> {
        let index = usize::try_from(position - self.staged.first).ok();
        if let Some(Step::Row(row)) = index.and_then(|index| self.staged.steps.get(index)) {
            return Ok(Some(row.to_row()));
        }
        let (row, applied) = {
            let tail = self.staged.shared.tail();
            (tail.row(position), tail.applied())
        };
        match row {
            Some(row) => Ok(Some(row)),
            None => rows::at(self.up_to(applied)?, position),
        }
    }

    fn file(&self) -> &Connection {
        self.connection
    }
}

impl Staged {
    /// Nothing yet.
    pub fn new(shared: Arc<Shared>) -> Self {
        let first = shared.tail().position() + 1;
        Self {
            shared,
            steps: Vec::new(),
            first,
            entities: HashMap::new(),
            ids: HashMap::new(),
            viewed: Cell::new(0),
            written: (0, 0, 0),
        }
    }

    /// The last position given.
    pub fn position(&self) -> i64 {
        self.first + self.steps.len() as i64 - 1
    }

    /// Where an entity's log ends, with its name to be shared.
    pub fn entity(&self, entity: &str) -> Result<(Arc<str>, Option<EntityInfo>)> {
        if let Some((name, info)) = self.entities.get_key_value(entity) {
            return Ok((Arc::clone(name), info.clone()));
        }
        let applied = {
            let tail = self.shared.tail();
            if let (Some(name), Some(active)) = (tail.name(entity), tail.entity(entity)) {
                return Ok((Arc::clone(name), active.info.clone()));
            }
            tail.applied()
        };
        let name: Arc<str> = entity.into();
        let found = self.look(|view| entities::find(view.up_to(applied)?, entity))?;
        let found = found.map(|(info, _)| info);
        if let Some(info) = &found {
            let mut tail = self.shared.tail_mut();
            tail.remember(Arc::clone(&name), info.clone());
        }
        Ok((name, found))
    }

    /// Looks into memory and the file. A connection that met an error is not used again.
    pub(super) fn look<T>(&self, look: impl FnOnce(&View<'_>) -> Result<T>) -> Result<T> {
        let mut kept = relock(&self.shared.lookup);
        let connection = match kept.take() {
            Some(connection) => connection,
            None => crate::log::connection::open_reader(&self.shared.path, &self.shared.sums)?,
        };
        let found = look(&View {
            connection: &connection,
            staged: self,
        })?;
        *kept = Some(connection);
        Ok(found)
    }

    /// Lets the view of the file go, so that the WAL can be moved into the file and begin anew.
    pub fn end_view(&self) {
        let mut kept = relock(&self.shared.lookup);
        if let Some(connection) = &*kept
            && !connection.is_autocommit()
            && end(connection).is_err()
        {
            *kept = None;
        }
    }

    /// The marks of an entity that are in memory.
    pub(super) fn marks(&self, entity: &str) -> Vec<Mark> {
        let tail = self.shared.tail();
        let known = tail.entity(entity);
        known.map_or_else(Vec::new, |active| active.marks.clone())
    }

    /// Why an append whose events have ids is not taken, if it is not.
    pub(super) fn check_ids(
        &self,
        entity: &str,
        info: Option<&EntityInfo>,
        packed: &Packed,
    ) -> Result<Option<Stop>> {
        let nothing = EntityInfo {
            incarnation: 0,
            seq: 0,
            head: 0,
            rows: 0,
        };
        let info = info.unwrap_or(&nothing);
        let marks = self.marks(entity);
        self.look(|view| {
            Lookup {
                log: view,
                entity,
                info,
                marks: &marks,
                positions: |hash| self.positions_of_id(view, info.incarnation, hash),
            }
            .check(packed)
        })
    }

    fn positions_of_id(&self, view: &View<'_>, incarnation: i64, hash: u64) -> Result<Vec<i64>> {
        let mut found = self
            .ids
            .get(&(incarnation, hash))
            .cloned()
            .unwrap_or_default();
        let applied = {
            let tail = self.shared.tail();
            found.extend(tail.positions_of_id(incarnation, hash));
            tail.applied()
        };
        // An entity younger than what was applied has no ids in the file.
        if incarnation != 0 && incarnation <= applied {
            let file = view.up_to(applied)?;
            found.extend(entities::positions_of_id(file, incarnation, hash)?);
            found.sort_unstable();
            found.dedup();
        }
        Ok(found)
    }
}
