//! The writer's side of the file: recovery, commits, and what is done between them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::background::{Background, Task};
use super::command::{Answer, Command};
use super::entities::{self, EntityInfo};
use super::flush::flush;
use super::tail::{Change, Tail};
use super::transaction::{Effect, Transaction, publish};
use super::{Shared, compact, erase, rows, sagas, schema};
use crate::error::{Error, Result};
use crate::event::{derived_seq, parse_row};
use crate::files::{Watch, beside};
use crate::hash::{distinct, hash64};

/// After how many pages (4 kB each) the WAL is moved into the file.
const CHECKPOINT_PAGES: usize = 4096;
/// How much further it may grow when a reader kept that from finishing.
const CHECKPOINT_AGAIN: usize = 1024;

/// The writer's connection and what it knows of the log.
pub struct Store {
    connection: Connection,
    /// The last position given.
    position: i64,
    /// Rows up to here are in the index on disk.
    flushed: i64,
    wal_pages: Arc<AtomicUsize>,
    checkpoint_at: usize,
    /// Bytes of something erased may still stand in the WAL.
    wal_holds_erased: bool,
    /// Likewise of payloads that were cleared along with an append: they may stand there until
    /// someone erases.
    wal_holds_cleared: bool,
    /// How work that no caller waits for goes.
    pub background: Arc<Background>,
    /// A failed commit may have left something in the WAL that is not overwritten yet.
    unsealed: bool,
    /// The files, looked at around each commit.
    pub watch: Watch,
    /// Why they are not what is open here any more, once that was found.
    lost: Option<String>,
}

/// A committed transaction.
pub struct Committed {
    /// One per command, in order; none for those that are never answered.
    pub answers: Vec<Option<Answer>>,
    /// Rows, events and bytes written.
    pub written: (u64, u64, u64),
    /// Entities erased.
    pub erased: u64,
    /// How long the COMMIT took.
    pub sync: Duration,
    /// The size of the file and its WAL.
    pub file_bytes: u64,
    effects: Vec<Effect>,
    /// Payloads cleared: for someone who waits, and along with an append.
    cleared: (bool, bool),
}

