//! The writer's side of the file: recovery, commits, and what is done between them.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::background::{Background, Task};
use super::command::{Answer, Command};
use super::entities::{self, EntityInfo};
use super::erasing::{self, Remainder};
use super::flush::flush;
use super::kinds::Kinds;
use super::shared::Shared;
use super::tail::{Change, Tail};
use super::transaction::{Effect, Transaction, publish};
use super::wal::Wal;
use super::{compact, rows, runs, schema};
use crate::error::{Error, Result};
use crate::event::{derived_seq, parse_row};
use crate::files::Watch;
use crate::hash::{distinct, hash64};
use crate::sqlite;

/// After what time the files are looked at again before a COMMIT. Looking costs microseconds, which short
/// transactions would feel, and what is lost in between is found after the COMMIT.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The writer's connection and what it knows of the log.
pub struct Store {
    connection: Connection,
    /// The last position given.
    position: i64,
    /// Rows up to here are in the index on disk.
    flushed: i64,
    /// How work that no caller waits for goes.
    pub background: Arc<Background>,
    /// A failed commit may have left something in the WAL that is not overwritten yet.
    unsealed: bool,
    /// The files, looked at around each commit.
    pub watch: Watch,
    looked: Instant,
    /// Why they are not what is open here any more, once that was found.
    lost: Option<String>,
    wal: Wal,
    /// What is still to be erased, the next first.
    erasing: VecDeque<Remainder>,
    /// Whether this writer's run is in the file: it goes there with its first row.
    run_noted: bool,
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
    /// What is left of entities that were begun to be erased.
    begun: Vec<Remainder>,
    /// Payloads cleared: for someone who waits, and along with an append.
    cleared: (bool, bool),
}

impl Store {
    /// Reads the part of the log that was not written behind, checking it, and writes it behind.
    pub fn recover(mut connection: Connection, kinds: &Kinds) -> Result<(Self, Tail)> {
        let background = Background::default();
        // A shard opens although its room could not be given back.
        background.note(Task::Compaction, &compact::compact_if_worth(&connection));
        let flushed = schema::meta(&connection, "flushed")?;
        let position = rows::last_position(&connection)?;
        if !(0..=position).contains(&flushed) {
            let what = format!(
                "the log ends at position {position}, but {flushed} rows were indexed: rows are \
                 missing at its end"
            );
            return Err(Error::corrupt(what));
        }
        let mut tail = Tail::default();
        let erasing = erasing::left(&connection)?.into();
        let gone = erasing::behind(&connection, flushed)?;
        rows::after(&connection, flushed, |row| {
            if gone.contains(&row.position) {
                return Ok(());
            }
            let before = match tail.entity(&row.entity) {
                Some(active) => Some(active.info.clone()),
                None => entities::find(&connection, &row.entity)?.map(|(info, _)| info),
            };
            let ends_at = before.as_ref().map_or((0, 0), |info| (info.seq, info.head));
            if (row.seq - 1, row.prev) != ends_at {
                let what = format!("log row at position {}: out of sequence", row.position);
                return Err(Error::corrupt(what));
            }
            let events = parse_row(&row.data)?;
            let ids = events
                .iter()
                .filter_map(|event| event.id.as_deref())
                .filter(|id| derived_seq(&row.entity, id).is_none())
                .map(|id| hash64(id.as_bytes()));
            let ids = distinct(ids);
            let open = kinds.leaves_open(&row.entity, &row.aggregate);
            tail.apply(Change {
                open,
                info: EntityInfo::advance(before.as_ref(), row.position, row.count),
                first_seq: row.seq,
                bytes: row.data.len(),
                entity: row.entity,
                ids,
            });
            Ok(())
        })?;
        let mut store = Self {
            wal: Wal::watch(&mut connection)?,
            connection,
            position,
            flushed,
            background: Arc::new(background),
            unsealed: false,
            watch: Watch::default(),
            looked: Instant::now(),
            lost: None,
            erasing,
            run_noted: false,
        };
        if tail.rows() > 0 {
            let written = flush(&store.connection, &tail, position);
            let written = store.after_flush(written);
            store.background.note(Task::WriteBehind, &written);
            match written {
                Ok(()) => tail.flushed(),
                // The shard can be read all the same, and the writer tries again later.
                Err(Error::DiskFull | Error::Io(_)) => {}
                Err(error) => return Err(error),
            }
        }
        // If this fails, the writer tries again when it is idle.
        let emptied = store.empty_wal(Duration::ZERO);
        store.background.note(Task::EmptyWal, &emptied);
        Ok((store, tail))
    }

