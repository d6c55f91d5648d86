//! Carrying out statements that users' projections made, and who is to blame when one fails.

use rusqlite::{Connection, ErrorCode};
use rustler::Term;

use super::values::{self, Bind, list};
use crate::error::Error;

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

/// Runs `[{Sql, [[Value]]}]`, in the transaction under way.
pub fn run_all(connection: &Connection, statements: Term<'_>) -> std::result::Result<(), Failure> {
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
