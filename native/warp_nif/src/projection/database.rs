//! The writing side of a projection's file.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustler::{Env, ListIterator, LocalPid, Monitor, Resource, Term};

use super::values::{self, Bind};
use crate::error::{Error, Result};
use crate::files::{self, Access, Watch};
use crate::sqlite::{self, Claim, Gate};
use crate::sync::relock;

/// `application_id` of every projection's file: the bytes "WPRJ".
const APPLICATION_ID: u32 = 0x5750_524A;
/// `user_version`: the version of the format in `docs/file-format.md`.
const FORMAT: u32 = 1;
/// What makes a file a projection's.
const PROJECTION: sqlite::Format = sqlite::Format {
    application_id: APPLICATION_ID,
    version: FORMAT,
    foreign: Error::NotAProjection,
};
/// How long another program's lock on the file is waited for.
const BUSY: Duration = Duration::from_secs(5);
/// How many prepared statements are kept.
const STATEMENTS: usize = 512;
/// Up to this size the file is rewritten after an erasure.
const REWRITE_PAGES: i64 = 2048;

/// What the WAL is cut back to once everything of it is in the file: more is there only while
/// something reads. `warp_projection_query_pool.erl` has the same number.
const MAX_WAL_BYTES: u64 = 64 * 1024 * 1024;
/// How long emptying the WAL between queries waits for what reads it.
const TRIM_PATIENCE: Duration = Duration::from_millis(200);

/// The handle of an open projection.
pub struct Database(pub Arc<Shared>);

/// What the handle, its reads and whoever closes it share.
pub struct Shared {
    pub(super) path: PathBuf,
    writer: Mutex<Option<Connection>>,
    /// Idle connections that only read.
    pub(super) readers: Mutex<Vec<Connection>>,
    pub(super) gate: Gate,
    /// Someone has begun to close it.
    closing: AtomicBool,
    claim: Mutex<Option<Claim>>,
    /// The files, looked at around each transaction and before each query.
    watch: Watch,
    lost: OnceLock<String>,
    told: AtomicBool,
    /// The process that opened it.
    pub owner: LocalPid,
}

#[rustler::resource_impl]
impl Resource for Database {
    /// The owner process is gone. A transaction of it that is under way is finished first, which
    /// no scheduler waits for.
    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        self.close_aside();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.close_aside();
    }
}

impl Database {
    fn close_aside(&self) {
        if self.0.closing.swap(true, Ordering::SeqCst) {
            return;
        }
        self.0.gate.end();
        let shared = Arc::clone(&self.0);
        // When no thread can be started, the last holder of the handle closes the file.
        let _ = std::thread::Builder::new()
            .name("warp-close".into())
            .spawn(move || shared.close());
    }
}

/// Why a transaction was not carried out.
pub enum Failure {
    /// The database refused this statement, counted from 1.
    Refused(usize, String),
    /// It could not be tried, or not be finished.
    Away(Error),
}

