//! A shard's file, as the thread that applies has it: bringing it up to the journal, and what is done
//! between.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::apply::index::Index;
use crate::apply::wal::Wal;
use crate::erase::clearing;
use crate::erase::erasing::{self, Remainder};
use crate::error::{Error, Result};
use crate::files::Watch;
use crate::index::chain;
use crate::index::entities::{self, EntityInfo, Mark};
use crate::log::overwrite;
use crate::log::rows;
use crate::log::runs;
use crate::log::schema;
use crate::log::snapshots;
use crate::shard::background::{Background, Task};
use crate::shard::shared::Shared;
use crate::sqlite;
use crate::tail::stretch::{Step, Stretch};
use crate::writer::command::Command;

/// The connection that writes a shard's file, and what is known of it.
pub struct Store {
    connection: Connection,
    /// Up to here all is in the file.
    applied: i64,
    /// Up to here it outlives a loss of power.
    durable: i64,
    /// The run of the last row in the file.
    run: i64,
    /// How work that no caller waits for goes.
    pub background: Arc<Background>,
    /// The files, looked at before each transaction.
    pub watch: Watch,
    /// Why they are not what is open here any more, once that was found.
    lost: Option<String>,
    wal: Wal,
    /// What is still to be erased, the next first.
    erasing: VecDeque<Remainder>,
    /// Positions whose records in the journal say what was erased here.
    blank: Vec<i64>,
}

impl Store {
    /// Of an open file that has everything up to `applied`.
    pub fn new(mut connection: Connection, applied: i64) -> Result<Self> {
        Ok(Self {
            erasing: erasing::left(&connection)?.into(),
            run: runs::last(&connection)?,
            wal: Wal::watch(&mut connection)?,
            connection,
            applied,
            durable: 0,
            background: Arc::default(),
            watch: Watch::default(),
            lost: None,
            blank: Vec::new(),
        })
    }

    /// The connection that writes the file.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Up to which position all is in the file.
    pub fn applied(&self) -> i64 {
        self.applied
    }

    /// Up to which position the file outlives a loss of power.
    pub fn durable(&self) -> i64 {
        self.durable
    }

    /// Brings a stretch of the log, and snapshots, into the file, in one transaction. On an error nothing
    /// of it was kept. What went wrong with single steps, by position.
    pub fn apply(
        &mut self,
        stretch: Option<&Stretch>,
        kept: &[Command],
    ) -> Result<Vec<(i64, Error)>> {
        self.look()?;
        self.connection
            .prepare_cached("BEGIN IMMEDIATE")?
            .execute([])?;
        let done = self.apply_all(stretch, kept);
        let done = done.and_then(|applied| {
            #[cfg(feature = "fault")]
            if applied.erased || applied.cleared {
                crate::fault::at_commit()?;
            }
            self.connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(applied)
        });
        let Applied {
            broken,
            blank,
            begun,
            erased,
            cleared,
        } = match done {
            Ok(applied) => applied,
            Err(error) => {
                self.roll_back()?;
                return Err(error);
            }
        };
        #[cfg(feature = "fault")]
        if erased || cleared {
            crate::fault::after_commit();
        }
        if let Some(stretch) = stretch {
            self.applied = stretch.last();
            self.run = stretch.run;
        }
        self.wal.overwrote(erased, cleared);
        self.erasing.extend(begun);
        self.blank.extend(blank);
        Ok(broken)
    }

