//! What Erlang can call of the projection's file; `crate::nifs` has the table of schedulers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustler::{Atom, Binary, Encoder, Env, ListIterator, OwnedEnv, ResourceArc, Term};

use super::database::{Database, Failure, Shared};
use super::query::{self, Query};
use crate::atoms;
use crate::error::{Error, Result};

fn reply<'a>(env: Env<'a>, result: Result<()>) -> Term<'a> {
    match result {
        Ok(()) => atoms::ok().encode(env),
        Err(error) => (atoms::error(), error).encode(env),
    }
}

#[cfg(unix)]
fn path(binary: &Binary<'_>) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(binary.as_slice()).into()
}

/// `{ok, Database}`, or `{error, Reason}`.
#[rustler::nif(schedule = "DirtyIo")]
fn projection_open<'a>(env: Env<'a>, file: Binary<'a>, durable: bool) -> Term<'a> {
    match Shared::open(path(&file), durable) {
        Ok(shared) => {
            let database = ResourceArc::new(Database(Arc::new(shared)));
            if env.monitor(&database, &env.pid()).is_none() {
                // The owner died while it was being opened.
                database.0.close();
            }
            (atoms::ok(), database).encode(env)
        }
        Err(error) => (atoms::error(), error).encode(env),
    }
}

/// One transaction: `ok`, `{error, {refused, N, Message}}` or `{error, {away, Reason}}`.
#[rustler::nif(schedule = "DirtyIo")]
fn projection_execute<'a>(
    env: Env<'a>,
    database: ResourceArc<Database>,
    statements: ListIterator<'a>,
) -> Term<'a> {
    match database.0.execute(statements) {
        Ok(()) => atoms::ok().encode(env),
        Err(Failure::Refused(index, message)) => {
            (atoms::error(), (atoms::refused(), index, message)).encode(env)
        }
        Err(Failure::Away(error)) => (atoms::error(), (atoms::away(), error)).encode(env),
    }
}

/// Starts a query. The answer comes as a message with the tag.
#[rustler::nif]
fn projection_query<'a>(
    env: Env<'a>,
    database: ResourceArc<Database>,
    sql: Binary<'a>,
    params: Term<'a>,
    max_rows: u64,
    timeout_ms: u64,
    tag: Term<'a>,
) -> Term<'a> {
    let started = (|| {
        let sql = std::str::from_utf8(sql.as_slice())
            .map_err(|_| Error::Io("SQL that is not UTF-8".into()))?
            .to_owned();
        let own = OwnedEnv::new();
        let (params, tag) = (own.save(params), own.save(tag));
        let query = Query {
            sql,
            max_rows: usize::try_from(max_rows).unwrap_or(usize::MAX),
            timeout: Duration::from_millis(timeout_ms),
            env: own,
            params,
            tag,
        };
        query::start(Arc::clone(&database.0), query, env.pid())
    })();
    reply(env, started)
}

/// Makes what was erased go from the bytes of the file and its WAL.
#[rustler::nif(schedule = "DirtyIo")]
fn projection_tidy<'a>(env: Env<'a>, database: ResourceArc<Database>) -> Term<'a> {
    reply(env, database.0.tidy())
}

/// Closes the file.
#[rustler::nif(schedule = "DirtyIo")]
fn projection_close(database: ResourceArc<Database>) -> Atom {
    database.0.close();
    atoms::ok()
}