impl From<Bind> for Failure {
    fn from(error: Bind) -> Self {
        match error {
            Bind::Bad(message) => Self::Refused(0, message),
            Bind::Sqlite(error) => error.into(),
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Away(error.into())
    }
}

impl Shared {
    /// Opens the file at `path`, creating it where there is none. With `durable`, each transaction
    /// is fsynced; without, a power failure may undo the last ones, each as a whole.
    ///
    /// Errors, with the file left as it was: `NotAProjection`, `NewerFormat`, `Corrupt`, `Io`,
    /// `DiskFull`.
    ///
    /// `Claimed`: whoever had the file open before, in this VM, has not closed it yet.
    pub fn open(path: PathBuf, durable: bool, access: Access, owner: LocalPid) -> Result<Self> {
        // NOTE: the claim comes before the look at the header. Closing a file takes away the locks that this
        // process has on it: with another connection still open, SQLite would not notice when
        // another program ends the WAL under it.
        let claim = Claim::take(&path)?;
        for suffix in ["", "-wal", "-shm", "-journal"] {
            files::check_kind(&files::beside(&path, suffix))?;
        }
        let fresh = PROJECTION.is_missing(&path)?;
        if fresh {
            files::create(&path, access)?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)?;
        connection.busy_timeout(BUSY)?;
        if fresh {
            connection.execute_batch(&format!(
                "PRAGMA page_size = 4096; BEGIN IMMEDIATE;
                 PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; COMMIT;"
            ))?;
        }
        let synchronous = if durable { "FULL" } else { "NORMAL" };
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = {synchronous};
             PRAGMA fullfsync = ON;
             PRAGMA checkpoint_fullfsync = ON;
             PRAGMA wal_autocheckpoint = 4096;
             PRAGMA journal_size_limit = {MAX_WAL_BYTES};
             PRAGMA foreign_keys = OFF;
             PRAGMA secure_delete = ON;
             PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -65536;"
        ))?;
        // From its first read on, this connection holds the locks of all of them (see `ofd_locks`).
        let _: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let mut watch = Watch::default();
        watch.add_database(&path)?;
        Ok(Self {
            path,
            writer: Mutex::new(Some(connection)),
            readers: Mutex::new(Vec::new()),
            gate: Gate::default(),
            closing: AtomicBool::new(false),
            claim: Mutex::new(Some(claim)),
            watch,
            lost: OnceLock::new(),
            told: AtomicBool::new(false),
            owner,
        })
    }

    /// Carries `[{Sql, [[Value]]}]` out in one transaction.
    pub fn execute(&self, statements: Term<'_>) -> std::result::Result<(), Failure> {
        let writer = relock(&self.writer);
        let connection = writer.as_ref().ok_or(Failure::Away(Error::Closed))?;
        if !connection.is_autocommit() {
            // A panic left a transaction open.
            connection.prepare_cached("ROLLBACK")?.execute([])?;
        }
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let done = run_all(connection, statements).and_then(|()| {
            self.look().map_err(Failure::Away)?;
            connection.prepare_cached("COMMIT")?.execute([])?;
            #[cfg(feature = "fault")]
            crate::fault::after_commit();
            self.look().map_err(|_| Failure::Away(Error::Interrupted))
        });
        if done.is_err() && !connection.is_autocommit() {
            connection.prepare_cached("ROLLBACK")?.execute([])?;
        }
        done
    }

    /// Looks whether the files are still in their place. Error: `Io`; once it was given, always.
    pub(super) fn look(&self) -> Result<()> {
        if let Some(lost) = self.lost.get() {
            return Err(Error::Io(lost.as_str().into()));
        }
        self.watch
            .check()
            .map(drop)
            .map_err(|lost| Error::Io(self.lost.get_or_init(|| lost).as_str().into()))
    }

    /// What `look` found, for who asks first: the owner has to be told, and open the file again.
    pub fn newly_lost(&self) -> Option<&str> {
        let lost = self.lost.get()?;
        (!self.told.swap(true, Ordering::SeqCst)).then_some(lost.as_str())
    }

    /// Sees to it that what was deleted is gone from the bytes of the file and its WAL.
    ///
    /// SQLite zeroes what it deletes (`secure_delete`), but not the copies that it left when it
    /// moved rows between pages before. A small file is rewritten, which leaves none.
    pub fn tidy(&self) -> Result<()> {
        let writer = relock(&self.writer);
        let connection = writer.as_ref().ok_or(Error::Closed)?;
        // Idle readers hold no read transaction: they do not keep the WAL from being emptied.
        let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        if pages <= REWRITE_PAGES {
            connection.execute_batch("VACUUM")?;
            #[cfg(feature = "fault")]
            crate::fault::after_commit();
        }
        if sqlite::checkpoint(connection, "TRUNCATE")? {
            return Ok(());
        }
        Err(Error::Io(
            "erased, but old bytes are still in the write-ahead log: something is reading the file"
                .into(),
        ))
    }

    /// Moves the WAL into the file and empties it. False: something reads the file all the while.
    pub fn trim(&self) -> Result<bool> {
        let writer = relock(&self.writer);
        let connection = writer.as_ref().ok_or(Error::Closed)?;
        connection.busy_timeout(TRIM_PATIENCE)?;
        let emptied = sqlite::checkpoint(connection, "TRUNCATE");
        connection.busy_timeout(BUSY)?;
        emptied
    }

    /// Closes the file, after what is under way.
    pub fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.gate.end();
        self.gate.wait_for_the_last();
        relock(&self.readers).clear();
        if let Some(connection) = relock(&self.writer).take()
            && self.look().is_err()
        {
            // The projectors project, and note, once more whatever is lost with our own WAL.
            sqlite::spare_foreign_wal(&connection, &self.watch, &self.path);
        }
        relock(&self.claim).take();
    }
}

fn run_all(connection: &Connection, statements: Term<'_>) -> std::result::Result<(), Failure> {
    for (index, statement) in list(statements)?.enumerate() {
        let (sql, rows): (&str, Term<'_>) = statement
            .decode()
            .map_err(|_| Failure::Refused(index + 1, "not {Sql, Rows}".into()))?;
        let run = || -> std::result::Result<(), Bind> {
            let mut prepared = connection.prepare_cached(sql)?;
            for row in list(rows)? {
                values::bind_all(&mut prepared, list(row)?)?;
                step(&mut prepared)?;
            }
            Ok(())
        };
        run().map_err(|error| match error {
            Bind::Bad(message) => Failure::Refused(index + 1, message),
            Bind::Sqlite(error) => judge(index + 1, error),
        })?;
    }
    Ok(())
}

/// Runs a statement to its end, whether or not it gives rows.
fn step(statement: &mut rusqlite::CachedStatement<'_>) -> rusqlite::Result<()> {
    if statement.column_count() == 0 {
        return statement.raw_execute().map(drop);
    }
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    Ok(())
}

/// Whether the statement is to blame, or the machine.
fn judge(index: usize, error: rusqlite::Error) -> Failure {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::OutOfMemory
            | ErrorCode::PermissionDenied
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::OperationInterrupted,
        ) => Failure::Away(error.into()),
        _ => Failure::Refused(index, message(&error)),
    }
}

/// SQLite's own words for an error.
pub fn message(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}

/// The list of a term, if it is a proper one: going through any other would be a panic.
pub fn list<'a>(term: Term<'a>) -> std::result::Result<ListIterator<'a>, Bind> {
    let not_a_list = |_| Bind::Bad("not a proper list".into());
    term.list_length().map_err(not_a_list)?;
    term.decode().map_err(not_a_list)
}