    fn apply_all(&self, stretch: Option<&Stretch>, kept: &[Command]) -> Result<Applied> {
        let mut applied = Applied::default();
        let mut index = Index::default();
        if let Some(stretch) = stretch {
            let mut budget = erasing::Budget::first();
            let mut insert = rows::insert_statement(&self.connection)?;
            for (step, position) in stretch.steps.iter().zip(stretch.first..) {
                if let Step::Row(row) = step {
                    rows::insert(&mut insert, &row.borrow(), row.checksum)?;
                    index.row(row);
                    continue;
                }
                self.connection.execute_batch("SAVEPOINT step")?;
                match self.apply_step(step, &mut index, &mut budget, &mut applied) {
                    Ok(()) => self.connection.execute_batch("RELEASE step")?,
                    // One entity's broken rows must not keep the others' events from the file.
                    Err(error @ (Error::Corrupt(_) | Error::Internal(_))) => {
                        self.connection
                            .execute_batch("ROLLBACK TO step; RELEASE step")?;
                        if let Step::Erase {
                            entity,
                            info: Some(info),
                        } = step
                        {
                            let left = erasing::put_off(&self.connection, entity, info)?;
                            applied.begun.push(left);
                        }
                        applied.broken.push((position, error));
                    }
                    Err(error) => return Err(error),
                }
                applied.blank.push(position);
            }
            if stretch.run != self.run {
                runs::begin(&self.connection, stretch.first, stretch.run)?;
            }
        }
        for snapshot in kept {
            if let Command::Snapshot {
                entity,
                incarnation,
                snapshot,
            } = snapshot
            {
                let info = self.entity(entity, &index);
                // An entity whose rows are broken needs no snapshot.
                let info = info.unwrap_or(None).map(|(info, _)| info);
                if info.is_some_and(|i| i.incarnation == *incarnation && i.seq >= snapshot.seq) {
                    snapshots::save(&self.connection, *incarnation, snapshot)?;
                }
            }
        }
        if let Some(stretch) = stretch {
            index.write(&self.connection, stretch.changes())?;
            schema::set_meta(&self.connection, "flushed", stretch.last())?;
            let is_row = |step: &Step| matches!(step, Step::Row(_));
            if let Some(index) = stretch.steps.iter().rposition(is_row) {
                let last = stretch.first + index as i64;
                schema::set_meta(&self.connection, "last_row", last)?;
            }
        }
        Ok(applied)
    }

    fn apply_step(
        &self,
        step: &Step,
        index: &mut Index,
        budget: &mut erasing::Budget,
        applied: &mut Applied,
    ) -> Result<()> {
        match step {
            Step::Row(_) => Ok(()),
            Step::Erase { entity, info } => {
                let Some(info) = info else {
                    return Ok(());
                };
                index.forget(info.incarnation);
                applied.erased = true;
                let blank = &mut applied.blank;
                let left = erasing::begin(&self.connection, entity, info, budget, blank)?;
                applied.begun.extend(left);
                Ok(())
            }
            Step::Clear {
                entity,
                seqs,
                types,
            } => {
                applied.cleared = true;
                if let Some((info, marks)) = self.entity(entity, index)? {
                    let cleared =
                        clearing::clear(&self.connection, entity, &info, &marks, seqs, types)?;
                    applied.blank.extend(cleared);
                }
                Ok(())
            }
            Step::Retime {
                entity,
                seq,
                recorded_at,
            } => {
                if let Some((info, marks)) = self.entity(entity, index)?
                    && let Some(row) = chain::row_of(&self.connection, entity, &info, &marks, *seq)?
                {
                    overwrite::time(&self.connection, &row, *recorded_at)?;
                }
                Ok(())
            }
        }
    }

    /// Where an entity's log ends in the transaction under way.
    fn entity(&self, entity: &str, index: &Index) -> Result<Option<(EntityInfo, Vec<Mark>)>> {
        if let Some(found) = index.entity(entity) {
            return Ok(Some(found));
        }
        let found = entities::find(&self.connection, entity)?;
        Ok(found.map(|(info, _)| (info, Vec::new())))
    }

    fn roll_back(&self) -> Result<()> {
        // SQLite has rolled back by itself after some errors.
        if !self.connection.is_autocommit() {
            self.connection.prepare_cached("ROLLBACK")?.execute([])?;
        }
        Ok(())
    }

    /// Keeps the WAL small and, when someone waits for that or nothing is left to be erased, free
    /// of what was erased. Never waits.
    pub fn tend_wal(&mut self, shared: &Shared, someone_waits: bool) -> Result<()> {
        let empty = if someone_waits {
            self.wal.holds_any()
        } else {
            self.wal.holds_erased() && self.erasing.is_empty()
        };
        let tended = self.wal.tend(&self.connection, &shared.gate, empty);
        if matches!(tended, Ok(true)) {
            self.durable = self.applied;
        }
        match &tended {
            Err(_) if empty => self.background.note(Task::EmptyWal, &tended),
            Err(_) => self.background.note(Task::Checkpoint, &tended),
            // The work may only have been put off, so a failure is over when its effect is.
            Ok(_) => {
                if !self.wal.holds_erased() {
                    self.background.note(Task::EmptyWal, &tended);
                }
                if !self.wal.has_failed() {
                    self.background.note(Task::Checkpoint, &tended);
                }
            }
        }
        tended.map(drop)
    }

