//! Files and the lock on a context's directory.

use rustler::{Atom, Binary, Encoder, Env, NewBinary, OwnedEnv, ResourceArc, Term};

use super::terms::{access_of, path, reply, reply_ok};
use crate::atoms;
use crate::error::Error;
use crate::files::{self, OpenFiles, There};
use crate::open::{DirLock, LockHandle};
use crate::threads::{FILES, answer};

/// `{Limit | infinity, Open}`: how many files this process may have open, and has.
#[rustler::nif]
fn open_files<'a>(env: Env<'a>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, |env| {
        let OpenFiles { limit, open } = files::open_files();
        match limit {
            Some(limit) => (limit, open).encode(env),
            None => (atoms::infinity(), open).encode(env),
        }
    })
}

/// Locks a context's directory: `{ok, Lock}` or `{error, Reason}`.
#[rustler::nif]
fn try_lock<'a>(env: Env<'a>, dir: Binary<'a>, access: Atom, tag: Term<'a>) -> Term<'a> {
    let (dir, access) = (path(&dir), access_of(access));
    answer(env, &FILES, tag, move |env| {
        reply(env, DirLock::take(&dir, access).map(ResourceArc::new))
    })
}

/// Notes that all shards exist now: from here on a missing one is an error. `ok` or
/// `{error, Reason}`.
#[rustler::nif]
fn establish<'a>(env: Env<'a>, lock: ResourceArc<LockHandle>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        reply_ok(env, lock.share().and_then(|lock| lock.establish()))
    })
}

/// Gives the lock up: `ok`. It is free once the shards that were opened under it have closed.
#[rustler::nif]
fn unlock<'a>(env: Env<'a>, lock: ResourceArc<LockHandle>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        lock.release();
        atoms::ok().encode(env)
    })
}

/// Whether there is a file of that name: `true` or `false`.
#[rustler::nif]
fn exists<'a>(env: Env<'a>, file: Binary<'a>, tag: Term<'a>) -> Term<'a> {
    let file = path(&file);
    answer(env, &FILES, tag, move |env| file.exists().encode(env))
}

/// How many bytes the file of that name has: `{ok, Bytes}` or `{error, Reason}`.
#[rustler::nif]
fn file_bytes<'a>(env: Env<'a>, file: Binary<'a>, tag: Term<'a>) -> Term<'a> {
    let file = path(&file);
    answer(env, &FILES, tag, move |env| {
        let bytes = std::fs::metadata(&file).map(|found| found.len());
        reply(env, bytes.map_err(|error| Error::io(&file, error)))
    })
}

/// Writes a whole file, durably, and the folders above it: `ok`, `exists` when there is one and it was not to be
/// replaced, or `{error, Reason}`.
#[rustler::nif]
fn put_file<'a>(
    env: Env<'a>,
    file: Binary<'a>,
    bytes: Term<'a>,
    access: Atom,
    replaces: bool,
    tag: Term<'a>,
) -> Term<'a> {
    let (file, access) = (path(&file), access_of(access));
    let there = if replaces {
        There::GivesWay
    } else {
        There::Stays
    };
    // NOTE: large binaries are counted, so that saving one copies no bytes.
    let own = OwnedEnv::new();
    let saved = own.save(bytes);
    answer(env, &FILES, tag, move |env| {
        let put = own.run(|own| {
            let bytes: Term<'_> = saved.load(own);
            let bytes = bytes.decode::<Binary<'_>>();
            let bytes = bytes.map_err(|_| Error::internal("what is to be written is no binary"))?;
            files::put(&file, bytes.as_slice(), access, there)
        });
        match put {
            Ok(true) => atoms::ok().encode(env),
            Ok(false) => atoms::exists().encode(env),
            Err(error) => (atoms::error(), error).encode(env),
        }
    })
}

/// All of a small file: `{ok, Bytes}`, `none` when there is no such file, or `{error, Reason}`.
#[rustler::nif]
fn get_file<'a>(env: Env<'a>, file: Binary<'a>, tag: Term<'a>) -> Term<'a> {
    let file = path(&file);
    answer(env, &FILES, tag, move |env| match std::fs::read(&file) {
        Ok(bytes) => {
            let mut made = NewBinary::new(env, bytes.len());
            made.copy_from_slice(&bytes);
            (atoms::ok(), Term::from(made)).encode(env)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => atoms::none().encode(env),
        Err(error) => (atoms::error(), Error::io(&file, error)).encode(env),
    })
}

/// Gives a folder another name, durably: `ok` or `{error, Reason}`.
#[rustler::nif]
fn rename_folder<'a>(env: Env<'a>, from: Binary<'a>, to: Binary<'a>, tag: Term<'a>) -> Term<'a> {
    let (from, to) = (path(&from), path(&to));
    answer(env, &FILES, tag, move |env| {
        let renamed = std::fs::rename(&from, &to).map_err(|error| Error::io(&to, error));
        reply_ok(env, renamed.and_then(|()| files::sync_parent(&to)))
    })
}

/// Deletes the files in a folder whose names begin so: `ok`. One that cannot be deleted stays.
#[rustler::nif]
fn delete_files<'a>(env: Env<'a>, dir: Binary<'a>, prefix: Binary<'a>, tag: Term<'a>) -> Term<'a> {
    let (dir, prefix) = (path(&dir), prefix.as_slice().to_vec());
    answer(env, &FILES, tag, move |env| {
        files::delete_all(&dir, &prefix);
        atoms::ok().encode(env)
    })
}
