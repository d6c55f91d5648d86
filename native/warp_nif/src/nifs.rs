//! What Erlang can call.
//!
//! | function | scheduler | why |
//! |---|---|---|
//! | `shard_of`, `rules` | normal | a hash; a handful of names |
//! | `pack` | normal | stops at [`PACK_BUDGET`] bytes and asks for `pack_dirty` |
//! | `pack_dirty`, `keep` | dirty CPU | up to 16 MiB of JSON |
//! | `json_encode`, `json_decode` | normal | stop at [`PACK_BUDGET`] bytes and ask for the dirty one |
//! | `json_encode_dirty`, `json_decode_dirty` | dirty CPU | JSON of any size |
//! | `submit`, `submit_clearing`, `erase`, `clear`, `pass` | normal | only queue; at most [`MAX_APPENDS`] rows at once |
//! | `save_snapshot` | dirty CPU | copies a state of up to 16 MiB, then only queues |
//! | `lock`, `establish`, `unlock`, `open`, `close` | dirty IO | files, and waiting for a thread |
//! | `head`, `place`, `snapshot`, `page`, `follow`, `check_ids`, `stats` | dirty IO | read the file |
//! | `open_sagas`, `saga_steps` | dirty IO | read the file |
//! | `projection_open`, `_execute`, `_tidy`, `_close` | dirty IO | files |
//! | `projection_query` | normal | starts a thread, which answers |
//!
//! A panic in any of them becomes an Erlang error in the calling process.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustler::{Atom, Binary, Encoder, Env, ListIterator, NewBinary, OwnedEnv, ResourceArc, Term};

use crate::atoms;
use crate::error::{Error, Result};
use crate::event::{self, PackError, PackedHandle, Rules};
use crate::hash::{hash64, jump};
use crate::json::{self, Floats, JsonError};
use crate::shard::{
    Append, Command, Config, DirLock, Direction, Durability, LockHandle, Page, Receipt, Row, Shard,
    SnapshotRow, Submission,
};

/// The most bytes that an entity's id may have.
const MAX_ENTITY_BYTES: usize = 512;
/// How many bytes of JSON a normal scheduler handles at once: well under a millisecond.
const PACK_BUDGET: usize = 32 * 1024;
/// How many appends one submission may have.
const MAX_APPENDS: usize = 1000;

fn reply<'a, T: Encoder>(env: Env<'a>, result: Result<T>) -> Term<'a> {
    match result {
        Ok(value) => (atoms::ok(), value).encode(env),
        Err(error) => (atoms::error(), error).encode(env),
    }
}

fn reply_ok<'a>(env: Env<'a>, result: Result<()>) -> Term<'a> {
    match result {
        Ok(()) => atoms::ok().encode(env),
        Err(error) => (atoms::error(), error).encode(env),
    }
}

fn text(binary: &Binary<'_>) -> Result<String> {
    let text = std::str::from_utf8(binary.as_slice());
    text.map(str::to_owned)
        .map_err(|_| Error::Io("not UTF-8".into()))
}

#[cfg(unix)]
fn path(binary: &Binary<'_>) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(binary.as_slice()).into()
}

