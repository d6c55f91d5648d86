//! Journals and shards, opened and closed, and their counters.

use rustler::{Atom, Binary, Encoder, Env, ResourceArc, Term};

use super::terms::{KindTerm, kinds_of, path, reply, text};
use crate::atoms;
use crate::engine::{Config, JournalHandle, Shard};
use crate::open::{Durability, LockHandle};
use crate::threads::{FILES, answer};

/// Opens the journal of a locked folder for the calling process, which gets all answers, and which has
/// to call `own_journal` with it: `{ok, Journal}` or `{error, Reason}`; `{error, claimed}` while an
/// earlier journal of the folder has not finished.
#[rustler::nif]
fn open_journal<'a>(
    env: Env<'a>,
    lock: ResourceArc<LockHandle>,
    durability: Atom,
    tag: Term<'a>,
) -> Term<'a> {
    let owner = env.pid();
    let durability = if durability == atoms::normal() {
        Durability::Normal
    } else {
        Durability::Full
    };
    answer(env, &FILES, tag, move |env| {
        let open = || JournalHandle::open(lock.share()?, durability, owner);
        reply(env, open().map(ResourceArc::new))
    })
}

/// From now on the journal is closed when the calling process goes.
#[rustler::nif]
fn own_journal(env: Env<'_>, journal: ResourceArc<JournalHandle>) -> Atom {
    // When no monitor can be set, the journal closes with the last term that refers to it.
    let _ = env.monitor(&journal, &env.pid());
    atoms::ok()
}

/// Closes a journal: `ok`, when all its files are closed.
#[rustler::nif]
fn close_journal<'a>(env: Env<'a>, journal: ResourceArc<JournalHandle>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        journal.close();
        atoms::ok().encode(env)
    })
}

/// A map of counters of the journal, and the tasks in the `background` that fail.
#[rustler::nif]
fn journal_stats(env: Env<'_>, journal: ResourceArc<JournalHandle>) -> Term<'_> {
    let (counters, background) = journal.report();
    let mut map = Term::map_new(env);
    map = map.map_put(atoms::background(), background).unwrap_or(map);
    for (name, value) in counters {
        map = map.map_put(name, value).unwrap_or(map);
    }
    map
}

/// Opens a shard for the calling process, which has to call `own_shard` with it: `{ok, Shard}` or
/// `{error, Reason}`; `{error, claimed}` while the file of an earlier owner has not been closed. It
/// keeps a list of the open entities of these kinds: `[{Prefix, Closing, {Types, Group}}]`.
#[rustler::nif]
fn open<'a>(
    env: Env<'a>,
    journal: ResourceArc<JournalHandle>,
    file: Binary<'a>,
    (context, shard, shards): (Binary<'a>, u16, u32),
    queue_limit: usize,
    kinds: Vec<KindTerm>,
    tag: Term<'a>,
) -> Term<'a> {
    let owner = env.pid();
    let kinds = kinds_of(kinds);
    let (path, context) = (path(&file), text(&context));
    answer(env, &FILES, tag, move |env| {
        let open = || {
            let config = Config {
                path,
                context: context?,
                shard,
                shards,
                queue_limit: queue_limit.max(1),
                kinds: kinds?,
            };
            Shard::open(&journal, config, owner)
        };
        reply(env, open())
    })
}

/// From now on the shard is closed when the calling process goes.
#[rustler::nif]
fn own_shard(env: Env<'_>, shard: ResourceArc<Shard>) -> Atom {
    // When no monitor can be set, the shard closes with the last term that refers to it.
    let _ = env.monitor(&shard, &env.pid());
    atoms::ok()
}

/// Closes a shard: `ok`, when its file is closed.
#[rustler::nif]
fn close<'a>(env: Env<'a>, shard: ResourceArc<Shard>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        shard.close();
        atoms::ok().encode(env)
    })
}

/// A map of counters; histograms are `[{BelowMicroseconds, Count}]`.
#[rustler::nif]
fn stats(env: Env<'_>, shard: ResourceArc<Shard>) -> Term<'_> {
    let report = shard.stats();
    let mut map = Term::map_new(env);
    map = map
        .map_put(atoms::background(), report.background)
        .unwrap_or(map);
    for (name, value) in report.counters {
        map = map.map_put(name, value).unwrap_or(map);
    }
    for (name, histogram) in [
        (atoms::sync_us(), report.sync),
        (atoms::commit_us(), report.commit),
    ] {
        map = map.map_put(name, histogram).unwrap_or(map);
    }
    map
}
