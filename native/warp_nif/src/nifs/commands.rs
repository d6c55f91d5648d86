//! What the writer of a shard is asked to do. Each call only queues it; the answer comes as a message.

use std::sync::Arc;

use rustler::{Binary, Env, ListIterator, LocalPid, NifResult, ResourceArc, Term};

use super::terms::{reply_ok, text};
use crate::atoms;
use crate::engine::Shard;
use crate::erase::{Clearing, Retyping};
use crate::error::{Error, Result};
use crate::event::{PackedHandle, Tied};
use crate::writer::{Append, Command, Submission};

/// From how many bytes on a packed append is released as soon as it is stored.
const LARGE: usize = 4 * 1024;
/// How many appends one submission may have.
pub const MAX_APPENDS: usize = 1000;

/// Queues `[{Packed, RecordedAt}]` behind `Base`. The answer comes as a message; or, when a
/// receipt other than `none` is given and all are stored, the journal's owner gets that instead. With
/// the receipt `silent` nobody is told then.
#[rustler::nif]
fn submit<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: Binary<'a>,
    base: u64,
    appends: ListIterator<'a>,
    receipt: Term<'a>,
) -> Term<'a> {
    let is_silent = atoms::silent() == receipt;
    let receipt = (!is_silent && atoms::none() != receipt).then_some(receipt);
    let told = (receipt, is_silent);
    queue_appends(env, &shard, &entity, base, appends, None, told)
}

/// As `submit`, without a receipt. Clears the payloads of the entity's events at these seqs in the
/// same transaction, and replaces their types as `clear` does.
#[rustler::nif]
fn submit_clearing<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: Binary<'a>,
    base: u64,
    appends: ListIterator<'a>,
    seqs: Vec<u64>,
    types: Vec<(String, String)>,
) -> Term<'a> {
    match Retyping::new(types) {
        Ok(types) => {
            let types = Arc::new(types);
            let clear = (!seqs.is_empty()).then_some(Clearing { seqs, types });
            queue_appends(env, &shard, &entity, base, appends, clear, (None, false))
        }
        Err(error) => reply_ok(env, Err(error)),
    }
}

fn queue_appends<'a>(
    env: Env<'a>,
    shard: &Shard,
    entity: &Binary<'a>,
    base: u64,
    appends: ListIterator<'a>,
    clear: Option<Clearing>,
    (receipt, is_silent): (Option<Term<'a>>, bool),
) -> Term<'a> {
    let decoded: Result<Vec<Append>> = appends
        .take(MAX_APPENDS)
        .map(|append| {
            let (handle, recorded_at): (ResourceArc<PackedHandle>, i64) = append
                .decode()
                .map_err(|_| Error::internal("appends are not {Packed, RecordedAt}"))?;
            // One that was released was stored by an earlier submission, or given up.
            let (packed, ticket) = handle.get_tied().ok_or(Error::Interrupted)?;
            Ok(Append {
                handle: (packed.data.len() >= LARGE).then_some(handle),
                packed,
                recorded_at,
                tied: ticket.map(Tied::new),
            })
        })
        .collect();
    let queued = decoded.and_then(|appends| {
        let submission = Submission {
            entity: text(entity)?,
            from: Some(env.pid()),
            base,
            appends,
            clear,
            receipt: None,
            is_silent,
        };
        shard.submit(Command::Append(submission), receipt)
    });
    reply_ok(env, queued)
}

/// Queues the erasure of an entity. The answer comes as a message.
#[rustler::nif]
fn erase<'a>(env: Env<'a>, shard: ResourceArc<Shard>, entity: Binary<'a>) -> Term<'a> {
    ask(env, &shard, &entity, |entity, from| Command::Erase {
        entity,
        from,
    })
}

/// Queues a command about one entity, whose answer the calling process gets.
fn ask<'a>(
    env: Env<'a>,
    shard: &Shard,
    entity: &Binary<'a>,
    command: impl FnOnce(String, Option<LocalPid>) -> Command,
) -> Term<'a> {
    let from = Some(env.pid());
    let queued = text(entity).and_then(|entity| shard.submit(command(entity, from), None));
    reply_ok(env, queued)
}

/// Queues that everything of an entity whose log ends at seq `Base` is erased, and its log begun anew with the row
/// `Packed`, whose events have no ids: both, or neither. The answer comes as a message, when that is durable.
#[rustler::nif]
fn replace<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: Binary<'a>,
    base: u64,
    packed: ResourceArc<PackedHandle>,
    recorded_at: i64,
) -> NifResult<Term<'a>> {
    let append = Append {
        packed: packed.get().ok_or(rustler::Error::BadArg)?,
        handle: None,
        recorded_at,
        tied: None,
    };
    Ok(ask(env, &shard, &entity, |entity, from| Command::Replace {
        entity,
        base,
        append,
        from,
    }))
}

/// Queues the clearing of payloads, `[{Entity, [Seq]}]`. Of the types that stand first in
/// `[{Type, Cleared}]` each becomes the other one, of the same size; all else of an event stays. The
/// answer comes as a message, once the bytes of the payloads are gone, and those of all that was
/// cleared along with appends before.
#[rustler::nif]
fn clear(
    env: Env<'_>,
    shard: ResourceArc<Shard>,
    events: Vec<(String, Vec<u64>)>,
    types: Vec<(String, String)>,
) -> Term<'_> {
    let from = Some(env.pid());
    let queued = Retyping::new(types).and_then(|types| {
        let types = Arc::new(types);
        let clear = Command::Clear {
            events,
            types,
            from,
        };
        shard.submit(clear, None)
    });
    reply_ok(env, queued)
}

/// Queues the correction of the time of the row that holds an event: microseconds since 1970. The
/// answer comes as a message.
#[rustler::nif]
fn correct_time<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: Binary<'a>,
    seq: u64,
    recorded_at: i64,
) -> Term<'a> {
    ask(env, &shard, &entity, |entity, from| Command::CorrectTime {
        entity,
        seq,
        recorded_at,
        from,
    })
}

/// Asks for `passed` as a message, once everything queued before is committed or has failed.
#[rustler::nif]
fn pass(env: Env<'_>, shard: ResourceArc<Shard>) -> Term<'_> {
    let from = Some(env.pid());
    reply_ok(env, shard.submit(Command::Pass { from }, None))
}
