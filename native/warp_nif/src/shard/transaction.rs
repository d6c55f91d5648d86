//! One group commit: commands carried out in one SQLite transaction, all or none.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection};

use super::clearing::{Clearing, Retyping};
use super::command::{Answer, Command, Stop, Submission};
use super::entities::{self, EntityInfo, Mark};
use super::erasing::{self, Remainder};
use super::ids::{Lookup, hashes};
use super::rows::{self, RowRef};
use super::shared::Shared;
use super::tail::{Change, Tail};
use super::{chain, clearing, snapshots};
use crate::error::{Error, Result};
use crate::event::Packed;

/// What a transaction will have done once it is committed.
pub enum Effect {
    /// A row was appended.
    Row(Change),
    /// An entity was erased.
    Forget {
        /// Its id.
        entity: String,
        /// The life that ended.
        incarnation: i64,
    },
}

/// A transaction under way. Nothing outside of it changes before the commit.
pub struct Transaction<'s> {
    connection: &'s Connection,
    shared: &'s Shared,
    insert: CachedStatement<'s>,
    /// The last position given.
    pub position: i64,
    /// Rows up to here are in the index on disk.
    flushed: i64,
    /// `None` for an entity erased in this transaction.
    entities: HashMap<String, Option<EntityInfo>>,
    ids: HashMap<(i64, u64), Vec<i64>>,
    /// What the tail is told once the transaction is committed, in order.
    pub effects: Vec<Effect>,
    /// What is left of entities that were too large to be erased in it.
    pub begun: Vec<Remainder>,
    budget: erasing::Budget,
    /// Whether payloads were cleared along with an append.
    pub cleared: bool,
    /// Whether payloads were cleared for someone who waits for their bytes to be gone.
    pub erased: bool,
}

impl<'s> Transaction<'s> {
    /// Of a transaction that was just begun on the connection.
    pub fn new(
        connection: &'s Connection,
        shared: &'s Shared,
        position: i64,
        flushed: i64,
    ) -> Result<Self> {
        Ok(Self {
            connection,
            shared,
            insert: rows::insert_statement(connection)?,
            position,
            flushed,
            entities: HashMap::new(),
            ids: HashMap::new(),
            effects: Vec::new(),
            begun: Vec::new(),
            budget: erasing::Budget::first(),
            cleared: false,
            erased: false,
        })
    }

    /// Carries out one command. The answer holds once the transaction is committed.
    pub fn run(&mut self, command: &Command) -> Result<Option<Answer>> {
        match command {
            Command::Append(submission) => self.append(submission).map(Some),
            Command::Erase { entity, .. } => self.erase(entity).map(Some),
            Command::Clear { events, types, .. } => {
                for (entity, seqs) in events {
                    if let Some(info) = self.info(entity)? {
                        self.clear(entity, &info, seqs, types)?;
                        self.erased = true;
                    }
                }
                Ok(Some(Answer::Cleared))
            }
            Command::CorrectTime {
                entity,
                seq,
                recorded_at,
                ..
            } => self.correct_time(entity, *seq, *recorded_at).map(Some),
            Command::Pass { .. } => Ok(Some(Answer::Passed)),
            Command::Snapshot {
                entity,
                incarnation,
                snapshot,
            } => {
                let info = self.info(entity)?;
                if info.is_some_and(|i| i.incarnation == *incarnation && i.seq >= snapshot.seq) {
                    snapshots::save(self.connection, *incarnation, snapshot)?;
                }
                Ok(None)
            }
        }
    }

    fn append(&mut self, submission: &Submission) -> Result<Answer> {
        let mut info = self.info(&submission.entity)?;
        let seq = info.as_ref().map_or(0, |info| info.seq);
        if seq != submission.base {
            return Ok(Answer::WrongBase(seq));
        }
        for (done, append) in submission.appends.iter().enumerate() {
            let packed: &Packed = &append.packed;
            if !packed.ids.is_empty()
                && let Some(why) = self.check_ids(&submission.entity, info.as_ref(), packed)?
            {
                return Ok(Answer::Stopped {
                    incarnation: info.as_ref().map_or(0, |info| info.incarnation),
                    appends: done,
                    why,
                });
            }
            let next = self.insert(
                &submission.entity,
                info.as_ref(),
                packed,
                append.recorded_at,
            )?;
            self.entities
                .insert(submission.entity.clone(), Some(next.clone()));
            info = Some(next);
        }
        if let (Some(info), false) = (&info, submission.clear.seqs.is_empty()) {
            let Clearing { seqs, types } = &submission.clear;
            self.clear(&submission.entity, info, seqs, types)?;
            self.cleared = true;
        }
        Ok(Answer::Stored {
            incarnation: info.map_or(0, |info| info.incarnation),
        })
    }

