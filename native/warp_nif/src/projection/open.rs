//! Opening a projection's file for writing.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, Result};
use crate::files::{self, Access, Watch};
use crate::sqlite::{self, Claim};

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
pub const BUSY: Duration = Duration::from_secs(5);
/// How many prepared statements are kept.
const STATEMENTS: usize = 512;
/// What the WAL is cut back to once everything of it is in the file: more is there only while
/// something reads. `warp_projection_query_pool.erl` has the same number.
const MAX_WAL_BYTES: u64 = 64 * 1024 * 1024;

/// A file that was opened.
pub struct Opened {
    /// The connection that writes.
    pub connection: Connection,
    /// Nobody else in this VM has the file open.
    pub claim: Claim,
    /// The files.
    pub watch: Watch,
}

/// Opens the file at `path`, creating it where there is none. With `durable`, each transaction
/// is fsynced; without, a power failure may undo the last ones, each as a whole.
///
/// Errors, with the file left as it was: `NotAProjection`, `NewerFormat`, `Corrupt`, `Io`,
/// `DiskFull`.
///
/// `Claimed`: whoever had the file open before, in this VM, has not closed it yet.
pub fn open(path: &Path, durable: bool, access: Access) -> Result<Opened> {
    // NOTE: the claim comes before the look at the header. Closing a file takes away the locks that this
    // process has on it: with another connection still open, SQLite would not notice when
    // another program ends the WAL under it.
    let claim = Claim::take(path)?;
    for suffix in ["", "-wal", "-shm", "-journal"] {
        files::check_kind(&files::beside(path, suffix))?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    sqlite::finish_creation(path, || Ok(Connection::open_with_flags(path, flags)?))?;
    let fresh = PROJECTION.is_missing(path)?;
    if fresh {
        files::create(path, access)?;
    }
    let connection = Connection::open_with_flags(path, flags)?;
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
    watch.add_database(path)?;
    Ok(Opened {
        connection,
        claim,
        watch,
    })
}
