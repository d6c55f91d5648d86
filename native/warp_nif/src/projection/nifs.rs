//! What Erlang can call of the projection's file; `crate::nifs` has the table of schedulers.

use std::sync::Arc;
use std::time::Duration;

use rustler::{Atom, Binary, Encoder, Env, OwnedEnv, ResourceArc, Term};

use super::database::{Database, Failure, Shared, list};
use super::query::{self, Query};
use crate::atoms;
use crate::error::Error;
use crate::terms::{access_of, path, reply, reply_ok};
use crate::threads::{FILES, answer};

/// `{ok, Database}`, or `{error, Reason}`, which comes as `{Tag, Result}`. The calling process has
/// to call `projection_own` with it. `{error, claimed}` while whoever had the file has not closed it.
/// When its files are found removed or replaced, it answers `away` to everything, and the calling
/// process gets `{warp_projection_lost, Message}`.
#[rustler::nif]
fn projection_open<'a>(
    env: Env<'a>,
    file: Binary<'a>,
    durable: bool,
    access: Atom,
    tag: Term<'a>,
) -> Term<'a> {
    let (file, access, owner) = (path(&file), access_of(access), env.pid());
    answer(env, &FILES, tag, move |env| {
        let opened = Shared::open(file, durable, access, owner);
        reply(
            env,
            opened.map(|shared| ResourceArc::new(Database(Arc::new(shared)))),
        )
    })
}

/// From now on the file is closed when the calling process goes.
#[rustler::nif]
fn projection_own(env: Env<'_>, database: ResourceArc<Database>) -> Atom {
    // Without a monitor the file is closed with the last term that has it.
    let _ = env.monitor(&database, &env.pid());
    atoms::ok()
}

/// One transaction: `ok`, `{error, {refused, N, Message}}` or `{error, {away, Reason}}`, which comes
/// as `{Tag, Result}`. For a few statements: they are copied.
#[rustler::nif]
fn projection_execute<'a>(
    env: Env<'a>,
    database: ResourceArc<Database>,
    statements: Term<'a>,
    tag: Term<'a>,
) -> Term<'a> {
    let own = OwnedEnv::new();
    let statements = own.save(statements);
    answer(env, &FILES, tag, move |env| {
        own.run(|own| execute(env, &database, statements.load(own)))
    })
}

/// As `projection_execute`, without copying the statements, on a scheduler of the VM: for the
/// batches of projectors, which nobody waits for.
#[rustler::nif(schedule = "DirtyIo")]
fn projection_execute_batch<'a>(
    env: Env<'a>,
    database: ResourceArc<Database>,
    statements: Term<'a>,
) -> Term<'a> {
    execute(env, &database, statements)
}

fn execute<'a>(env: Env<'a>, database: &Database, statements: Term<'_>) -> Term<'a> {
    let done = list(statements)
        .map_err(Failure::Away)
        .and_then(|statements| database.0.execute(statements));
    if let Some(lost) = database.0.newly_lost() {
        // An owner that is gone needs no message.
        let _ = env.send(&database.0.owner, (atoms::warp_projection_lost(), lost));
    }
    match done {
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
    reply_ok(env, started)
}

/// Makes what was erased go from the bytes of the file and its WAL: `ok` or `{error, Reason}`, which
/// comes as `{Tag, Result}`.
#[rustler::nif]
fn projection_tidy<'a>(env: Env<'a>, database: ResourceArc<Database>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        reply_ok(env, database.0.tidy())
    })
}

/// Closes the file: `ok`, which comes as `{Tag, ok}`.
#[rustler::nif]
fn projection_close<'a>(env: Env<'a>, database: ResourceArc<Database>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        database.0.close();
        atoms::ok().encode(env)
    })
}