impl Store {
    /// Reads the part of the log that was not written behind, checking it, and writes it behind.
    pub fn recover(mut connection: Connection) -> Result<(Self, Tail)> {
        let background = Background::default();
        // Room is not given back then, which is no reason not to open.
        background.note(Task::Compaction, &compact::compact_if_worth(&connection));
        let flushed = schema::meta(&connection, "flushed")?;
        let position = rows::last_position(&connection)?;
        if !(0..=position).contains(&flushed) {
            let what = format!(
                "the log ends at position {position}, but {flushed} rows were indexed: rows are \
                 missing at its end"
            );
            return Err(Error::Corrupt(what));
        }
        let mut tail = Tail::default();
        rows::after(&connection, flushed, |row| {
            let before = match tail.entity(&row.entity) {
                Some(active) => Some(active.info.clone()),
                None => entities::find(&connection, &row.entity)?.map(|(info, _)| info),
            };
            let ends_at = before.as_ref().map_or((0, 0), |info| (info.seq, info.head));
            if (row.seq - 1, row.prev) != ends_at {
                let what = format!("log row at position {}: out of sequence", row.position);
                return Err(Error::Corrupt(what));
            }
            let events = parse_row(&row.data)?;
            let ids = events
                .iter()
                .filter_map(|event| event.id.as_deref())
                .filter(|id| derived_seq(&row.entity, id).is_none())
                .map(|id| hash64(id.as_bytes()));
            let ids = distinct(ids);
            let saga_open = sagas::leaves_open(&row.entity, &row.aggregate);
            tail.apply(Change {
                saga_open,
                info: EntityInfo::advance(before.as_ref(), row.position, row.count),
                first_seq: row.seq,
                bytes: row.data.len(),
                entity: row.entity,
                ids,
            });
            Ok(())
        })?;
        let wal_pages = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&wal_pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            counter.store(usize::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        let mut store = Self {
            connection,
            position,
            flushed,
            wal_pages,
            checkpoint_at: CHECKPOINT_PAGES,
            // As far as we know: whoever wrote the WAL may have been killed right after an erasure.
            wal_holds_erased: true,
            wal_holds_cleared: false,
            background: Arc::new(background),
            unsealed: false,
            watch: Watch::default(),
            lost: None,
        };
        if tail.rows() > 0 {
            let written = flush(&store.connection, &tail, position);
            let written = store.after_flush(written);
            store.background.note(Task::WriteBehind, &written);
            match written {
                Ok(()) => tail.flushed(),
                // Without room for it the shard can still be read; it is tried again later.
                Err(Error::DiskFull | Error::Io(_)) => {}
                Err(error) => return Err(error),
            }
        }
        // Else the writer tries again when it is idle.
        let emptied = store.empty_wal(Duration::ZERO);
        store.background.note(Task::EmptyWal, &emptied);
        Ok((store, tail))
    }

    pub fn position(&self) -> i64 {
        self.position
    }

    /// Carries out the commands in one transaction. On an error nothing of it was kept.
    pub fn commit(&mut self, shared: &Shared, commands: &[Command]) -> Result<Committed> {
        self.connection
            .prepare_cached("BEGIN IMMEDIATE")?
            .execute([])?;
        let staged = self.stage(shared, commands);
        let (mut committed, position) = match staged {
            Ok(staged) => staged,
            Err(error) => {
                self.roll_back()?;
                return Err(error);
            }
        };
        if let Err(error) = self.look() {
            self.roll_back()?;
            return Err(error);
        }
        let started = Instant::now();
        if let Err(error) = self.sync() {
            self.roll_back()?;
            self.unsealed = true;
            self.seal();
            return Err(error);
        }
        committed.sync = started.elapsed();
        self.sealed(&Ok(()));
        // Found out only now: it is written, but perhaps to a file that nobody will find.
        committed.file_bytes = self.look().map_err(|_| Error::Interrupted)?;
        self.position = position;
        self.wal_holds_erased |= committed.erased > 0 || committed.cleared.0;
        self.wal_holds_cleared |= committed.cleared.1;
        publish(
            &mut shared.tail_mut(),
            std::mem::take(&mut committed.effects),
        );
        Ok(committed)
    }

    fn stage(&self, shared: &Shared, commands: &[Command]) -> Result<(Committed, i64)> {
        let mut transaction =
            Transaction::new(&self.connection, shared, self.position, self.flushed)?;
        let mut answers = Vec::with_capacity(commands.len());
        for command in commands {
            answers.push(transaction.run(command)?);
        }
        let mut written = (0, 0, 0);
        let mut erased = 0;
        for effect in &transaction.effects {
            match effect {
                Effect::Row(change) => {
                    written.0 += 1;
                    written.1 += change.info.seq + 1 - change.first_seq;
                    written.2 += change.bytes as u64;
                }
                Effect::Forget { .. } => erased += 1,
            }
        }
        let committed = Committed {
            answers,
            written,
            erased,
            sync: Duration::ZERO,
            file_bytes: 0,
            cleared: (transaction.erased, transaction.cleared),
            effects: transaction.effects,
        };
        Ok((committed, transaction.position))
    }

    fn sync(&self) -> Result<()> {
        #[cfg(feature = "fault")]
        crate::fault::at_commit()?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        #[cfg(feature = "fault")]
        crate::fault::after_commit();
        Ok(())
    }

    fn roll_back(&self) -> Result<()> {
        // SQLite has rolled back by itself after some errors.
        if !self.connection.is_autocommit() {
            self.connection.prepare_cached("ROLLBACK")?.execute([])?;
        }
        Ok(())
    }

    /// Overwrites what a failed commit may have left in the WAL.
    ///
    /// A COMMIT whose fsync failed can have written whole frames. They are not part of the
    /// database now, but after a crash before the next commit, recovery would take them for
    /// committed, although their callers were told that they failed.
    fn seal(&mut self) {
        let sealed = self
            .connection
            .execute("UPDATE meta SET value = value + 1 WHERE name = 'seals'", [])
            .map(drop)
            .map_err(Error::from);
        if sealed.is_err() && !self.connection.is_autocommit() {
            // An error here is that of the statement before, which is noted.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        self.sealed(&sealed);
    }

    fn sealed(&mut self, result: &Result<()>) {
        if self.unsealed {
            self.unsealed = result.is_err();
            self.background.note(Task::Seal, result);
        }
    }

    /// What an idle writer does: tries again what did not work before.
    pub fn idle(&mut self) {
        if self.unsealed {
            self.seal();
        }
        let emptied = self.empty_wal_of_erased(Duration::ZERO);
        self.background.note(Task::EmptyWal, &emptied);
    }

    /// Work that no caller waits for: writing behind and moving the WAL into the file.
    pub fn tidy(&mut self, shared: &Shared) {
        if shared.tail().is_due() {
            self.write_behind(shared);
        }
        let pages = self.wal_pages.load(Ordering::Relaxed);
        if pages >= self.checkpoint_at {
            let moved = self.checkpoint(pages);
            self.background.note(Task::Checkpoint, &moved);
        }
    }

    fn checkpoint(&mut self, pages: usize) -> Result<()> {
        let (log, moved): (i64, i64) =
            self.connection
                .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
                    Ok((row.get(1)?, row.get(2)?))
                })?;
        self.checkpoint_at = if log == moved {
            CHECKPOINT_PAGES
        } else {
            pages + CHECKPOINT_AGAIN
        };
        Ok(())
    }

