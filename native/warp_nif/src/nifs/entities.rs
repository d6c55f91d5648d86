//! Reading one entity, or finding entities, beside the writer.

use rustler::types::ErlOption;
use rustler::{Atom, Binary, Encoder, Env, ResourceArc, Term};

use super::found::{Found, Rows};
use super::terms::{or_none, reading, reading_of};
use crate::atoms;
use crate::engine::Shard;
use crate::error::Error;
use crate::event::PackedHandle;
use crate::reader::{Direction, Wanted};

/// `{ok, {Incarnation, Seq, RecordedAt}}` of the last event; `{ok, none}` without events.
#[rustler::nif]
fn head<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: Binary<'a>,
    tag: Term<'a>,
) -> Term<'a> {
    reading_of(env, shard, &entity, tag, |env, shard, entity| {
        let head = shard.read(|reader| reader.head(entity))?;
        let found = head.map(|head| (head.incarnation, head.seq, head.recorded_at));
        Ok(or_none(env, found))
    })
}

/// `{ok, {Incarnation, Seq, Position}}` of the last event; `{ok, none}` without events.
#[rustler::nif]
fn last_row<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: Binary<'a>,
    tag: Term<'a>,
) -> Term<'a> {
    reading_of(env, shard, &entity, tag, |env, shard, entity| {
        Ok(or_none(env, shard.read(|reader| reader.last_row(entity))?))
    })
}

/// `{ok, {Found, normal | dirty}}`, and `found` of that is `{ok, {Incarnation, Events, NextSeq | done}}`:
/// up to `Limit` events from `From` (0: the first, or the last when going backward).
#[rustler::nif]
#[expect(clippy::too_many_arguments, reason = "what a page is")]
fn page<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: Binary<'a>,
    incarnation: i64,
    from: u64,
    limit: u64,
    direction: Atom,
    tag: Term<'a>,
) -> Term<'a> {
    let direction = if direction == atoms::backward() {
        Direction::Backward
    } else {
        Direction::Forward
    };
    reading_of(env, shard, &entity, tag, move |env, shard, entity| {
        let start = (from > 0).then_some(from);
        let page =
            shard.read(|reader| reader.page(entity, incarnation, start, limit, direction))?;
        let rows = Rows::Page {
            page,
            limit,
            direction,
        };
        Ok(Found::answer(env, rows))
    })
}

/// `{ok, none}`, or what would keep `Packed` from being appended.
#[rustler::nif]
fn check_ids<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: Binary<'a>,
    packed: ResourceArc<PackedHandle>,
    tag: Term<'a>,
) -> Term<'a> {
    reading_of(env, shard, &entity, tag, move |env, shard, entity| {
        let packed = packed
            .get()
            .ok_or_else(|| Error::internal("an append was released, and is still used"))?;
        let found = shard.read(|reader| reader.check_ids(entity, &packed))?;
        Ok(or_none(env, found))
    })
}

/// `{ok, {[Entity], [Message]}}`: the open entities of the kind with that prefix, and what is wrong
/// with open ones that cannot be read, of whatever kind they are.
#[rustler::nif]
fn open_entities<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    prefix: String,
    tag: Term<'a>,
) -> Term<'a> {
    reading(env, shard, tag, move |env, shard| {
        let open = shard.open_entities(&prefix)?;
        Ok((open.ids, open.broken).encode(env))
    })
}

/// `{ok, {[{Entity, LastSeq}], Next | done}}`: the closed entities of the kind with that prefix whose last row is
/// older than `before`, behind `after`, at most `limit`. `Next` is what the next call takes as `after`.
#[rustler::nif]
fn closed_entities<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    prefix: String,
    before: i64,
    after: i64,
    limit: usize,
    tag: Term<'a>,
) -> Term<'a> {
    reading(env, shard, tag, move |env, shard| {
        let closed = shard.read(|reader| reader.closed_entities(&prefix, before, after, limit))?;
        let next = closed
            .next
            .map_or_else(|| atoms::done().encode(env), |next| next.encode(env));
        Ok((closed.found, next).encode(env))
    })
}

/// `{ok, {[{Entity, LastSeq}], Next | done}}`: the entities whose ids begin with the prefix and that have events of one
/// of the aggregates (`undefined`: of any), behind the place `after`, at most `limit`. `Next` is what the next call takes as
/// `after`; the first one takes the least place.
#[rustler::nif]
fn entities<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    after: (i64, i64),
    prefix: String,
    aggregates: ErlOption<Vec<String>>,
    limit: usize,
    tag: Term<'a>,
) -> Term<'a> {
    let aggregates: Option<Vec<String>> = aggregates.into();
    reading(env, shard, tag, move |env, shard| {
        let wanted = Wanted {
            prefix: &prefix,
            aggregates: aggregates.as_deref(),
        };
        let listed = shard.read(|reader| reader.entities(after, &wanted, limit))?;
        let next = listed
            .next
            .map_or_else(|| atoms::done().encode(env), |next| next.encode(env));
        Ok((listed.found, next).encode(env))
    })
}

/// `{ok, Entities}`: about how many entities the shard has, Warp's own left out.
#[rustler::nif]
fn entity_count<'a>(env: Env<'a>, shard: ResourceArc<Shard>, tag: Term<'a>) -> Term<'a> {
    reading(env, shard, tag, move |env, shard| {
        Ok(shard.read(|reader| reader.entity_count())?.encode(env))
    })
}

/// `{ok, [{Aggregate, Entities}]}`: the aggregates that the file has events of, without those given, each with how many
/// entities have such events.
#[rustler::nif]
fn other_aggregates<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    known: Vec<String>,
    tag: Term<'a>,
) -> Term<'a> {
    reading(env, shard, tag, move |env, shard| {
        let others = shard.read(|reader| reader.other_aggregates(&known))?;
        Ok(others.encode(env))
    })
}

/// `{ok, [{Correlation, Number}]}`, each once: of the entity's events whose id is the correlation in
/// their metadata, one of the infixes, and a number.
#[rustler::nif]
fn correlations<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: Binary<'a>,
    infixes: Vec<String>,
    tag: Term<'a>,
) -> Term<'a> {
    reading_of(env, shard, &entity, tag, move |env, shard, entity| {
        let found = shard.correlations(entity, &infixes)?;
        Ok(found.into_iter().collect::<Vec<_>>().encode(env))
    })
}