    fn insert(
        &mut self,
        entity: &str,
        info: Option<&EntityInfo>,
        packed: &Packed,
        recorded_at: i64,
    ) -> Result<EntityInfo> {
        let count = packed.count() as u64;
        let first_seq = info.map_or(0, |info| info.seq) + 1;
        let row = RowRef {
            position: self.position + 1,
            entity,
            aggregate: &packed.aggregate,
            seq: first_seq,
            count,
            recorded_at,
            prev: info.map_or(0, |info| info.head),
            data: &packed.data,
        };
        rows::insert(&mut self.insert, &row)?;
        self.position = row.position;
        let next = EntityInfo::advance(info, row.position, count);
        let ids = hashes(packed);
        for hash in &ids {
            let positions = self.ids.entry((next.incarnation, *hash)).or_default();
            positions.push(row.position);
        }
        self.effects.push(Effect::Row(Change {
            entity: entity.to_owned(),
            info: next.clone(),
            first_seq,
            bytes: packed.data.len(),
            ids,
            open: self.shared.kinds.leaves_open(entity, &packed.aggregate),
        }));
        Ok(next)
    }

    fn clear(&self, entity: &str, info: &EntityInfo, seqs: &[u64], types: &Retyping) -> Result<()> {
        let marks = self.marks(entity);
        clearing::clear(self.connection, entity, info, &marks, seqs, types)
    }

    fn correct_time(&mut self, entity: &str, seq: u64, recorded_at: i64) -> Result<Answer> {
        let Some(info) = self.info(entity)?.filter(|info| seq <= info.seq) else {
            return Ok(Answer::NoEvent);
        };
        let marks = self.marks(entity);
        let Some(row) = chain::row_of(self.connection, entity, &info, &marks, seq)? else {
            return Ok(Answer::NoEvent);
        };
        if rows::overwrite_time(self.connection, &row, recorded_at)? {
            return Ok(Answer::Corrected);
        }
        let why = "that time would take other bytes in the file than the one that is there";
        Ok(Answer::Failed(Error::Io(why.into())))
    }

    fn marks(&self, entity: &str) -> Vec<Mark> {
        let tail = self.shared.tail();
        tail.entity(entity)
            .map_or_else(Vec::new, |active| active.marks.clone())
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
        Lookup {
            connection: self.connection,
            entity,
            info,
            marks: &marks,
            positions: |hash| self.positions_of_id(info.incarnation, hash),
        }
        .check(packed)
    }

    fn positions_of_id(&self, incarnation: i64, hash: u64) -> Result<Vec<i64>> {
        let mut found = self
            .ids
            .get(&(incarnation, hash))
            .cloned()
            .unwrap_or_default();
        found.extend_from_slice(self.shared.tail().positions_of_id(incarnation, hash));
        // An entity younger than the last flush has no ids on disk.
        if incarnation != 0 && incarnation <= self.flushed {
            found.extend(entities::positions_of_id(
                self.connection,
                incarnation,
                hash,
            )?);
        }
        Ok(found)
    }

    fn erase(&mut self, entity: &str) -> Result<Answer> {
        if let Some(info) = self.info(entity)? {
            let left = erasing::begin(self.connection, entity, &info, &mut self.budget)?;
            self.begun.extend(left);
            self.entities.insert(entity.to_owned(), None);
            self.ids.retain(|(of, _), _| *of != info.incarnation);
            self.effects.push(Effect::Forget {
                entity: entity.to_owned(),
                incarnation: info.incarnation,
            });
        }
        Ok(Answer::Erased)
    }

    fn info(&self, entity: &str) -> Result<Option<EntityInfo>> {
        if let Some(staged) = self.entities.get(entity) {
            return Ok(staged.clone());
        }
        let known = self
            .shared
            .tail()
            .entity(entity)
            .map(|active| active.info.clone());
        if known.is_some() {
            return Ok(known);
        }
        let found = entities::find(self.connection, entity)?.map(|(info, _)| info);
        if let Some(info) = &found {
            self.shared.tail_mut().remember(entity, info.clone());
        }
        Ok(found)
    }
}

/// Brings the tail up to date with a committed transaction.
pub fn publish(tail: &mut Tail, effects: Vec<Effect>) {
    for effect in effects {
        match effect {
            Effect::Row(change) => tail.apply(change),
            Effect::Forget {
                entity,
                incarnation,
            } => tail.forget(&entity, incarnation),
        }
    }
}
