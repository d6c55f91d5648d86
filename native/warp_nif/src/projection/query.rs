//! Queries, each in a thread of its own: one that takes long keeps no scheduler of the VM, and is
//! stopped at its deadline.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Batch, Connection, ErrorCode, OpenFlags};
use rustler::env::SavedTerm;
use rustler::{Encoder, Env, LocalPid, OwnedEnv, Term};

use super::database::{Shared, list, message, relock};
use super::values::{self, Bind};
use crate::atoms;
use crate::error::{Error, Result};

/// How many queries may run at once.
const MAX_QUERIES: usize = 16;
/// How many idle connections are kept.
const MAX_IDLE: usize = 4;
/// How many bytes a result may have, and any one value on the way to it.
const MAX_BYTES: usize = 64 * 1024 * 1024;
const MAX_VALUE_BYTES: i32 = 16 * 1024 * 1024;
/// What is said of a number that is infinite, as rqlite's answer says it.
const INFINITE: &str = "the result has an infinite number in it";
/// After how many steps of SQLite's machine the deadline is looked at.
const STEPS: i32 = 10_000;

/// Pragmas that only say what tables and indexes there are.
const DESCRIBING: [&str; 6] = [
    "index_info",
    "index_list",
    "index_xinfo",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// A query, with its parameters in `env`.
pub struct Query {
    pub sql: String,
    pub max_rows: usize,
    pub timeout: Duration,
    pub env: OwnedEnv,
    pub params: SavedTerm,
    pub tag: SavedTerm,
}

/// What ends a query without a result. Each becomes one Erlang term.
enum Stop {
    ReadOnly,
    Sql(String),
    Params(String),
    TooManyRows(usize),
    TooLarge,
    Timeout,
    Away(Error),
}

impl Encoder for Stop {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self {
            Self::ReadOnly => atoms::read_only().encode(env),
            Self::Sql(message) => (atoms::sql_error(), message).encode(env),
            Self::Params(message) => (atoms::bad_params(), message).encode(env),
            Self::TooManyRows(max) => (atoms::too_many_rows(), max).encode(env),
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
            Some(ErrorCode::AuthorizationForStatementDenied | ErrorCode::ReadOnly) => {
                Self::ReadOnly
            }
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::CannotOpen,
            ) => Self::Away(error.into()),
            _ => Self::Sql(message(&error)),
        }
    }
}

/// Counts a query while it is under way.
struct UnderWay(Arc<Shared>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.querying.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Starts a query. `{Tag, {ok, {Columns, Rows}} | {error, Reason}}` goes to `caller`.
pub fn start(database: Arc<Shared>, mut query: Query, caller: LocalPid) -> Result<()> {
    let before = database.querying.fetch_add(1, Ordering::SeqCst);
    let counted = UnderWay(database);
    // Looked at after counting: whoever closes it now waits for this query.
    if counted.0.closed.load(Ordering::SeqCst) {
        return Err(Error::Closed);
    }
    if before >= MAX_QUERIES {
        return Err(Error::Overloaded);
    }
    let started = std::thread::Builder::new()
        .name("warp-query".into())
        .spawn(move || {
            let mut answer = OwnedEnv::new();
            // Nobody to send to: whoever asked is gone.
            let _ = answer.send_and_clear(&caller, |env| {
                let result = run(env, &counted.0, &mut query);
                let tag = query.env.run(|own| query.tag.load(own).in_env(env));
                match result {
                    Ok(found) => (tag, (atoms::ok(), found)).encode(env),
                    Err(stop) => (tag, (atoms::error(), stop)).encode(env),
                }
            });
            if let Some(lost) = counted.0.newly_lost() {
                let _ = answer.send_and_clear(&counted.0.owner, |env| {
                    (atoms::warp_projection_lost(), lost).encode(env)
                });
            }
        });
    started
        .map(drop)
        .map_err(|error| Error::Io(error.to_string()))
}

fn run<'a>(
    env: Env<'a>,
    database: &Arc<Shared>,
    query: &mut Query,
) -> std::result::Result<(Vec<Term<'a>>, Vec<Term<'a>>), Stop> {
    database.look().map_err(Stop::Away)?;
    let deadline = Instant::now() + query.timeout;
    let idle = relock(&database.readers).pop();
    let mut connection = match idle {
        Some(connection) => connection,
        None => open(&database.path)?,
    };
    let shared = Arc::clone(database);
    let is_over = move || Instant::now() >= deadline || shared.closed.load(Ordering::SeqCst);
    connection.progress_handler(STEPS, Some(is_over))?;
    let result = select(env, &connection, query);
    connection.progress_handler(0, None::<fn() -> bool>)?;
    let mut idle = relock(&database.readers);
    if idle.len() < MAX_IDLE && !database.closed.load(Ordering::SeqCst) {
        idle.push(connection);
    }
    result
}

fn select<'a>(
    env: Env<'a>,
    connection: &Connection,
    query: &mut Query,
) -> std::result::Result<(Vec<Term<'a>>, Vec<Term<'a>>), Stop> {
    let mut batch = Batch::new(connection, &query.sql);
    let Some(mut statement) = batch.next()? else {
        return Err(Stop::Sql("no statement".into()));
    };
    if batch.next()?.is_some() {
        return Err(Stop::Sql("more than one statement".into()));
    }
    query.env.run(|own| {
        let mut count = 0;
        for value in list(query.params.load(own)).map_err(Stop::Away)? {
            count += 1;
            if count > statement.parameter_count() {
                break;
            }
            values::bind(&mut statement, count, value).map_err(|error| match error {
                Bind::Bad(message) => Stop::Params(message),
                Bind::Sqlite(error) => error.into(),
            })?;
        }
        if count == statement.parameter_count() {
            Ok(())
        } else {
            let wanted = statement.parameter_count();
            Err(Stop::Params(format!(
                "the statement has {wanted} parameters"
            )))
        }
    })?;
    let columns = statement
        .column_names()
        .map(|name| name.encode(env))
        .collect();
    let are_bools: Vec<bool> = statement
        .columns()
        .map(|column| {
            let declared = column.decl_type().unwrap_or_default();
            declared
                .get(..4)
                .is_some_and(|start| start.eq_ignore_ascii_case("BOOL"))
        })
        .collect();
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        if found.len() == query.max_rows {
            return Err(Stop::TooManyRows(query.max_rows));
        }
        let mut values = Vec::with_capacity(are_bools.len());
        for (index, is_bool) in are_bools.iter().enumerate() {
            let value = row.get_ref(index)?;
            bytes += values::size(value);
            if bytes > MAX_BYTES {
                return Err(Stop::TooLarge);
            }
            let term = values::to_term(env, value, *is_bool);
            values.push(term.ok_or_else(|| Stop::Sql(INFINITE.into()))?);
        }
        found.push(values.encode(env));
    }
    Ok((columns, found))
}

/// A connection that cannot write, whatever it is asked.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(Duration::from_secs(1))?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY;")?;
    connection.authorizer(Some(only_reading))?;
    Ok(connection)
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
