//! A shard's file, as the thread that applies has it: up to where it has the journal, what of that
//! outlives a loss of power, and what is still to be erased.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::pieces::Pieces;
use super::steps::{self, Done};
use super::wal::Wal;
use super::watch::ShardWatch;
use crate::error::{Error, Result};
use crate::log::keys;
use crate::log::kinds::Kinds;
use crate::log::runs;
use crate::shard::background::{Background, Task};
use crate::shard::shared::Shared;
use crate::sqlite::{self, in_transaction};
use crate::tail::stretch::Stretch;
use crate::writer::command::Command;

/// The connection that writes a shard's file, and what is known of it.
pub struct Store {
    connection: Connection,
    /// Of which entities it is kept whether they are open, and which payloads have keys of their own.
    kinds: Kinds,
    /// Up to here all is in the file.
    applied: i64,
    /// Up to here it outlives a loss of power.
    durable: i64,
    /// The run of the last row in the file.
    run: i64,
    /// How work that no caller waits for goes.
    pub background: Arc<Background>,
    /// The files, looked at before each transaction.
    pub watch: ShardWatch,
    wal: Wal,
    /// What is still to be erased.
    erasing: Pieces,
    /// Positions whose records in the journal say what was erased here.
    blank: Vec<i64>,
}

impl Store {
    /// Of an open file that has everything up to `applied`.
    pub fn new(mut connection: Connection, kinds: Kinds, applied: i64) -> Result<Self> {
        Ok(Self {
            kinds,
            erasing: Pieces::of(&connection)?,
            run: runs::last(&connection)?,
            wal: Wal::watch(&mut connection)?,
            connection,
            applied,
            durable: 0,
            background: Arc::default(),
            watch: ShardWatch::default(),
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
        let Done {
            broken,
            blank,
            begun,
            erased,
            cleared,
        } = in_transaction(&self.connection, || {
            let done = steps::carry_out(&self.connection, &self.kinds, self.run, stretch, kept)?;
            #[cfg(feature = "fault")]
            if done.erased || done.cleared {
                crate::fault::at_commit()?;
            }
            Ok::<_, Error>(done)
        })?;
        #[cfg(feature = "fault")]
        if erased || cleared {
            crate::fault::after_commit();
        }
        if let Some(stretch) = stretch {
            self.applied = stretch.last();
            self.run = stretch.run;
        }
        self.wal.overwrote(erased, cleared);
        self.erasing.add(begun);
        self.blank.extend(blank);
        Ok(broken)
    }

    /// Keeps the WAL small and, when someone waits for that or nothing is left to be erased, free
    /// of what was erased. Never waits.
    pub fn tend_wal(&mut self, shared: &Shared, someone_waits: bool) -> Result<()> {
        let empty = if someone_waits {
            self.wal.holds_any()
        } else {
            self.wal.holds_erased() && self.erasing.are_done()
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
    /// need not keep what is in it. Whether that was all.
    pub fn make_durable(&mut self) -> Result<bool> {
        let moved = sqlite::checkpoint_all(&self.connection);
        // What other programs' reads hold back is told where the WAL is tended.
        if moved.is_err() {
            self.background.note(Task::Checkpoint, &moved);
        } else if matches!(moved, Ok(true)) {
            self.durable = self.applied;
        }
        moved
    }

    /// Makes a piece of the keys of lives that are missing up to a position, which the file has. Whether each life up to
    /// there has its keys then. On an error nothing of the piece was kept.
    ///
    /// NOTE: a key must not be used before it is made durable. A loss of power would give the life another one.
    pub fn make_keys(&mut self, up_to: i64) -> Result<bool> {
        self.look()?;
        let is_last = in_transaction(&self.connection, || {
            keys::make(&self.connection, &self.kinds, up_to)
        })?;
        #[cfg(feature = "fault")]
        crate::fault::after_commit();
        Ok(is_last)
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
        self.watch.look()
    }

    /// Whether `look` has found that the files are not in their place any more.
    pub fn is_lost(&self) -> bool {
        self.watch.is_lost()
    }

    /// Closes files of which some are not in their place any more. What was applied is moved into the
    /// database's file first. What became of it, in a sentence.
    pub fn rescue(self, path: &Path) -> String {
        self.watch.rescue(&self.connection, path)
    }

    /// Of whom `erase_piece` erases next: the hash of the entity's id.
    pub fn erases_next(&self) -> Option<i64> {
        self.erasing.next()
    }

    /// Whether something is left of an entity whose id has this hash.
    pub fn is_erasing(&self, hash: i64) -> bool {
        self.erasing.are_of(hash)
    }

    /// Erases one piece of what is left to be erased. On an error nothing of it was kept, and the
    /// next entity's turn comes first.
    pub fn erase_piece(&mut self) -> Result<()> {
        if self.erasing.are_done() {
            return Ok(());
        }
        let looked = self.look();
        let erased = looked.and_then(|_| self.erasing.erase_next(&self.connection));
        self.background.note(Task::Erase, &erased);
        self.blank.extend(erased?);
        self.wal.overwrote(true, false);
        Ok(())
    }
}
