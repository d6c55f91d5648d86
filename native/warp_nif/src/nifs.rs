//! What Erlang can call.
//!
//! | function | scheduler | why |
//! |---|---|---|
//! | `shard_of`, `rules` | normal | a hash; a handful of names |
//! | `pack` | normal | stops at [`PACK_BUDGET`] bytes and asks for `pack_dirty` |
//! | `release` | normal | frees up to 16 MiB in one piece |
//! | `pack_dirty`, `keep` | dirty CPU | up to 16 MiB of JSON |
//! | `json_encode`, `json_decode` | normal | stop at [`PACK_BUDGET`] bytes and ask for the dirty one |
//! | `json_encode_dirty`, `json_decode_dirty` | dirty CPU | as much JSON as the caller allows |
//! | `submit`, `submit_clearing`, `erase`, `clear`, `correct_time`, `pass` | normal | only queue; at most [`MAX_APPENDS`] rows at once |
//! | `save_snapshot` | normal | only queues; what takes long to copy is copied by a thread of ours |
//! | `stats` | normal | reads counters |
//! | `try_lock`, `establish`, `unlock`, `open`, `close` | normal | hand over to a thread of ours (`shard::nifs`) |
//! | `own_shard`, `projection_own` | normal | set a monitor |
//! | `head`, `place`, `snapshot`, `page`, `follow`, `check_ids` | normal | likewise; they read the file |
//! | `found` | normal | at most 32 KiB of rows |
//! | `found_dirty` | dirty CPU | all that a read has found |
//! | `open_sagas`, `saga_steps`, `run_of` | normal | likewise |
//! | `exists`, `file_bytes`, `delete_files`, `open_files` | normal | likewise |
//! | `projection_open`, `_execute`, `_read`, `_tidy`, `_trim`, `_close` | normal | likewise (`projection::nifs`) |
//! | `projection_execute_batch` | dirty IO | one transaction, of a process that nobody waits for |
//!
//! A panic in any of them becomes an Erlang error in the calling process, or an error that it gets
//! as its answer. Nothing on the way of a small append, of its answer, of a read or of a restart
//! needs one of the VM's dirty threads, which any part of an application can occupy.

use std::collections::HashMap;

use rustler::{
    Atom, Binary, Encoder, Env, ListIterator, NewBinary, NifResult, OwnedEnv, ResourceArc, Term,
};

use crate::atoms;
use crate::error::Error;
use crate::event::{self, MAX_NAME_BYTES, PackError, PackedHandle, Rules};
use crate::hash::{hash64, jump};
use crate::json::{self, Floats, JsonError};
use crate::shard::{Append, Command, Receipt, Shard, SnapshotRow, Submission};
use crate::terms::{reply_ok, text};
use crate::threads::READS;

/// How many bytes of JSON a normal scheduler handles at once: well under a millisecond.
const PACK_BUDGET: usize = 32 * 1024;
/// From how many bytes on a packed append is released as soon as it is stored.
const LARGE: usize = 64 * 1024;
/// How many appends one submission may have.
const MAX_APPENDS: usize = 1000;

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

/// What `pack` checks events against: `[{Name, Version, Judges}]`.
#[rustler::nif]
fn rules(aggregates: Vec<(String, u64, bool)>) -> ResourceArc<Rules> {
    let default = match aggregates.as_slice() {
        [only] => Some(only.0.clone()),
        _ => None,
    };
    let by_name = aggregates
        .into_iter()
        .map(|(name, version, folds)| (name, (version, folds)));
    let aggregates: HashMap<_, _> = by_name.collect();
    let is_own = aggregates.keys().all(|name| name.starts_with("$warp"));
    ResourceArc::new(Rules {
        aggregates,
        default,
        is_own,
    })
}

