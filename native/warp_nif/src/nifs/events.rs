//! Events on their way in: ids, rules and packing.

use std::sync::Arc;

use rustler::{Atom, Binary, Encoder, Env, NifResult, ResourceArc, Term};

use super::BUDGET;
use crate::atoms;
use crate::event::{self, Done, MAX_NAME_BYTES, PackError, PackedHandle, Rules, TicketHandle};
use crate::hash::{hash64, jump};

/// `{ok, Shard}` for a valid entity id, else `{error, Why}`.
#[rustler::nif]
fn shard_of<'a>(env: Env<'a>, id: Term<'a>, shards: u32) -> Term<'a> {
    let Ok(binary) = id.decode::<Binary<'a>>() else {
        return (atoms::error(), atoms::not_a_binary()).encode(env);
    };
    let bytes = binary.as_slice();
    if bytes.is_empty() {
        (atoms::error(), atoms::empty()).encode(env)
    } else if bytes.len() > MAX_NAME_BYTES {
        let why = (atoms::too_long(), bytes.len(), MAX_NAME_BYTES);
        (atoms::error(), why).encode(env)
    } else if std::str::from_utf8(bytes).is_err() {
        (atoms::error(), atoms::not_utf8()).encode(env)
    } else {
        (atoms::ok(), jump(hash64(bytes), shards)).encode(env)
    }
}

/// What `pack` checks events against: `[{Name, Version, Judges}]`, and `[{EarlierName, Name}]`.
#[rustler::nif]
fn rules(
    aggregates: Vec<(String, u64, bool)>,
    earlier: Vec<(String, String)>,
) -> ResourceArc<Rules> {
    ResourceArc::new(Rules::new(aggregates, earlier))
}

/// `{ok, Packed, Count, Bytes, HasIds, Events | none, Parts}`, `{error, Reason}` or `dirty`.
#[rustler::nif]
fn pack<'a>(
    env: Env<'a>,
    rules: ResourceArc<Rules>,
    entity: Binary<'a>,
    default: Term<'a>,
    events: Term<'a>,
) -> Term<'a> {
    pack_within(env, &rules, &entity, default, events, BUDGET)
}

/// As `pack`, whatever the size.
#[rustler::nif(schedule = "DirtyCpu")]
fn pack_dirty<'a>(
    env: Env<'a>,
    rules: ResourceArc<Rules>,
    entity: Binary<'a>,
    default: Term<'a>,
    events: Term<'a>,
) -> Term<'a> {
    pack_within(env, &rules, &entity, default, events, usize::MAX)
}

fn pack_within<'a>(
    env: Env<'a>,
    rules: &Rules,
    entity: &Binary<'a>,
    default: Term<'a>,
    events: Term<'a>,
    budget: usize,
) -> Term<'a> {
    let entity = std::str::from_utf8(entity.as_slice()).unwrap_or_default();
    let default = default.decode().ok();
    match event::pack(env, rules, entity, default, events, (None, budget)) {
        Ok(Done {
            packed,
            terms,
            parts,
        }) => {
            let (count, bytes) = (packed.count(), packed.data.len());
            let terms = terms.map_or_else(|| atoms::none().encode(env), |list| list.encode(env));
            let has_ids = !packed.ids.is_empty();
            let packed = ResourceArc::new(PackedHandle::new(packed));
            (atoms::ok(), packed, count, bytes, has_ids, terms, parts).encode(env)
        }
        Err(PackError::OverBudget) => atoms::dirty().encode(env),
        Err(error) => (atoms::error(), error).encode(env),
    }
}

/// `{Packed, Count, Bytes}` with only the events at these indexes, in order, from 0.
#[rustler::nif(schedule = "DirtyCpu")]
fn keep(
    packed: ResourceArc<PackedHandle>,
    indexes: Vec<usize>,
) -> NifResult<(ResourceArc<PackedHandle>, usize, usize)> {
    let packed = packed.get().ok_or(rustler::Error::BadArg)?;
    let kept = packed.keep(&indexes).map_err(|_| rustler::Error::BadArg)?;
    let (count, bytes) = (kept.count(), kept.data.len());
    let kept = ResourceArc::new(PackedHandle::new(kept));
    Ok((kept, count, bytes))
}

/// Gives up what a packed append holds, before whoever still has it drops it.
#[rustler::nif]
fn release(packed: ResourceArc<PackedHandle>) -> Atom {
    packed.release();
    atoms::ok()
}

/// A new ticket: appends that are tied to it are stored only while none of them was not stored.
#[rustler::nif]
fn ticket() -> ResourceArc<TicketHandle> {
    ResourceArc::new(TicketHandle::default())
}

/// Ties a packed append to a ticket, before it is submitted.
#[rustler::nif]
fn tie(packed: ResourceArc<PackedHandle>, ticket: ResourceArc<TicketHandle>) -> Atom {
    packed.tie(Arc::clone(&ticket.0));
    atoms::ok()
}

/// Whether an append with that ticket was not stored.
#[rustler::nif]
fn is_void(ticket: ResourceArc<TicketHandle>) -> bool {
    ticket.0.is_void()
}
