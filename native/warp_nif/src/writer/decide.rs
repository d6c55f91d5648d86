//! Deciding what becomes of the commands of one commit: reads memory and files, and puts records into
//! the journal's buffer. Nothing that others see changes before the commit.

use std::sync::Arc;

use crate::erase::clearing::Retyping;
use crate::error::{Error, Result};
use crate::event::{ImportRow, Packed};
use crate::index::chain;
use crate::index::entities::EntityInfo;
use crate::index::ids::Stop;
use crate::index::ids::hashes;
use crate::journal::{Journal, Notes, RowRef};
use crate::log::rows;
use crate::tail::stretch::{Step, TailRow};
use crate::writer::command::{Answer, Submission};
use crate::writer::staged::Staged;
use crate::writer::steps;

impl Staged {
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

    /// The rows of an import, whose ids need not be looked up: the entity has no events.
    pub fn import<N: Notes>(
        &mut self,
        journal: &mut Journal<N>,
        entity: &str,
        rows: &[ImportRow],
    ) -> Result<Answer> {
        let (entity, mut info) = self.entity(entity)?;
        if let Some(info) = info {
            return Ok(Answer::WrongBase(info.seq));
        }
        for row in rows {
            let next = self.row(
                journal,
                &entity,
                info.as_ref(),
                &row.packed,
                row.recorded_at,
            );
            info = Some(next);
        }
        Ok(Answer::Stored {
            incarnation: info.map_or(0, |info| info.incarnation),
        })
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
}