/// `{ok, Shard}` for a valid entity id, else `{error, Why}`.
#[rustler::nif]
fn shard_of<'a>(env: Env<'a>, id: Term<'a>, shards: u32) -> Term<'a> {
    let Ok(binary) = id.decode::<Binary<'a>>() else {
        return (atoms::error(), atoms::not_a_binary()).encode(env);
    };
    let bytes = binary.as_slice();
    if bytes.is_empty() {
        (atoms::error(), atoms::empty()).encode(env)
    } else if bytes.len() > MAX_ENTITY_BYTES {
        let why = (atoms::too_long(), bytes.len(), MAX_ENTITY_BYTES);
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
    ResourceArc::new(Rules {
        aggregates: by_name.collect::<HashMap<_, _>>(),
        default,
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
            let packed = ResourceArc::new(PackedHandle(Arc::new(packed)));
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
) -> (ResourceArc<PackedHandle>, usize, usize) {
    let kept = packed.0.keep(&indexes);
    let (count, bytes) = (kept.count(), kept.data.len());
    (ResourceArc::new(PackedHandle(Arc::new(kept))), count, bytes)
}

/// A term as JSON text: `{ok, Text}`, `{error, Reason}` or `dirty`. With `padded` floats have
/// 17 digits.
#[rustler::nif]
fn json_encode<'a>(env: Env<'a>, term: Term<'a>, padded: bool) -> Term<'a> {
    json_encode_within(env, term, padded, PACK_BUDGET)
}

/// As `json_encode`, whatever the size.
#[rustler::nif(schedule = "DirtyCpu")]
fn json_encode_dirty<'a>(env: Env<'a>, term: Term<'a>, padded: bool) -> Term<'a> {
    json_encode_within(env, term, padded, usize::MAX)
}

fn json_encode_within<'a>(env: Env<'a>, term: Term<'a>, padded: bool, budget: usize) -> Term<'a> {
    let floats = if padded {
        Floats::Padded
    } else {
        Floats::Shortest
    };
    let mut out = Vec::new();
    match json::encode_with(term, &mut out, budget, floats) {
        Ok(_) => {
            let text: Binary<'a> = NewBinary::from_slice(env, &out).into();
            (atoms::ok(), text).encode(env)
        }
        Err(JsonError::OverBudget) => atoms::dirty().encode(env),
        Err(error) => (atoms::error(), error).encode(env),
    }
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
    match parsed {
        Ok(term) => (atoms::ok(), term).encode(env),
        Err(error) => (atoms::error(), error).encode(env),
    }
}

/// Locks a context's directory: `{ok, Lock}` or `{error, Reason}`.
#[rustler::nif(schedule = "DirtyIo")]
fn lock<'a>(env: Env<'a>, dir: Binary<'a>, patience_ms: u64) -> Term<'a> {
    let taken = DirLock::take(&path(&dir), Duration::from_millis(patience_ms));
    reply(env, taken.map(ResourceArc::new))
}

/// Notes that all shards exist now: from here on a missing one is an error.
#[rustler::nif(schedule = "DirtyIo")]
fn establish<'a>(env: Env<'a>, lock: ResourceArc<LockHandle>) -> Term<'a> {
    reply_ok(env, lock.share().and_then(|lock| lock.establish()))
}

/// Gives the lock up. It is free once the shards that were opened under it have closed.
#[rustler::nif(schedule = "DirtyIo")]
fn unlock(lock: ResourceArc<LockHandle>) -> Atom {
    lock.release();
    atoms::ok()
}

/// Opens a shard for the calling process, which gets all answers.
#[rustler::nif(schedule = "DirtyIo")]
fn open<'a>(
    env: Env<'a>,
    lock: ResourceArc<LockHandle>,
    file: Binary<'a>,
    context: Binary<'a>,
    shard_and_shards: (u32, u32),
    durability: Atom,
    queue_limit: usize,
) -> Term<'a> {
    let opened = (|| {
        let config = Config {
            path: path(&file),
            context: text(&context)?,
            shard: shard_and_shards.0,
            shards: shard_and_shards.1,
            durability: if durability == atoms::normal() {
                Durability::Normal
            } else {
                Durability::Full
            },
            queue_limit: queue_limit.max(1),
        };
        let owner = env.pid();
        let shard = Shard::open(config, lock.share()?, owner)?;
        if env.monitor(&shard, &owner).is_none() {
            // The owner died while its shard was being opened.
            shard.close();
        }
        Ok(shard)
    })();
    reply(env, opened)
}

