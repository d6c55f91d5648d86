//! Deciding what becomes of the commands of one commit: reads memory and files, and puts records into
//! the journal's buffer. Nothing that others see changes before the commit.

use std::cell::Cell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use rusqlite::Connection;

use crate::erase::clearing::Retyping;
use crate::error::{Error, Result};
use crate::event::Packed;
use crate::index::chain;
use crate::index::entities::{self, EntityInfo, Mark};
use crate::index::ids::Stop;
use crate::index::ids::{Lookup, hashes};
use crate::journal::{Journal, Notes, RowRef};
use crate::log::rows::{self, Log, Row};
use crate::shard::shared::Shared;
use crate::sync::relock;
use crate::tail::stretch::{Step, TailRow};
use crate::writer::command::{Answer, Submission};
use crate::writer::steps;

/// What one commit adds to one shard.
pub struct Staged {
    /// The shard.
    pub shared: Arc<Shared>,
    /// In order, from the first position that is not given yet.
    pub steps: Vec<Step>,
    first: i64,
    /// `None` for an entity erased in this commit.
    entities: HashMap<Arc<str>, Option<EntityInfo>>,
    ids: HashMap<(i64, u64), Vec<i64>>,
    /// Up to which position the view of the file has all, if one is open.
    viewed: Cell<i64>,
    /// Rows, events and bytes.
    pub written: (u64, u64, u64),
}

