//! The file of an embedded projection.

use std::sync::Arc;
use std::time::Duration;

use rustler::{Atom, Binary, Encoder, Env, OwnedEnv, ResourceArc, Term};

use super::terms::{access_of, path, reply, reply_ok};
use crate::atoms;
use crate::projection::{Database, Failure, Shared, read};
use crate::threads::{FILES, READS, answer};

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
    // When no monitor can be set, the file closes with the last term that refers to it.
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

/// Tells the owner, once, that the files were found removed or replaced.
fn tell_lost(env: Env<'_>, database: &Database) {
    if let Some(lost) = database.0.newly_lost() {
        // An owner that is gone needs no message.
        let _ = env.send(&database.0.owner, (atoms::warp_projection_lost(), lost));
    }
}

fn execute<'a>(env: Env<'a>, database: &Database, statements: Term<'_>) -> Term<'a> {
    let done = database.0.execute(statements);
    tell_lost(env, database);
    match done {
        Ok(()) => atoms::ok().encode(env),
        Err(Failure::Refused(index, message)) => {
            (atoms::error(), (atoms::refused(), index, message)).encode(env)
        }
        Err(Failure::Away(error)) => (atoms::error(), (atoms::away(), error)).encode(env),
    }
}

/// A read of Warp's own: `{ok, {Columns, Rows}}` or `{error, Reason}`, which comes as `{Tag, Result}`.
#[rustler::nif]
fn projection_read<'a>(
    env: Env<'a>,
    database: ResourceArc<Database>,
    sql: String,
    params: Term<'a>,
    timeout_ms: u64,
    tag: Term<'a>,
) -> Term<'a> {
    let own = OwnedEnv::new();
    let params = own.save(params);
    let timeout = Duration::from_millis(timeout_ms);
    answer(env, &READS, tag, move |env| {
        let found = own.run(|own| read::run(env, &database.0, &sql, params.load(own), timeout));
        tell_lost(env, &database);
        match found {
            Ok(found) => (atoms::ok(), found).encode(env),
            Err(stop) => (atoms::error(), stop).encode(env),
        }
    })
}

/// Makes what was erased go from the bytes of the file and its WAL: `ok` or `{error, Reason}`, which
/// comes as `{Tag, Result}`.
#[rustler::nif]
fn projection_tidy<'a>(env: Env<'a>, database: ResourceArc<Database>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        reply_ok(env, database.0.tidy())
    })
}

/// `{ok, Emptied}`: whether the WAL was moved into the file and emptied. It comes as `{Tag, Result}`.
#[rustler::nif]
fn projection_trim<'a>(env: Env<'a>, database: ResourceArc<Database>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| reply(env, database.0.trim()))
}

/// Closes the file: `ok`, which comes as `{Tag, ok}`.
#[rustler::nif]
fn projection_close<'a>(env: Env<'a>, database: ResourceArc<Database>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        database.0.close();
        atoms::ok().encode(env)
    })
}
