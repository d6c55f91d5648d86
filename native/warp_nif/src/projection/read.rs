//! Reads of Warp's own, on connections that cannot write. What users ask runs elsewhere, in
//! processes of its own: see `native/warp_query`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustler::{Encoder, Env, Term};

use super::database::Shared;
use super::statements::message;
use super::values::{self, Bind, list};
use crate::atoms;
use crate::error::Error;
use crate::sqlite::UnderWay;
use crate::sync::relock;

/// How many idle connections are kept.
const MAX_IDLE: usize = 4;
/// How many bytes the rows may have.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// After how many steps of SQLite's machine the deadline is looked at.
const STEPS: i32 = 10_000;

/// What ends a read without a result. Each becomes one Erlang term.
pub enum Stop {
    /// `{sql_error, Message}`: the statement, or a value of its result, is to blame.
    Sql(String),
    /// `{result_too_large, MaxBytes}`.
    TooLarge,
    /// `timeout`: the deadline passed, or someone closed the file.
    Timeout,
    /// `{away, Reason}`: the file could not be read.
    Away(Error),
}

impl Encoder for Stop {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self {
            Self::Sql(message) => (atoms::sql_error(), message).encode(env),
            Self::TooLarge => (atoms::result_too_large(), MAX_BYTES).encode(env),
            Self::Timeout => atoms::timeout().encode(env),
            Self::Away(error) => (atoms::away(), error).encode(env),
        }
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => Self::Timeout,
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied,
            ) => Self::Away(error.into()),
            _ => Self::Sql(message(&error)),
        }
    }
}

impl From<Bind> for Stop {
    fn from(error: Bind) -> Self {
        match error {
            Bind::Bad(message) => Self::Sql(message),
            Bind::Sqlite(error) => error.into(),
        }
    }
}

/// Runs one statement, and gives its columns and rows.
pub fn run<'a>(
    env: Env<'a>,
    database: &Arc<Shared>,
    sql: &str,
    params: Term<'_>,
    timeout: Duration,
) -> std::result::Result<(Vec<String>, Vec<Term<'a>>), Stop> {
    let _under_way = UnderWay::begin(&database.gate).map_err(Stop::Away)?;
    database.look().map_err(Stop::Away)?;
    let deadline = Instant::now() + timeout;
    let idle = relock(&database.readers).pop();
    let mut connection = match idle {
        Some(connection) => connection,
        None => open(&database.path)?,
    };
    let shared = Arc::clone(database);
    let is_over = move || Instant::now() >= deadline || shared.gate.has_ended();
    connection.progress_handler(STEPS, Some(is_over))?;
    let result = select(env, &connection, sql, params);
    connection.progress_handler(0, None::<fn() -> bool>)?;
    let mut idle = relock(&database.readers);
    if idle.len() < MAX_IDLE && !database.gate.has_ended() {
        idle.push(connection);
    }
    result
}

fn select<'a>(
    env: Env<'a>,
    connection: &Connection,
    sql: &str,
    params: Term<'_>,
) -> std::result::Result<(Vec<String>, Vec<Term<'a>>), Stop> {
    let mut statement = connection.prepare(sql)?;
    values::bind_all(&mut statement, list(params)?)?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let mut values = Vec::with_capacity(columns.len());
        for (index, name) in columns.iter().enumerate() {
            let value = row.get_ref(index)?;
            bytes += values::size(value);
            if bytes > MAX_BYTES {
                return Err(Stop::TooLarge);
            }
            values.push(values::to_term(env, value).ok_or_else(|| {
                let number = index + 1;
                Stop::Sql(format!(
                    "column {number} ({name}) is infinite, which no Erlang float can be"
                ))
            })?);
        }
        found.push(values.encode(env));
    }
    Ok((columns, found))
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(Duration::from_secs(1))?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY;")?;
    Ok(connection)
}
