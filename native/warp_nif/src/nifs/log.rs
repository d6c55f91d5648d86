//! The log of a shard by position, for those that follow it.

use rustler::{Env, ResourceArc, Term};

use super::found::{Found, Rows};
use super::terms::{or_none, reading};
use crate::shard::Shard;

/// `{ok, {Found, normal | dirty}}`, and `found` of that is
/// `{ok, {[{Position, Entity, FirstSeq, LastSeq, Events}], Last, done | more}}`: the log behind a
/// position, up to position Last, with the events of these aggregates.
#[rustler::nif]
fn follow<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    after: i64,
    max_bytes: usize,
    aggregates: Vec<String>,
    tag: Term<'a>,
) -> Term<'a> {
    reading(env, shard, tag, move |env, shard| {
        let stretch = shard.read(|reader| reader.follow(after, max_bytes))?;
        let rows = Rows::Stretch {
            stretch,
            aggregates,
        };
        Ok(Found::answer(env, rows))
    })
}

/// `{ok, Run}` of the row at a position, 0 for what is older than runs; `{ok, none}` when the log
/// ends before it.
#[rustler::nif]
fn run_of<'a>(env: Env<'a>, shard: ResourceArc<Shard>, position: i64, tag: Term<'a>) -> Term<'a> {
    reading(env, shard, tag, move |env, shard| {
        Ok(or_none(env, shard.read(|reader| reader.run_of(position))?))
    })
}