    /// Moves the WAL into the file, synced, as far as that can be done beside reads: so that the journal
    /// need not keep what is in it.
    pub fn make_durable(&mut self) -> Result<()> {
        let moved = sqlite::checkpoint_all(&self.connection);
        // What other programs' reads hold back is told where the WAL is tended.
        if moved.is_err() {
            self.background.note(Task::Checkpoint, &moved);
        } else if matches!(moved, Ok(true)) {
            self.durable = self.applied;
        }
        moved.map(drop)
    }

    /// What the WAL holds, and when to tend it though nothing is applied.
    pub fn wal(&mut self) -> &mut Wal {
        &mut self.wal
    }

    /// Before closing: empties the WAL, which makes all durable. What fails is done at the next start.
    pub fn settle(&mut self, patience: Duration) -> Result<()> {
        let emptied = self.wal.empty_all(&self.connection, patience);
        if emptied.is_ok() {
            self.durable = self.applied;
        }
        self.background.note(Task::EmptyWal, &emptied);
        emptied
    }

    /// The positions whose records in the journal are to be blanked, once what they say is erased here.
    pub fn blank(&mut self) -> &mut Vec<i64> {
        &mut self.blank
    }

    /// Looks whether the files are still in their place: the bytes of the file and its WAL. Once
    /// they were not, always the same error: what is open here is of no use any more.
    pub fn look(&mut self) -> Result<u64> {
        if let Some(lost) = &self.lost {
            return Err(Error::Io(lost.as_str().into()));
        }
        self.watch.check().map_err(|lost| {
            self.lost = Some(lost.clone());
            Error::Io(lost.into())
        })
    }

    /// Whether `look` has found that the files are not in their place any more.
    pub fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Closes files of which some are not in their place any more. What was applied is moved into the
    /// database's file first. What became of it, in a sentence.
    pub fn rescue(self, path: &Path) -> String {
        let lost = self.lost.clone().unwrap_or_default();
        let moved = sqlite::checkpoint(&self.connection, "TRUNCATE");
        sqlite::spare_foreign_wal(&self.connection, &self.watch, path);
        let became = match moved {
            Ok(true) if self.watch.is_ours_or_gone(path) => {
                "All that was committed is in the database's file or in the journal".into()
            }
            Ok(true) => {
                "All that was committed is in the file that was here before, or in the journal"
                    .into()
            }
            Ok(false) => {
                "What was committed last could not be moved into the database's file: another \
                      program is reading it. It is in the journal"
                    .into()
            }
            Err(error) => format!(
                "What was committed last could not be moved into the database's file: {error}. It \
                 is in the journal"
            ),
        };
        format!("{lost}. {became}")
    }

    /// Of whom `erase_piece` erases next: the hash of the entity's id.
    pub fn erases_next(&self) -> Option<i64> {
        self.erasing.front().map(|left| left.hash)
    }

    /// Whether something is left of an entity whose id has this hash.
    pub fn is_erasing(&self, hash: i64) -> bool {
        self.erasing.iter().any(|left| left.hash == hash)
    }

    /// Erases one piece of what is left to be erased. On an error nothing of it was kept, and the
    /// next entity's turn comes first.
    pub fn erase_piece(&mut self) -> Result<()> {
        let Some(left) = self.erasing.pop_front() else {
            return Ok(());
        };
        let erased = self.commit_piece(&left);
        self.background.note(Task::Erase, &erased);
        match erased {
            Ok(None) => {}
            Ok(Some(rest)) => self.erasing.push_front(rest),
            Err(error) => {
                self.erasing.push_back(left);
                return Err(error);
            }
        }
        self.wal.overwrote(true, false);
        Ok(())
    }

    fn commit_piece(&mut self, left: &Remainder) -> Result<Option<Remainder>> {
        self.look()?;
        self.connection
            .prepare_cached("BEGIN IMMEDIATE")?
            .execute([])?;
        let mut blank = Vec::new();
        let rest = erasing::go_on(&self.connection, left, &mut blank);
        let rest = rest.and_then(|rest| {
            #[cfg(feature = "fault")]
            crate::fault::at_commit()?;
            self.connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(rest)
        });
        if rest.is_err() {
            self.roll_back()?;
            return rest;
        }
        #[cfg(feature = "fault")]
        crate::fault::after_commit();
        self.blank.extend(blank);
        rest
    }
}

/// What applying a stretch has done.
#[derive(Default)]
struct Applied {
    broken: Vec<(i64, Error)>,
    blank: Vec<i64>,
    begun: Vec<Remainder>,
    erased: bool,
    cleared: bool,
}