    /// Closing: what does not work is done at the next start.
    pub fn settle(&mut self, shared: &Shared, patience: Duration) {
        let emptied = self.empty_wal(patience);
        self.background.note(Task::EmptyWal, &emptied);
        self.write_behind(shared);
    }

    fn write_behind(&mut self, shared: &Shared) {
        let written = self.flush_shared(shared);
        self.background.note(Task::WriteBehind, &written);
    }

    /// Looks whether the files are still in their place: the bytes of the file and its WAL. Once
    /// they were not, always the same error: what is open here is of no use any more.
    pub fn look(&mut self) -> Result<u64> {
        if let Some(lost) = &self.lost {
            return Err(Error::Io(lost.clone()));
        }
        self.watch.check().map_err(|lost| {
            self.lost = Some(lost.clone());
            Error::Io(lost)
        })
    }

    /// Whether that was found.
    pub fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Closes files of which some are not in their place any more. What was committed is moved
    /// into the database's file first. What became of it, in a sentence.
    pub fn rescue(self, path: &Path) -> String {
        let lost = self.lost.clone().unwrap_or_default();
        let moved: rusqlite::Result<(i64, i64, i64)> =
            self.connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                });
        // Closing would otherwise remove a WAL that another program has made.
        if !self.watch.is_ours_or_gone(&beside(path, "-wal")) {
            // It cannot fail: the setting is known.
            let _ = self
                .connection
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
        let became = match moved {
            Ok((0, _, _)) if self.watch.is_ours_or_gone(path) => {
                "All that was committed has been moved into the database's file".into()
            }
            Ok((0, _, _)) => {
                "All that was committed stands in the file that was here before".into()
            }
            Ok(_) => {
                "What was committed last could not be moved into the database's file: another \
                      program is reading it"
                    .into()
            }
            Err(error) => format!(
                "What was committed last could not be moved into the database's file: {error}"
            ),
        };
        format!("{lost}. {became}")
    }

    /// Makes sure that nothing erased is left in the WAL.
    pub fn empty_wal(&mut self, patience: Duration) -> Result<()> {
        self.wal_holds_erased |= self.wal_holds_cleared;
        self.empty_wal_of_erased(patience)
    }

    /// As `empty_wal`, unless all that is in there was cleared along with appends.
    pub fn empty_wal_of_erased(&mut self, patience: Duration) -> Result<()> {
        if self.wal_holds_erased {
            erase::empty_wal(&self.connection, patience)?;
            self.wal_holds_erased = false;
            self.wal_holds_cleared = false;
        }
        Ok(())
    }

    /// Writes everything behind.
    pub fn flush_shared(&mut self, shared: &Shared) -> Result<()> {
        // Only this thread changes the tail, so readers can go on using it meanwhile.
        let written = flush(&self.connection, &shared.tail(), self.position);
        self.after_flush(written)?;
        shared.tail_mut().flushed();
        Ok(())
    }

    fn after_flush(&mut self, written: Result<()>) -> Result<()> {
        if written.is_err() {
            self.roll_back()?;
        } else {
            self.flushed = self.position;
        }
        written
    }
}