/// Closes a shard and waits until its file is closed.
#[rustler::nif(schedule = "DirtyIo")]
fn close(shard: ResourceArc<Shard>) -> Atom {
    shard.close();
    atoms::ok()
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
    let decoded: rustler::NifResult<Vec<Append>> = appends
        .take(MAX_APPENDS)
        .map(|append| {
            let (packed, recorded_at): (ResourceArc<PackedHandle>, i64) = append.decode()?;
            Ok(Append {
                packed: Arc::clone(&packed.0),
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

/// Asks for `passed` as a message, once everything queued before is committed or has failed.
#[rustler::nif]
fn pass(env: Env<'_>, shard: ResourceArc<Shard>) -> Term<'_> {
    let from = Some(env.pid());
    reply_ok(env, shard.submit(Command::Pass { from }))
}

/// Queues a snapshot: `{Aggregate, Version, Seq, RecordedAt}` and the state. Never answered.
#[rustler::nif(schedule = "DirtyCpu")]
fn save_snapshot<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: Binary<'a>,
    incarnation: i64,
    of: (String, u64, u64, i64),
    image: Binary<'a>,
) -> Term<'a> {
    let (aggregate, version, seq, recorded_at) = of;
    let queued = text(&entity).and_then(|entity| {
        shard.submit(Command::Snapshot {
            entity,
            incarnation,
            snapshot: SnapshotRow {
                aggregate,
                version,
                seq,
                recorded_at,
                image: image.as_slice().to_vec(),
            },
        })
    });
    reply_ok(env, queued)
}

/// `{ok, {Incarnation, Seq, RecordedAt}}` of the last event; `{ok, none}` without events.
#[rustler::nif(schedule = "DirtyIo")]
fn head<'a>(env: Env<'a>, shard: ResourceArc<Shard>, entity: Binary<'a>) -> Term<'a> {
    let found = text(&entity).and_then(|entity| shard.read(|reader| reader.head(&entity)));
    reply(
        env,
        found.map(|head| match head {
            Some(head) => (head.incarnation, head.seq, head.recorded_at).encode(env),
            None => atoms::none().encode(env),
        }),
    )
}

/// `{ok, {Incarnation, Seq, Position}}` of the last event; `{ok, none}` without events.
#[rustler::nif(schedule = "DirtyIo")]
fn place<'a>(env: Env<'a>, shard: ResourceArc<Shard>, entity: Binary<'a>) -> Term<'a> {
    let found = text(&entity).and_then(|entity| shard.read(|reader| reader.place(&entity)));
    reply(
        env,
        found.map(|place| place.map_or_else(|| atoms::none().encode(env), |at| at.encode(env))),
    )
}

/// `{ok, {[{Position, Entity, FirstSeq, LastSeq, Events}], Last, done | more}}`: the log behind a
/// position, up to position Last, with the events of these aggregates.
#[rustler::nif(schedule = "DirtyIo")]
fn follow<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    after: i64,
    max_bytes: usize,
    aggregates: Vec<Binary<'a>>,
) -> Term<'a> {
    let followed = shard
        .read(|reader| reader.follow(after, max_bytes))
        .and_then(|stretch| {
            let rows = stretch
                .rows
                .iter()
                .map(|row| followed(env, row, &aggregates))
                .collect::<Result<Vec<_>>>()?;
            let end = if stretch.at_end {
                atoms::done()
            } else {
                atoms::more()
            };
            Ok((rows, stretch.last, end).encode(env))
        });
    reply(env, followed)
}

fn followed<'a>(env: Env<'a>, row: &Row, aggregates: &[Binary<'_>]) -> Result<Term<'a>> {
    let of_row = event::parse_row(&row.data)?;
    let mut terms = Vec::with_capacity(of_row.len());
    for (seq, stored) in (row.seq..).zip(&of_row) {
        let aggregate = stored.aggregate.as_deref().unwrap_or(&row.aggregate);
        let wanted = aggregates
            .iter()
            .any(|name| name.as_slice() == aggregate.as_bytes());
        if wanted {
            let time = row.recorded_at;
            terms.push(event::to_term(
                env,
                stored,
                &row.entity,
                &row.aggregate,
                seq,
                time,
            )?);
        }
    }
    let entity: Binary<'a> = NewBinary::from_slice(env, row.entity.as_bytes()).into();
    Ok((row.position, entity, row.seq, row.last_seq(), terms).encode(env))
}

/// `{ok, {Version, Seq, RecordedAt, State}}`, or `{ok, none}`.
#[rustler::nif(schedule = "DirtyIo")]
fn snapshot<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    incarnation: i64,
    aggregate: Binary<'a>,
) -> Term<'a> {
    let found = text(&aggregate)
        .and_then(|aggregate| shard.read(|reader| reader.snapshot(incarnation, &aggregate)));
    reply(
        env,
        found.map(|snapshot| match snapshot {
            Some(stored) => {
                let image: Binary<'a> = NewBinary::from_slice(env, &stored.image).into();
                (stored.version, stored.seq, stored.recorded_at, image).encode(env)
            }
            None => atoms::none().encode(env),
        }),
    )
}

/// `{ok, {Incarnation, Events, NextSeq | done}}`: up to `Limit` events from `From` (0: the
/// first, or the last when going backward).
#[rustler::nif(schedule = "DirtyIo")]
fn page<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: Binary<'a>,
    incarnation: i64,
    from: u64,
    limit: u64,
    direction: Atom,
) -> Term<'a> {
    let direction = if direction == atoms::backward() {
        Direction::Backward
    } else {
        Direction::Forward
    };
    let result = text(&entity).and_then(|entity| {
        let start = (from > 0).then_some(from);
        let page =
            shard.read(|reader| reader.page(&entity, incarnation, start, limit, direction))?;
        let next = page
            .next
            .map_or_else(|| atoms::done().encode(env), |seq| seq.encode(env));
        let incarnation = page.incarnation;
        Ok((incarnation, events(env, &page, limit, direction)?, next).encode(env))
    });
    reply(env, result)
}

