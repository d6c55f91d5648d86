//! A query: SQL that only reads, within its limits.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{Null, ValueRef};
use rusqlite::{Batch, Connection, ErrorCode, OpenFlags, Statement, ffi};

use crate::request::{Param, Request};
use crate::term::Answer;

/// How many bytes a result may have, and any one value on the way to it.
pub const MAX_BYTES: i64 = 64 * 1024 * 1024;
const MAX_VALUE_BYTES: i32 = 16 * 1024 * 1024;
/// How many bytes SQLite may take for a query.
pub const MAX_HEAP: i64 = 256 * 1024 * 1024;
/// After how many steps of SQLite's machine the deadline is looked at.
const STEPS: i32 = 10_000;
/// How long a lock on the file is waited for.
const BUSY: Duration = Duration::from_secs(1);

/// Pragmas that only say what tables and indexes there are.
const DESCRIBING: [&str; 6] = [
    "index_info",
    "index_list",
    "index_xinfo",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// What ends a query without a result. Each becomes one Erlang term.
pub enum Stop {
    /// `read_only`: the statement would write.
    ReadOnly,
    /// `{sql_error, Message}`: SQLite does not understand it, or refuses it.
    Sql(String),
    /// `{bad_params, Message}`: they do not fit the statement.
    Params(String),
    /// `{too_many_rows, Max}`.
    TooManyRows(i64),
    /// `{result_too_large, MaxBytes}`.
    ResultTooLarge,
    /// `{query_too_large, MaxBytes}`: it needs more memory than a query may have.
    QueryTooLarge,
    /// `timeout`.
    Timeout,
    /// `{away, Reason}`: the file cannot be read.
    Away(Away),
}

/// Why the file could not be read.
pub enum Away {
    /// `{io_error, Message}`: the operating system or SQLite refused.
    Io(String),
    /// `{corrupt, Message}`: the file contradicts itself.
    Corrupt(String),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        let extended = error.sqlite_error().map(|failure| failure.extended_code);
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => Self::Timeout,
            Some(ErrorCode::AuthorizationForStatementDenied | ErrorCode::ReadOnly) => {
                Self::ReadOnly
            }
            Some(ErrorCode::OutOfMemory) => Self::QueryTooLarge,
            _ if extended == Some(ffi::SQLITE_IOERR_NOMEM) => Self::QueryTooLarge,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Away(Away::Corrupt(error.to_string()))
            }
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen,
            ) => Self::Away(Away::Io(error.to_string())),
            _ => Self::Sql(message(error)),
        }
    }
}

/// SQLite's own words for an error.
fn message(error: rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message,
        rusqlite::Error::SqlInputError { msg, .. } => msg,
        other => other.to_string(),
    }
}

/// A connection that cannot write, whatever it is asked.
pub fn open(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)?;
    connection.execute_batch(&format!(
        "PRAGMA hard_heap_limit = {MAX_HEAP}; PRAGMA query_only = ON; PRAGMA temp_store = MEMORY;"
    ))?;
    connection.authorizer(Some(only_reading))?;
    Ok(connection)
}

/// Runs a query: its rows go into the answer, the names of its columns are given back. When this
/// returns, nothing of the file is being read any more.
pub fn run(
    connection: &mut Connection,
    deadline: Instant,
    request: &Request<'_>,
    answer: &mut Answer,
) -> Result<Vec<String>, Stop> {
    connection.progress_handler(STEPS, Some(move || Instant::now() >= deadline))?;
    // SQLite would leave out what is behind it.
    if request.sql.contains('\0') {
        return Err(Stop::Sql("a NUL character in the SQL".into()));
    }
    let mut batch = Batch::new(connection, request.sql);
    let Some(mut statement) = batch.next()? else {
        return Err(Stop::Sql("no statement".into()));
    };
    if batch.next()?.is_some() {
        return Err(Stop::Sql("more than one statement".into()));
    }
    bind(&mut statement, &request.params)?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let are_bools: Vec<bool> = statement
        .columns()
        .map(|column| is_bool(column.decl_type()))
        .collect();
    let mut bytes: usize = columns.iter().map(|name| name.len() + 16).sum();
    let most = usize::try_from(MAX_BYTES).unwrap_or(usize::MAX);
    let mut count = 0;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        if count == request.max_rows {
            let max_rows = i64::try_from(request.max_rows).unwrap_or(i64::MAX);
            return Err(Stop::TooManyRows(max_rows));
        }
        count += 1;
        answer.row(are_bools.len());
        for (index, is_bool) in are_bools.iter().enumerate() {
            let value = row.get_ref(index)?;
            bytes += size(value);
            if bytes > most {
                return Err(Stop::ResultTooLarge);
            }
            if is_infinite(value) {
                let name = columns.get(index).map(String::as_str).unwrap_or_default();
                return Err(Stop::Sql(format!(
                    "column {} ({name}) is infinite, which no Erlang float can be",
                    index + 1
                )));
            }
            answer.value(value, *is_bool);
        }
        answer.end_row();
    }
    Ok(columns)
}

fn bind(statement: &mut Statement<'_>, params: &[Param<'_>]) -> Result<(), Stop> {
    let wanted = statement.parameter_count();
    if params.len() != wanted {
        return Err(Stop::Params(format!(
            "the statement has {wanted} parameters"
        )));
    }
    for (index, param) in (1..).zip(params) {
        match param {
            Param::Null => statement.raw_bind_parameter(index, Null)?,
            Param::Integer(number) => statement.raw_bind_parameter(index, number)?,
            Param::Float(number) => statement.raw_bind_parameter(index, number)?,
            Param::Text(text) => statement.raw_bind_parameter(index, text)?,
        }
    }
    Ok(())
}

fn is_bool(declared: Option<&str>) -> bool {
    declared
        .and_then(|declared| declared.get(..4))
        .is_some_and(|start| start.eq_ignore_ascii_case("BOOL"))
}

/// SQLite gives no float that is not a number: it makes that null.
fn is_infinite(value: ValueRef<'_>) -> bool {
    matches!(value, ValueRef::Real(number) if !number.is_finite())
}

/// How many bytes a value takes in a result, about.
fn size(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len() + 16,
        _ => 16,
    }
}

/// Reading is all that a query may do: no other file, no setting, no transaction of its own.
fn only_reading(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => {
            Authorization::Allow
        }
        AuthAction::Pragma { pragma_name, .. } if DESCRIBING.contains(&pragma_name) => {
            Authorization::Allow
        }
        AuthAction::Function { function_name } if !is_risky(function_name) => Authorization::Allow,
        _ => Authorization::Deny,
    }
}

fn is_risky(function: &str) -> bool {
    function.eq_ignore_ascii_case("load_extension")
        || function.eq_ignore_ascii_case("fts3_tokenizer")
}