/// `{ok, Packed, Count, Bytes, HasIds, Events | none}`, `{error, Reason}` or `dirty`.
#[rustler::nif]
fn pack<'a>(
    env: Env<'a>,
    rules: ResourceArc<Rules>,
    entity: Binary<'a>,
    default: Term<'a>,
    events: Term<'a>,
) -> Term<'a> {
    pack_within(env, &rules, &entity, default, events, PACK_BUDGET)
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
    match event::pack(env, rules, entity, default.decode().ok(), events, budget) {
        Ok((packed, terms)) => {
            let (count, bytes) = (packed.count(), packed.data.len());
            let terms = terms.map_or_else(|| atoms::none().encode(env), |list| list.encode(env));
            let has_ids = !packed.ids.is_empty();
            let packed = ResourceArc::new(PackedHandle::new(packed));
            (atoms::ok(), packed, count, bytes, has_ids, terms).encode(env)
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
    let kept = packed.keep(&indexes);
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

/// A term as JSON text: `{ok, Text}`, `{error, Reason}` or `dirty`. With `padded` floats have
/// 17 digits.
#[rustler::nif]
fn json_encode<'a>(env: Env<'a>, term: Term<'a>, padded: bool) -> Term<'a> {
    match json_encode_within(env, term, padded, PACK_BUDGET) {
        Err(JsonError::OverBudget(_)) => atoms::dirty().encode(env),
        encoded => json_reply(env, encoded),
    }
}

/// As `json_encode`, of at most so many bytes: a text that would be longer is `too_large`.
#[rustler::nif(schedule = "DirtyCpu")]
fn json_encode_dirty<'a>(env: Env<'a>, term: Term<'a>, padded: bool, max: usize) -> Term<'a> {
    let encoded = json_encode_within(env, term, padded, max).map_err(|error| match error {
        JsonError::OverBudget(bytes) => JsonError::TooLarge(bytes, max),
        error => error,
    });
    json_reply(env, encoded)
}

fn json_reply<'a>(env: Env<'a>, result: std::result::Result<Term<'a>, JsonError>) -> Term<'a> {
    match result {
        Ok(term) => (atoms::ok(), term).encode(env),
        Err(error) => (atoms::error(), error).encode(env),
    }
}

fn json_encode_within<'a>(
    env: Env<'a>,
    term: Term<'a>,
    padded: bool,
    budget: usize,
) -> std::result::Result<Term<'a>, JsonError> {
    let floats = if padded {
        Floats::Padded
    } else {
        Floats::Shortest
    };
    let mut out = Vec::new();
    json::encode(term, &mut out, budget, floats)?;
    Ok(NewBinary::from_slice(env, &out).into())
}

/// The JSON object of a text: `{ok, Map}`, `{error, Reason}` or `dirty`.
#[rustler::nif]
fn json_decode<'a>(env: Env<'a>, text: Binary<'a>) -> Term<'a> {
    if text.len() > PACK_BUDGET {
        return atoms::dirty().encode(env);
    }
    json_decode_any(env, &text)
}

/// As `json_decode`, whatever the size.
#[rustler::nif(schedule = "DirtyCpu")]
fn json_decode_dirty<'a>(env: Env<'a>, text: Binary<'a>) -> Term<'a> {
    json_decode_any(env, &text)
}

fn json_decode_any<'a>(env: Env<'a>, text: &Binary<'a>) -> Term<'a> {
    let parsed = std::str::from_utf8(text.as_slice())
        .map_err(|error| JsonError::Invalid(error.to_string()))
        .and_then(|text| json::parse(text, json::Terms(env)));
    json_reply(env, parsed)
}

/// Queues `[{Packed, RecordedAt}]` behind `Base`. The answer comes as a message; or, when a
/// receipt other than `none` is given and all are stored, the shard's owner gets that instead.
#[rustler::nif]
fn submit<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: Binary<'a>,
    base: u64,
    appends: ListIterator<'a>,
    receipt: Term<'a>,
) -> Term<'a> {
    let receipt = (atoms::none() != receipt).then_some(receipt);
    queue_appends(env, &shard, &entity, base, appends, Vec::new(), receipt)
}

/// As `submit`, without a receipt. Clears the payloads of the entity's events at these seqs in
/// the same transaction.
#[rustler::nif]
fn submit_clearing<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: Binary<'a>,
    base: u64,
    appends: ListIterator<'a>,
    seqs: Vec<u64>,
) -> Term<'a> {
    queue_appends(env, &shard, &entity, base, appends, seqs, None)
}