/// The shard's log as the commands that follow see it.
struct View<'a> {
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

    /// The appends of a submission. On an error nothing of it is staged.
    pub fn append<N: Notes>(
        &mut self,
        journal: &mut Journal<N>,
        submission: &Submission,
    ) -> Result<Answer> {
        let (entity, before) = self.entity(&submission.entity)?;
        let seq = before.as_ref().map_or(0, |info| info.seq);
        if seq != submission.base {
            return Ok(Answer::WrongBase(seq));
        }
        let (steps, written, records) = (self.steps.len(), self.written, journal.pending());
        let appended = self.append_all(journal, &entity, before.clone(), submission);
        if appended.is_err() {
            let first = self.first + steps as i64;
            self.steps.truncate(steps);
            self.written = written;
            self.ids.retain(|_, positions| {
                positions.retain(|at| *at < first);
                !positions.is_empty()
            });
            self.entities.insert(entity, before);
            journal.rewind(records);
        }
        appended
    }

    fn append_all<N: Notes>(
        &mut self,
        journal: &mut Journal<N>,
        entity: &Arc<str>,
        mut info: Option<EntityInfo>,
        submission: &Submission,
    ) -> Result<Answer> {
        for (done, append) in submission.appends.iter().enumerate() {
            let packed = &append.packed;
            let tied = append.tied.as_ref();
            if tied.is_some_and(|tied| tied.ticket().is_void()) {
                return Ok(Answer::Stopped {
                    incarnation: info.as_ref().map_or(0, |info| info.incarnation),
                    appends: done,
                    why: Stop::Void,
                });
            }
            if !packed.ids.is_empty()
                && let Some(why) = self.check_ids(entity, info.as_ref(), packed)?
            {
                return Ok(Answer::Stopped {
                    incarnation: info.as_ref().map_or(0, |info| info.incarnation),
                    appends: done,
                    why,
                });
            }
            let next = self.row(journal, entity, info.as_ref(), packed, append.recorded_at);
            info = Some(next);
        }
        if let (Some(info), Some(clear)) = (&info, &submission.clear) {
            self.clear_events(journal, entity, info, &clear.seqs, &clear.types);
        }
        Ok(Answer::Stored {
            incarnation: info.map_or(0, |info| info.incarnation),
        })
    }

    fn row<N: Notes>(
        &mut self,
        journal: &mut Journal<N>,
        entity: &Arc<str>,
        info: Option<&EntityInfo>,
        packed: &Arc<Packed>,
        recorded_at: i64,
    ) -> EntityInfo {
        let position = self.position() + 1;
        let count = packed.count() as u64;
        let next = EntityInfo::advance(info, position, count);
        let row = RowRef {
            position,
            entity,
            aggregate: &packed.aggregate,
            seq: info.map_or(0, |info| info.seq) + 1,
            count,
            recorded_at,
            prev: info.map_or(0, |info| info.head),
            data: &packed.data,
        };
        rows::assert_sound(&row);
        let checksum = journal.put_row(self.shared.number, &row);
        let ids = if packed.ids.is_empty() {
            Vec::new()
        } else {
            hashes(packed)
        };
        for hash in &ids {
            let positions = self.ids.entry((next.incarnation, *hash)).or_default();
            positions.push(position);
        }
        self.written.0 += 1;
        self.written.1 += count;
        self.written.2 += packed.data.len() as u64;
        self.steps.push(Step::Row(TailRow {
            entity: Arc::clone(entity),
            packed: Arc::clone(packed),
            seq: row.seq,
            count,
            recorded_at,
            prev: row.prev,
            checksum,
            info: next.clone(),
            ids,
            open: self.shared.kinds.leaves_open(entity, &packed.aggregate),
        }));
        self.entities.insert(Arc::clone(entity), Some(next.clone()));
        next
    }

    /// Erases an entity. Whether there was anything to erase.
    pub fn erase<N: Notes>(&mut self, journal: &mut Journal<N>, entity: &str) -> Result<bool> {
        let (entity, info) = self.entity(entity)?;
        let Some(info) = info else {
            return Ok(false);
        };
        let position = self.position() + 1;
        steps::put_erase(journal, self.shared.number, position, &entity);
        self.ids.retain(|(of, _), _| *of != info.incarnation);
        self.entities.insert(Arc::clone(&entity), None);
        self.steps.push(Step::Erase {
            entity,
            info: Some(info),
        });
        Ok(true)
    }

    /// Erases an entity whose log ends at `base`, and begins its log anew with a row, whose events have no ids.
    pub fn replace<N: Notes>(
        &mut self,
        journal: &mut Journal<N>,
        entity: &str,
        base: u64,
        packed: &Arc<Packed>,
        recorded_at: i64,
    ) -> Result<Answer> {
        let (entity, before) = self.entity(entity)?;
        let seq = before.map_or(0, |info| info.seq);
        if seq != base {
            return Ok(Answer::WrongBase(seq));
        }
        if !packed.ids.is_empty() {
            return Err(Error::internal("a log that begins anew with ids"));
        }
        self.erase(journal, &entity)?;
        let info = self.row(journal, &entity, None, packed, recorded_at);
        Ok(Answer::Stored {
            incarnation: info.incarnation,
        })
    }

    /// Clears payloads of an entity's events, if it has any.
    pub fn clear<N: Notes>(
        &mut self,
        journal: &mut Journal<N>,
        entity: &str,
        seqs: &[u64],
        types: &Arc<Retyping>,
    ) -> Result<()> {
        if let (entity, Some(info)) = self.entity(entity)? {
            self.clear_events(journal, &entity, &info, seqs, types);
        }
        Ok(())
    }

    fn clear_events<N: Notes>(
        &mut self,
        journal: &mut Journal<N>,
        entity: &Arc<str>,
        info: &EntityInfo,
        seqs: &[u64],
        types: &Arc<Retyping>,
    ) {
        let seqs: Vec<u64> = seqs.iter().copied().filter(|s| *s <= info.seq).collect();
        let position = self.position() + 1;
        steps::put_clear(journal, self.shared.number, position, entity, &seqs, types);
        self.steps.push(Step::Clear {
            entity: Arc::clone(entity),
            seqs,
            types: Arc::clone(types),
        });
    }

    /// Corrects the time of the row that holds an event: an answer if it cannot be done.
    pub fn correct_time<N: Notes>(
        &mut self,
        journal: &mut Journal<N>,
        entity: &str,
        seq: u64,
        recorded_at: i64,
    ) -> Result<Option<Answer>> {
        let (entity, info) = self.entity(entity)?;
        let Some(info) = info.filter(|info| seq <= info.seq) else {
            return Ok(Some(Answer::NoEvent));
        };
        let marks = self.marks(&entity);
        let found = self.look(|view| chain::row_of(view, &entity, &info, &marks, seq))?;
        let Some(row) = found else {
            return Ok(Some(Answer::NoEvent));
        };
        if !rows::takes_time(&row, recorded_at) {
            let why = "that time would take other bytes in the file than the one that is there";
            return Ok(Some(Answer::Failed(Error::Io(why.into()))));
        }
        let position = self.position() + 1;
        let shard = self.shared.number;
        steps::put_retime(journal, shard, position, &entity, seq, recorded_at);
        self.steps.push(Step::Retime {
            entity,
            seq,
            recorded_at,
        });
        Ok(None)
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
    fn look<T>(&self, look: impl FnOnce(&View<'_>) -> Result<T>) -> Result<T> {
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

    fn marks(&self, entity: &str) -> Vec<Mark> {
        let tail = self.shared.tail();
        let known = tail.entity(entity);
        known.map_or_else(Vec::new, |active| active.marks.clone())
    }

    fn check_ids(
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

/// What one commit adds to all shards, in the order in which they come.
#[derive(Default)]
pub struct Group {
    index: HashMap<u16, usize>,
    /// By shard.
    pub staged: Vec<Staged>,
}

impl Group {
    /// Lets all views of files go.
    pub fn end_views(&self) {
        for staged in &self.staged {
            staged.end_view();
        }
    }

    /// What is staged of a shard.
    pub fn of(&mut self, shared: &Arc<Shared>) -> Option<&mut Staged> {
        let index = match self.index.entry(shared.number) {
            Entry::Occupied(found) => *found.get(),
            Entry::Vacant(place) => {
                self.staged.push(Staged::new(Arc::clone(shared)));
                *place.insert(self.staged.len() - 1)
            }
        };
        self.staged.get_mut(index)
    }
}
