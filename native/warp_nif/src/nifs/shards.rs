//! Shards, opened and closed, and their counters.

use rustler::{Atom, Binary, Encoder, Env, ResourceArc, Term};

use super::terms::{path, reply, text};
use crate::atoms;
use crate::shard::{Config, Durability, Kind, Kinds, LockHandle, Shard};
use crate::threads::{FILES, answer};

/// Opens a shard for the calling process, which gets all answers, and which has to call `own_shard`
/// with it: `{ok, Shard}` or `{error, Reason}`; `{error, claimed}` while an earlier writer of the file
/// has not finished. It keeps a list of the open entities of these kinds: `[{Prefix, Closing}]`.
#[rustler::nif]
#[expect(clippy::too_many_arguments, reason = "what a shard is opened with")]
fn open<'a>(
    env: Env<'a>,
    lock: ResourceArc<LockHandle>,
    file: Binary<'a>,
    (context, shard, shards): (Binary<'a>, u32, u32),
    durability: Atom,
    queue_limit: usize,
    kinds: Vec<(String, String)>,
    tag: Term<'a>,
) -> Term<'a> {
    let owner = env.pid();
    let kinds = kinds
        .into_iter()
        .map(|(prefix, closing)| Kind { prefix, closing });
    let kinds = Kinds::new(kinds.collect());
    let (path, context) = (path(&file), text(&context));
    let durability = if durability == atoms::normal() {
        Durability::Normal
    } else {
        Durability::Full
    };
    answer(env, &FILES, tag, move |env| {
        let open = || {
            let config = Config {
                path,
                context: context?,
                shard,
                shards,
                durability,
                queue_limit: queue_limit.max(1),
                kinds: kinds?,
            };
            Shard::open(config, lock.share()?, owner)
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
