//! Carrying out the steps of one stretch, and keeping snapshots, in the transaction under way.

use rusqlite::Connection;

use super::index::Index;
use crate::erase::clearing;
use crate::erase::erasing::{self, Budget, Remainder};
use crate::error::{Error, Result};
use crate::index::chain;
use crate::index::entities::{self, EntityInfo, Mark};
use crate::log::edits;
use crate::log::keys;
use crate::log::kinds::Kinds;
use crate::log::overwrite;
use crate::log::rows;
use crate::log::runs;
use crate::log::schema;
use crate::log::snapshots;
use crate::tail::stretch::{Step, Stretch};
use crate::writer::command::Command;

/// What was carried out.
#[derive(Default)]
pub struct Done {
    /// What went wrong with single steps, by position.
    pub broken: Vec<(i64, Error)>,
    /// Positions whose records in the journal say what was erased here.
    pub blank: Vec<i64>,
    /// What is left of the entities that are being erased.
    pub begun: Vec<Remainder>,
    /// Whether an entity was erased.
    pub erased: bool,
    /// Whether payloads were cleared.
    pub cleared: bool,
}

/// Carries out the steps of a stretch, and keeps snapshots. `run` is that of the last row in the file.
pub fn carry_out(
    connection: &Connection,
    kinds: &Kinds,
    run: i64,
    stretch: Option<&Stretch>,
    kept: &[Command],
) -> Result<Done> {
    let mut transaction = Transaction {
        connection,
        kinds,
        index: Index::default(),
        budget: Budget::first(),
        done: Done::default(),
    };
    if let Some(stretch) = stretch {
        transaction.steps(stretch)?;
        if stretch.run != run {
            runs::begin(connection, stretch.first, stretch.run)?;
        }
    }
    for snapshot in kept {
        transaction.keep(snapshot)?;
    }
    let Transaction { index, done, .. } = transaction;
    if let Some(stretch) = stretch {
        index.write(connection, stretch.changes())?;
        schema::set_meta(connection, "flushed", stretch.last())?;
        let is_row = |step: &Step| matches!(step, Step::Row(_));
        if let Some(index) = stretch.steps.iter().rposition(is_row) {
            let last = stretch.first + index as i64;
            schema::set_meta(connection, "last_row", last)?;
        }
    }
    Ok(done)
}

/// The transaction under way.
struct Transaction<'c> {
    connection: &'c Connection,
    kinds: &'c Kinds,
    index: Index,
    budget: Budget,
    done: Done,
}

impl Transaction<'_> {
    fn steps(&mut self, stretch: &Stretch) -> Result<()> {
        let mut insert = rows::insert_statement(self.connection)?;
        for (step, position) in stretch.steps.iter().zip(stretch.first..) {
            if let Step::Row(row) = step {
                rows::insert(&mut insert, &row.borrow(), row.checksum)?;
                self.index.row(self.connection, row)?;
                continue;
            }
            self.connection.execute_batch("SAVEPOINT step")?;
            match self.step(position, step) {
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
                        let left = erasing::put_off(self.connection, (position, entity), info)?;
                        self.done.begun.push(left);
                    }
                    self.done.broken.push((position, error));
                }
                Err(error) => return Err(error),
            }
            self.done.blank.push(position);
        }
        Ok(())
    }

    fn step(&mut self, position: i64, step: &Step) -> Result<()> {
        match step {
            Step::Row(_) => Ok(()),
            Step::Erase { entity, info } => {
                let Some(info) = info else {
                    return Ok(());
                };
                self.index.forget(info.incarnation);
                self.done.erased = true;
                let (budget, blank) = (&mut self.budget, &mut self.done.blank);
                let left =
                    erasing::begin(self.connection, (position, entity), info, budget, blank)?;
                self.done.begun.extend(left);
                Ok(())
            }
            Step::Clear {
                entity,
                seqs,
                types,
            } => {
                self.done.cleared = true;
                if let Some((info, marks)) = self.entity(entity)? {
                    let cleared =
                        clearing::clear(self.connection, entity, &info, &marks, seqs, types)?;
                    for row in &cleared {
                        self.changed(position, *row)?;
                    }
                    if keys::cover(self.connection, info.incarnation)? {
                        keys::clear(self.connection, self.kinds, info.incarnation, seqs)?;
                    }
                    self.done.blank.extend(cleared);
                }
                Ok(())
            }
            Step::Retime {
                entity,
                seq,
                recorded_at,
            } => {
                if let Some((info, marks)) = self.entity(entity)?
                    && let Some(row) = chain::row_of(self.connection, entity, &info, &marks, *seq)?
                {
                    overwrite::time(self.connection, &row, *recorded_at)?;
                    self.changed(position, row.position)?;
                }
                Ok(())
            }
        }
    }

    fn changed(&self, position: i64, row: i64) -> Result<()> {
        edits::note(self.connection, position, edits::What::Changed, row).map(drop)
    }

    fn keep(&self, snapshot: &Command) -> Result<()> {
        if let Command::Snapshot {
            entity,
            incarnation,
            snapshot,
        } = snapshot
        {
            // An entity whose rows are broken needs no snapshot.
            let info = self.entity(entity).unwrap_or(None).map(|(info, _)| info);
            if info.is_some_and(|i| i.incarnation == *incarnation && i.seq >= snapshot.seq) {
                snapshots::save(self.connection, *incarnation, snapshot)?;
            }
        }
        Ok(())
    }

    /// Where an entity's log ends in this transaction.
    fn entity(&self, entity: &str) -> Result<Option<(EntityInfo, Vec<Mark>)>> {
        if let Some(found) = self.index.entity(entity) {
            return Ok(Some(found));
        }
        let found = entities::find(self.connection, entity)?;
        Ok(found.map(|(info, _)| (info, Vec::new())))
    }
}