fn events<'a>(
    env: Env<'a>,
    page: &Page,
    limit: u64,
    direction: Direction,
) -> Result<Vec<Term<'a>>> {
    let (low, high) = match direction {
        Direction::Forward => (page.from, page.from.saturating_add(limit - 1)),
        Direction::Backward => (page.from.saturating_sub(limit - 1), page.from),
    };
    let mut terms = Vec::new();
    for row in &page.rows {
        let of_row = event::parse_row(&row.data)?;
        let numbered = (row.seq..)
            .zip(&of_row)
            .filter(|(seq, _)| (low..=high).contains(seq));
        let term = |(seq, stored): (u64, &event::StoredEvent<'_>)| {
            event::to_term(
                env,
                stored,
                &row.entity,
                &row.aggregate,
                seq,
                row.recorded_at,
            )
        };
        match direction {
            Direction::Forward => {
                for event in numbered {
                    terms.push(term(event)?);
                }
            }
            Direction::Backward => {
                let found: Vec<_> = numbered.collect();
                for event in found.into_iter().rev() {
                    terms.push(term(event)?);
                }
            }
        }
    }
    Ok(terms)
}

/// `{ok, none}`, or what would keep `Packed` from being appended.
#[rustler::nif(schedule = "DirtyIo")]
fn check_ids<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: Binary<'a>,
    packed: ResourceArc<PackedHandle>,
) -> Term<'a> {
    let found =
        text(&entity).and_then(|entity| shard.read(|reader| reader.check_ids(&entity, &packed.0)));
    reply(
        env,
        found.map(|stop| stop.map_or_else(|| atoms::none().encode(env), |stop| stop.encode(env))),
    )
}

/// `{ok, [Entity]}`: the sagas that are not closed.
#[rustler::nif(schedule = "DirtyIo")]
fn open_sagas(env: Env<'_>, shard: ResourceArc<Shard>) -> Term<'_> {
    reply(env, shard.read(|reader| reader.open_sagas()))
}

/// `{ok, [{Saga, Step}]}`: the steps that left events in the entity's log.
#[rustler::nif(schedule = "DirtyIo")]
fn saga_steps<'a>(env: Env<'a>, shard: ResourceArc<Shard>, entity: Binary<'a>) -> Term<'a> {
    let found = text(&entity).and_then(|entity| shard.read(|reader| reader.saga_steps(&entity)));
    reply(
        env,
        found.map(|steps| steps.into_iter().collect::<Vec<_>>()),
    )
}

/// A map of counters; histograms are `[{BelowMicroseconds, Count}]`.
#[rustler::nif(schedule = "DirtyIo")]
fn stats(env: Env<'_>, shard: ResourceArc<Shard>) -> Term<'_> {
    let report = shard.stats();
    let mut map = Term::map_new(env);
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