fn queue_appends<'a>(
    env: Env<'a>,
    shard: &Shard,
    entity: &Binary<'a>,
    base: u64,
    appends: ListIterator<'a>,
    clear: Vec<u64>,
    receipt: Option<Term<'a>>,
) -> Term<'a> {
    let decoded: NifResult<Vec<Append>> = appends
        .take(MAX_APPENDS)
        .map(|append| {
            let (handle, recorded_at): (ResourceArc<PackedHandle>, i64) = append.decode()?;
            let packed = handle.get().ok_or(rustler::Error::BadArg)?;
            Ok(Append {
                handle: (packed.data.len() >= LARGE).then_some(handle),
                packed,
                recorded_at,
            })
        })
        .collect();
    let queued = decoded
        .map_err(|_| Error::Io("appends are not {Packed, RecordedAt}".into()))
        .and_then(|appends| {
            shard.submit(Command::Append(Submission {
                entity: text(entity)?,
                from: Some(env.pid()),
                base,
                appends,
                clear,
                receipt: receipt.map(|receipt| {
                    let env = OwnedEnv::new();
                    let term = env.save(receipt);
                    Receipt { env, term }
                }),
            }))
        });
    reply_ok(env, queued)
}

/// Queues the erasure of an entity. The answer comes as a message.
#[rustler::nif]
fn erase<'a>(env: Env<'a>, shard: ResourceArc<Shard>, entity: Binary<'a>) -> Term<'a> {
    let queued = text(&entity).and_then(|entity| {
        shard.submit(Command::Erase {
            entity,
            from: Some(env.pid()),
        })
    });
    reply_ok(env, queued)
}

/// Queues the clearing of payloads, `[{Entity, [Seq]}]`. The answer comes as a message, once
/// their bytes are gone, and those of all that was cleared along with appends before.
#[rustler::nif]
fn clear(env: Env<'_>, shard: ResourceArc<Shard>, events: Vec<(String, Vec<u64>)>) -> Term<'_> {
    let from = Some(env.pid());
    reply_ok(env, shard.submit(Command::Clear { events, from }))
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
    let queued = text(&entity).and_then(|entity| {
        shard.submit(Command::CorrectTime {
            entity,
            seq,
            recorded_at,
            from: Some(env.pid()),
        })
    });
    reply_ok(env, queued)
}

/// Asks for `passed` as a message, once everything queued before is committed or has failed.
#[rustler::nif]
fn pass(env: Env<'_>, shard: ResourceArc<Shard>) -> Term<'_> {
    let from = Some(env.pid());
    reply_ok(env, shard.submit(Command::Pass { from }))
}

/// Queues a snapshot: `{Aggregate, Version, Seq, RecordedAt}` and the state. Never answered. A
/// state that takes long to copy is copied and queued a little later.
#[rustler::nif]
fn save_snapshot<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: Binary<'a>,
    incarnation: i64,
    of: (String, u64, u64, i64),
    image: Binary<'a>,
) -> Term<'a> {
    let entity = match text(&entity) {
        Ok(entity) => entity,
        Err(error) => return (atoms::error(), error).encode(env),
    };
    let queue = move |shard: &Shard, image: Vec<u8>| {
        let (aggregate, version, seq, recorded_at) = of;
        shard.submit(Command::Snapshot {
            entity,
            incarnation,
            snapshot: SnapshotRow {
                aggregate,
                version,
                seq,
                recorded_at,
                image,
            },
        })
    };
    if image.len() <= PACK_BUDGET {
        return reply_ok(env, queue(&shard, image.as_slice().to_vec()));
    }
    // A large binary is kept by reference, not copied.
    let own = OwnedEnv::new();
    let kept = own.save(image.to_term(env));
    let job = move || {
        let image = own.run(|env| kept.load(env).decode().map(|b: Binary<'_>| b.to_vec()));
        if let Ok(image) = image {
            // A queue that is full is no time for a snapshot; a later one will do.
            let _ = queue(&shard, image);
        }
    };
    reply_ok(env, READS.run(Box::new(job)))
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

/// Arms a fault; `undefined` in a library built without them.
#[rustler::nif]
fn fault(kind: Term<'_>) -> Atom {
    #[cfg(feature = "fault")]
    {
        use crate::fault::{Fault, set};
        let fault = match kind.decode::<(Atom, u64)>() {
            Ok((name, times)) if name == atoms::panic() => Fault::Panic(times),
            Ok((name, times)) if name == atoms::fsync_fails() => Fault::FsyncFails(times),
            Ok((name, n)) if name == atoms::fail_at() => Fault::FailAt(n),
            Ok((name, millis)) if name == atoms::stall() => Fault::Stall(millis),
            Ok((name, n)) if name == atoms::abort_after() => Fault::AbortAfter(n),
            _ => Fault::Off,
        };
        set(&fault);
        atoms::ok()
    }
    #[cfg(not(feature = "fault"))]
    {
        let _ = kind;
        atoms::undefined()
    }
}
