//! Events that are put back: packed row by row, and handed to the writer as one.

use rustler::{Atom, Binary, Encoder, Env, NifResult, ResourceArc, Term};

use super::BUDGET;
use super::terms::{reply_ok, text};
use crate::atoms;
use crate::engine::Shard;
use crate::error::Error;
use crate::event::{self, Done, Import, PackError, Returned, Rules};
use crate::writer::Command;

/// An import without events, which is done at this time: microseconds since 1970.
#[rustler::nif]
fn import_new(at: i64) -> ResourceArc<Import> {
    ResourceArc::new(Import::new(at))
}

/// Adds a row of events, the first of which has the seq `first`, with the time that they had. `{ok, Bytes, Events | none,
/// Parts}`, `{error, Reason}` or `dirty`.
#[rustler::nif]
fn import_add<'a>(
    env: Env<'a>,
    import: ResourceArc<Import>,
    rules: ResourceArc<Rules>,
    entity: Binary<'a>,
    events: Term<'a>,
    first: u64,
    recorded_at: i64,
) -> NifResult<Term<'a>> {
    let times = (first, recorded_at);
    add_within(env, &import, &rules, &entity, events, times, BUDGET)
}

/// As `import_add`, whatever the size.
#[rustler::nif(schedule = "DirtyCpu")]
fn import_add_dirty<'a>(
    env: Env<'a>,
    import: ResourceArc<Import>,
    rules: ResourceArc<Rules>,
    entity: Binary<'a>,
    events: Term<'a>,
    first: u64,
    recorded_at: i64,
) -> NifResult<Term<'a>> {
    let times = (first, recorded_at);
    add_within(env, &import, &rules, &entity, events, times, usize::MAX)
}

fn add_within<'a>(
    env: Env<'a>,
    import: &Import,
    rules: &Rules,
    entity: &Binary<'a>,
    events: Term<'a>,
    (first, recorded_at): (u64, i64),
    budget: usize,
) -> NifResult<Term<'a>> {
    if first == 0 {
        return Err(rustler::Error::BadArg);
    }
    let entity = std::str::from_utf8(entity.as_slice()).unwrap_or_default();
    let at = import.at;
    let returned = Some(Returned { first, at });
    match event::pack(env, rules, entity, None, events, (returned, budget)) {
        Ok(Done {
            packed,
            terms,
            parts,
        }) => {
            let bytes = packed.data.len();
            let terms = terms.map_or_else(|| atoms::none().encode(env), |list| list.encode(env));
            if import.add(packed, recorded_at) {
                Ok((atoms::ok(), bytes, terms, parts).encode(env))
            } else {
                Err(rustler::Error::BadArg)
            }
        }
        Err(PackError::OverBudget) => Ok(atoms::dirty().encode(env)),
        Err(error) => Ok((atoms::error(), error).encode(env)),
    }
}

/// Queues that an entity without events gets those of an import: all of them, or none. The answer comes as a message.
#[rustler::nif]
fn import<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: Binary<'a>,
    packed: ResourceArc<Import>,
) -> Term<'a> {
    let from = Some(env.pid());
    let queued = text(&entity).and_then(|entity| {
        let rows = packed.rows();
        // One that was released was answered for before.
        if rows.is_empty() {
            return Err(Error::Interrupted);
        }
        let command = Command::Import { entity, rows, from };
        shard.submit(command, None)
    });
    reply_ok(env, queued)
}

/// Gives up what an import holds, before whoever still has it drops it.
#[rustler::nif(schedule = "DirtyCpu")]
fn import_release(import: ResourceArc<Import>) -> Atom {
    import.release();
    atoms::ok()
}