    /// The last position given.
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
        if self.looked.elapsed() >= LOOK_AGAIN
            && let Err(error) = self.look()
        {
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
        // The transaction is written, but perhaps to a file that nobody will find.
        committed.file_bytes = self
            .found(Watch::check_events)
            .map_err(|_| Error::Interrupted)?;
        self.run_noted |= position > self.position;
        self.position = position;
        let (cleared, along) = committed.cleared;
        self.wal.overwrote(committed.erased > 0 || cleared, along);
        self.erasing.extend(std::mem::take(&mut committed.begun));
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
        if !self.run_noted && transaction.position > self.position {
            runs::begin(&self.connection, self.position + 1)?;
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
        // Pairs with what `Tail::apply` asserts of each row: no position is given twice, none is left out.
        let given = (transaction.position - self.position).unsigned_abs();
        assert!(
            given == written.0,
            "{} rows at {given} positions",
            written.0
        );
        let committed = Committed {
            answers,
            written,
            erased,
            sync: Duration::ZERO,
            file_bytes: 0,
            cleared: (transaction.erased, transaction.cleared),
            effects: transaction.effects,
            begun: transaction.begun,
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
            // This fails only for the reason of the statement before, which is noted.
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

    /// For an idle writer: tries again what did not work before.
    pub fn idle(&mut self) {
        if self.unsealed {
            self.seal();
        }
    }

    /// Writes behind, when enough has gathered. No caller waits for it.
    pub fn tidy(&mut self, shared: &Shared) {
        if shared.tail().is_due() {
            self.write_behind(shared);
        }
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
        match &tended {
            Err(_) if empty => self.background.note(Task::EmptyWal, &tended),
            Err(_) => self.background.note(Task::Checkpoint, &tended),
            // The work may only have been put off, so a failure is over when its effect is.
            Ok(()) => {
                if !self.wal.holds_erased() {
                    self.background.note(Task::EmptyWal, &tended);
                }
                if !self.wal.has_failed() {
                    self.background.note(Task::Checkpoint, &tended);
                }
            }
        }
        tended
    }

    /// What the WAL holds, and when to tend it though nothing is committed.
    pub fn wal(&mut self) -> &mut Wal {
        &mut self.wal
    }

    /// Before closing: writes behind, and empties the WAL. What fails is done at the next start. Whether the
    /// WAL holds nothing erased.
    pub fn settle(&mut self, shared: &Shared, patience: Duration) -> bool {
        let emptied = self.empty_wal(patience);
        self.background.note(Task::EmptyWal, &emptied);
        self.write_behind(shared);
        emptied.is_ok()
    }

    fn write_behind(&mut self, shared: &Shared) {
        let written = self.flush_shared(shared);
        self.background.note(Task::WriteBehind, &written);
    }

    /// Looks whether the files are still in their place: the bytes of the file and its WAL. Once
    /// they were not, always the same error: what is open here is of no use any more.
    pub fn look(&mut self) -> Result<u64> {
        self.looked = Instant::now();
        self.found(Watch::check)
    }

    fn found(
        &mut self,
        check: impl FnOnce(&Watch) -> std::result::Result<u64, String>,
    ) -> Result<u64> {
        if let Some(lost) = &self.lost {
            return Err(Error::Io(lost.as_str().into()));
        }
        check(&self.watch).map_err(|lost| {
            self.lost = Some(lost.clone());
            Error::Io(lost.into())
        })
    }

    /// Whether `look` has found that the files are not in their place any more.
    pub fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Closes files of which some are not in their place any more. What was committed is moved
    /// into the database's file first. What became of it, in a sentence.
    pub fn rescue(self, path: &Path) -> String {
        let lost = self.lost.clone().unwrap_or_default();
        let moved = sqlite::checkpoint(&self.connection, "TRUNCATE");
        sqlite::spare_foreign_wal(&self.connection, &self.watch, path);
        let became = match moved {
            Ok(true) if self.watch.is_ours_or_gone(path) => {
                "All that was committed has been moved into the database's file".into()
            }
            Ok(true) => "All that was committed stands in the file that was here before".into(),
            Ok(false) => {
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
        self.wal.empty(&self.connection, patience)
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
        let rest = erasing::go_on(&self.connection, left);
        let synced = rest.is_ok().then(|| self.sync());
        if !matches!(synced, Some(Ok(()))) {
            self.roll_back()?;
        }
        if let Some(Err(error)) = synced {
            self.unsealed = true;
            self.seal();
            return Err(error);
        }
        rest
    }

    /// Writes everything behind.
    pub fn flush_shared(&mut self, shared: &Shared) -> Result<()> {
        // Only this thread changes the tail, so readers go on using it meanwhile.
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
