//! The log of a shard by position, for those that follow it.

use rustler::{Binary, Encoder, Env, Error, NifResult, ResourceArc, Term};

use super::found::{Found, Rows};
use super::terms::{or_none, reading, reading_of};
use crate::atoms;
use crate::engine::Shard;
use crate::reader::{Direction, Followed};

/// `{ok, {Found, normal | dirty}}`, and `found` of that is
/// `{ok, {[{Position, Entity, FirstSeq, LastSeq, Events}], Last, done | more}}`: the log behind a
/// position, up to position Last. It has the rows of the entities that are followed: `users` (all but
/// Warp's own), `{kind, Prefix}` or `all`; and of those the events of the aggregates given: a list of
/// their names, or `all`.
#[rustler::nif]
fn follow<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    after: i64,
    max_bytes: usize,
    followed: Term<'a>,
    aggregates: Term<'a>,
    tag: Term<'a>,
) -> NifResult<Term<'a>> {
    let followed = followed_of(followed)?;
    let aggregates = names_of(aggregates)?;
    Ok(reading(env, shard, tag, move |env, shard| {
        let stretch = shard.read(|reader| reader.follow(after, max_bytes, &followed))?;
        let rows = Rows::Stretch {
            stretch,
            aggregates,
        };
        Ok(Found::answer(env, rows))
    }))
}

/// `{ok, {Found, normal | dirty}}`, and `found` of that is
/// `{ok, {Incarnation, [{Position, Entity, FirstSeq, LastSeq, Events}], NextSeq | done}}`: the rows of an
/// entity that have up to `Limit` events from seq `From` on, and of those the events of the aggregates
/// given.
#[rustler::nif]
#[expect(clippy::too_many_arguments, reason = "what a page is")]
fn follow_entity<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: Binary<'a>,
    incarnation: i64,
    from: u64,
    limit: u64,
    aggregates: Term<'a>,
    tag: Term<'a>,
) -> NifResult<Term<'a>> {
    let aggregates = names_of(aggregates)?;
    Ok(reading_of(
        env,
        shard,
        &entity,
        tag,
        move |env, shard, entity| {
            let page = shard.read(|reader| {
                reader.page(entity, incarnation, Some(from), limit, Direction::Forward)
            })?;
            Ok(Found::answer(env, Rows::OfEntity { page, aggregates }))
        },
    ))
}

/// `{ok, Position}` of the last row that was recorded before a time; 0 when there is none.
#[rustler::nif]
fn position_before<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    time: i64,
    tag: Term<'a>,
) -> Term<'a> {
    reading(env, shard, tag, move |env, shard| {
        Ok(shard
            .read(|reader| reader.position_before(time))?
            .encode(env))
    })
}

fn names_of(aggregates: Term<'_>) -> NifResult<Option<Vec<String>>> {
    match aggregates.decode::<Vec<String>>() {
        Ok(names) => Ok(Some(names)),
        Err(_) if atoms::all() == aggregates => Ok(None),
        Err(error) => Err(error),
    }
}

fn followed_of(term: Term<'_>) -> NifResult<Followed> {
    if atoms::users() == term {
        Ok(Followed::Users)
    } else if atoms::all() == term {
        Ok(Followed::All)
    } else {
        match term.decode::<(rustler::Atom, Binary<'_>)>()? {
            (kind, prefix) if kind == atoms::kind() => {
                let prefix = std::str::from_utf8(prefix.as_slice()).map_err(|_| Error::BadArg)?;
                Ok(Followed::Kind(prefix.to_owned()))
            }
            _ => Err(Error::BadArg),
        }
    }
}

/// `{ok, Run}` of the row at a position, 0 for what is older than runs; `{ok, none}` when the log
/// ends before it.
#[rustler::nif]
fn run_of<'a>(env: Env<'a>, shard: ResourceArc<Shard>, position: i64, tag: Term<'a>) -> Term<'a> {
    reading(env, shard, tag, move |env, shard| {
        Ok(or_none(env, shard.read(|reader| reader.run_of(position))?))
    })
}
