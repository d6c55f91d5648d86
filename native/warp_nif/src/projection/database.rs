//! An open projection: its writing connection, and closing it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rusqlite::Connection;
use rustler::{Env, LocalPid, Monitor, Resource, Term};

use super::open::{self, BUSY, Opened};
use super::statements::{self, Failure};
use crate::error::{Error, Result};
use crate::files::{Access, Watch};
use crate::sqlite::{self, Claim, Gate, in_transaction};
use crate::sync::relock;

/// Up to this size the file is rewritten after an erasure.
const REWRITE_PAGES: i64 = 2048;

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

impl Shared {
    /// Opens the file at `path` for the process `owner`. Errors: see [`open`](super::open::open).
    pub fn open(path: PathBuf, durable: bool, access: Access, owner: LocalPid) -> Result<Self> {
        let Opened {
            connection,
            claim,
            watch,
        } = open::open(&path, durable, access)?;
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
        in_transaction(connection, || {
            statements::run_all(connection, statements)?;
            self.look().map_err(Failure::Away)
        })?;
        #[cfg(feature = "fault")]
        crate::fault::after_commit();
        self.look().map_err(|_| Failure::Away(Error::Interrupted))
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
