//! What a backup asks of a shard.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustler::{Atom, Binary, Encoder, Env, Resource, ResourceArc, Term};

use super::restoring::RestoringHandle;
use super::terms::{
    KindTerm, access_of, binary, kinds_of, or_none, path, reply, reply_ok, with_bytes,
};
use crate::atoms;
use crate::backup::chain::{self, Link};
use crate::backup::error::{self as backup, Object, Place};
use crate::backup::key::{Key, random};
use crate::backup::keys_index::KeysIndex;
use crate::backup::label::NO_HASH;
use crate::backup::master;
use crate::backup::segment::Segment;
use crate::backup::trailer::{TRAILER, Trailer};
use crate::engine::{Hold, JournalHandle, Shard};
use crate::error::{Error, Result};
use crate::restore::Restoring;
use crate::save::{OpenBackup, Part, Saving, Stream};
use crate::sync::relock;
use crate::threads::{BACKUPS, FILES, answer};

/// The name of the wrapping that is done here.
const OWN: &str = "master";

/// Has the keys made of all lives up to a position: `ok` or `{error, Reason}`.
#[rustler::nif]
fn make_keys<'a>(env: Env<'a>, shard: ResourceArc<Shard>, up_to: i64, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        reply_ok(env, shard.make_keys(up_to))
    })
}

/// An open backup.
pub struct BackupHandle(pub Arc<OpenBackup>);

#[rustler::resource_impl]
impl Resource for BackupHandle {}

/// A writer that makes no commit.
pub struct HoldHandle(Hold);

#[rustler::resource_impl]
impl Resource for HoldHandle {}

/// A context that is being saved.
pub struct SavingHandle(Mutex<Saving>);

#[rustler::resource_impl]
impl Resource for SavingHandle {}

/// Segments that were looked at without keys.
pub struct ChainHandle(Mutex<Vec<Link>>);

#[rustler::resource_impl]
impl Resource for ChainHandle {}

/// A cut between two commits: `{ok, {Micros, Run, [{Shard, Position}]}}` or `{error, Reason}`.
#[rustler::nif]
fn cut<'a>(
    env: Env<'a>,
    journal: ResourceArc<JournalHandle>,
    shards: Vec<ResourceArc<Shard>>,
    tag: Term<'a>,
) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        let cut = journal.cut(&shards);
        reply(env, cut.map(|cut| (cut.time, cut.run, cut.positions)))
    })
}

/// The same; then the writer makes no commit until `release_hold`, for so many milliseconds at most: `{ok, {Micros, Run,
/// [{Shard, Position}], Hold}}` or `{error, Reason}`.
#[rustler::nif]
fn hold<'a>(
    env: Env<'a>,
    journal: ResourceArc<JournalHandle>,
    shards: Vec<ResourceArc<Shard>>,
    millis: u64,
    tag: Term<'a>,
) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        let held = journal.hold(&shards, Duration::from_millis(millis));
        reply(
            env,
            held.map(|(cut, hold)| {
                let hold = ResourceArc::new(HoldHandle(hold));
                (cut.time, cut.run, cut.positions, hold)
            }),
        )
    })
}

/// Lets the writer go on: whether it has made no commit up to now.
#[rustler::nif]
fn release_hold(hold: ResourceArc<HoldHandle>) -> bool {
    hold.0.release()
}

/// A new backup of a context, with a key of its own: `{ok, Backup}`.
#[rustler::nif]
fn backup_new(env: Env<'_>) -> Term<'_> {
    let new = || -> Result<_> {
        let number = u64::from_le_bytes(random()?);
        let key = Key::random()?;
        Ok(BackupHandle(Arc::new(OpenBackup { number, key })))
    };
    reply(env, new().map(ResourceArc::new))
}

/// The key of a backup, for those who have another service wrap it.
#[rustler::nif]
fn backup_key(env: Env<'_>, backup: ResourceArc<BackupHandle>) -> Term<'_> {
    binary(env, backup.0.key.expose())
}

/// The object `backup` with the key as it was wrapped, or, for the wrapping `master`, to be wrapped by the key given:
/// `{ok, Bytes}`.
#[rustler::nif]
fn backup_object<'a>(
    env: Env<'a>,
    backup: ResourceArc<BackupHandle>,
    (context, shards, created): (String, u32, i64),
    wrapping: String,
    wrapped: Binary<'a>,
) -> Term<'a> {
    let make = || -> Result<_> {
        let OpenBackup { number, key } = &*backup.0;
        let wrapped = if wrapping == OWN {
            let master = key_of(&wrapped)?;
            master::wrap(&master, key, *number, &random()?)?
        } else {
            wrapped.as_slice().to_vec()
        };
        let about = master::Backup {
            backup: *number,
            created,
            shards,
            context,
            wrapping,
            wrapped,
        };
        Ok(about.encode(key))
    };
    reply(env, make().map(|bytes| binary(env, &bytes)))
}

/// What the object `backup` says: `{ok, {Number, Created, Shards, Context, Wrapping, Wrapped}}`.
#[rustler::nif]
fn backup_about_of<'a>(env: Env<'a>, object: Binary<'a>) -> Term<'a> {
    let about = master::Backup::decode(object.as_slice()).map_err(Error::from);
    reply(
        env,
        about.map(|about| {
            let wrapped = binary(env, &about.wrapped);
            let of = (about.context, about.wrapping, wrapped);
            (about.backup, about.created, about.shards, of)
        }),
    )
}

/// Opens a backup with a master key (`wrapped` is true) or with its own key: `{ok, Backup}`.
#[rustler::nif]
fn backup_open<'a>(env: Env<'a>, object: Binary<'a>, key: Binary<'a>, wrapped: bool) -> Term<'a> {
    let open = || -> Result<_> {
        let about = master::Backup::decode(object.as_slice())?;
        let given = key_of(&key)?;
        let key = if wrapped {
            master::unwrap(&given, &about.wrapped, about.backup)?
        } else {
            given
        };
        master::Backup::check(object.as_slice(), &key)?;
        let number = about.backup;
        Ok(BackupHandle(Arc::new(OpenBackup { number, key })))
    };
    reply(env, open().map(ResourceArc::new))
}

fn key_of(bytes: &Binary<'_>) -> Result<Key> {
    let key = bytes.as_slice().try_into().ok().and_then(Key::of);
    key.ok_or_else(|| Error::internal("a key that is none"))
}

/// What is to be saved of one shard: its handle, or `nil`, and its number; from which position and run, and up to which position; and up
/// to which position the stored key pages are complete.
type PartTerm = (Option<ResourceArc<Shard>>, u16, (i64, i64, i64), i64);

/// Begins to save shards up to a cut: when that was, in microseconds since 1970, and whether the last segment completes
/// it: `{ok, Saving}`. `Stream` is
/// `{Number, Shards, Node, LastSegment, ItsHash}`.
#[rustler::nif]
fn save<'a>(
    env: Env<'a>,
    backup: ResourceArc<BackupHandle>,
    (number, shards, node, segment, before): (u64, u32, String, u64, Binary<'a>),
    cut: (i64, bool),
    parts: Vec<PartTerm>,
) -> Term<'a> {
    let parts = parts
        .into_iter()
        .map(|(shard, number, (from, run, to), covered)| Part {
            shard,
            number,
            from,
            run,
            to,
            covered,
        });
    let stream = Stream {
        number,
        shards,
        node,
        segment,
        before: before.as_slice().try_into().unwrap_or(NO_HASH),
    };
    let saving = Saving::new(Arc::clone(&backup.0), stream, cut, parts.collect());
    (
        atoms::ok(),
        ResourceArc::new(SavingHandle(Mutex::new(saving))),
    )
        .encode(env)
}

/// The next key page: `{ok, {Shard, Page, Bytes}}`, or `{ok, none}`.
#[rustler::nif]
fn save_page<'a>(env: Env<'a>, saving: ResourceArc<SavingHandle>, tag: Term<'a>) -> Term<'a> {
    answer(env, &BACKUPS, tag, move |env| {
        let page = relock(&saving.0).page();
        let page = page.map(|page| {
            page.map(|(shard, number, bytes)| (shard, number, binary(env, &bytes)).encode(env))
        });
        reply(env, page.map(|page| or_none(env, page)))
    })
}

/// The index of the key pages.
#[rustler::nif]
fn save_index(env: Env<'_>, saving: ResourceArc<SavingHandle>) -> Term<'_> {
    let index = relock(&saving.0).index();
    binary(env, &index)
}

/// The next segment: `{ok, {Number, Hash, complete | partial, Rows, Events, Bytes}}`, or `{ok, none}`.
#[rustler::nif]
fn save_segment<'a>(env: Env<'a>, saving: ResourceArc<SavingHandle>, tag: Term<'a>) -> Term<'a> {
    answer(env, &BACKUPS, tag, move |env| {
        let segment = relock(&saving.0).segment();
        let segment = segment.map(|segment| {
            segment.map(|segment| {
                let (rows, events) = segment.counts;
                let hash = binary(env, &segment.hash);
                let bytes = binary(env, &segment.bytes);
                (segment.number, hash, segment.is_last, rows, events, bytes).encode(env)
            })
        });
        reply(env, segment.map(|segment| or_none(env, segment)))
    })
}

/// Begins to restore a context, or one entity of it, into a folder: `{ok, Restoring}`.
#[rustler::nif]
#[expect(clippy::too_many_arguments, reason = "what a restore is")]
fn restore<'a>(
    env: Env<'a>,
    backup: ResourceArc<BackupHandle>,
    dir: Binary<'a>,
    (context, shards): (String, u32),
    only: Option<String>,
    access: Atom,
    kinds: Vec<KindTerm>,
    tag: Term<'a>,
) -> Term<'a> {
    let (dir, access, kinds) = (path(&dir), access_of(access), kinds_of(kinds));
    answer(env, &FILES, tag, move |env| {
        let restore = || {
            Restoring::new(
                Arc::clone(&backup.0),
                dir,
                (context, shards),
                only,
                access,
                kinds?,
            )
        };
        let restoring = restore().map(RestoringHandle::new);
        reply(env, restoring.map(ResourceArc::new))
    })
}

/// Adds a key page: `ok`.
#[rustler::nif]
fn restore_page<'a>(
    env: Env<'a>,
    restoring: ResourceArc<RestoringHandle>,
    shard: u16,
    number: u64,
    bytes: Term<'a>,
    tag: Term<'a>,
) -> Term<'a> {
    restoring_with(env, restoring, bytes, tag, move |env, restoring, bytes| {
        restoring.page(shard, number, bytes)?;
        Ok(atoms::done().encode(env))
    })
}

/// Notes which keys a segment says were erased: `{ok, done}`.
#[rustler::nif]
fn restore_erased<'a>(
    env: Env<'a>,
    restoring: ResourceArc<RestoringHandle>,
    number: u64,
    bytes: Term<'a>,
    tag: Term<'a>,
) -> Term<'a> {
    restoring_with(env, restoring, bytes, tag, move |env, restoring, bytes| {
        restoring.erased(number, bytes)?;
        Ok(atoms::done().encode(env))
    })
}

/// Opens all of a segment, and keeps nothing: `{ok, {Rows, Events, Erased, Cleared}}`.
#[rustler::nif]
fn restore_check<'a>(
    env: Env<'a>,
    restoring: ResourceArc<RestoringHandle>,
    number: u64,
    bytes: Term<'a>,
    tag: Term<'a>,
) -> Term<'a> {
    restoring_with(env, restoring, bytes, tag, move |env, restoring, bytes| {
        let counts = restoring.check(number, bytes)?;
        Ok((counts.rows, counts.events, counts.erased, counts.cleared).encode(env))
    })
}

fn restoring_with<'a, W>(
    env: Env<'a>,
    restoring: ResourceArc<RestoringHandle>,
    bytes: Term<'a>,
    tag: Term<'a>,
    work: W,
) -> Term<'a>
where
    W: for<'b> FnOnce(Env<'b>, &Restoring, &[u8]) -> Result<Term<'b>> + Send + 'static,
{
    with_bytes(env, &BACKUPS, bytes, tag, move |env, bytes| {
        work(env, restoring.get(), bytes)
    })
}

/// The cut that a segment completes, from the bytes that it ends with: `{ok, {Number, Micros}}`, `{ok, none}`.
#[rustler::nif]
fn segment_cut<'a>(env: Env<'a>, number: u64, end: Binary<'a>) -> Term<'a> {
    let read = || -> Result<_> {
        let bytes = end.as_slice();
        let trailer = bytes
            .len()
            .checked_sub(TRAILER)
            .and_then(|at| bytes.get(at..));
        let decoded = trailer.map_or(Err("it is not there"), Trailer::decode);
        let trailer = decoded.map_err(|why| {
            Error::from(backup::Error::Damaged {
                object: Object::Segment(number),
                place: Place::Trailer,
                why,
            })
        })?;
        Ok(trailer.cut.map(|cut| (cut.number, cut.time).encode(env)))
    };
    reply(env, read().map(|cut| or_none(env, cut)))
}

/// What the index of the key pages says: `{ok, {Segment, Micros, [{Shard, Highest, Edits}]}}`.
#[rustler::nif]
fn keys_index<'a>(env: Env<'a>, backup: u64, index: Binary<'a>) -> Term<'a> {
    let index = KeysIndex::decode(index.as_slice(), backup, None).map_err(Error::from);
    reply(
        env,
        index.map(|index| {
            let shards: Vec<_> = index
                .shards
                .iter()
                .map(|of| (of.shard, of.highest, of.edits))
                .collect();
            (index.segment, index.time, shards)
        }),
    )
}

/// A chain without segments.
#[rustler::nif]
fn chain_new() -> ResourceArc<ChainHandle> {
    ResourceArc::new(ChainHandle(Mutex::new(Vec::new())))
}

/// Looks at a segment without keys, and adds it to the chain: `{ok, {Label, Cut, Hash, Reaches, [Damage]}}`.
#[rustler::nif]
fn chain_add<'a>(
    env: Env<'a>,
    chain: ResourceArc<ChainHandle>,
    backup: u64,
    number: u64,
    bytes: Term<'a>,
    tag: Term<'a>,
) -> Term<'a> {
    with_bytes(env, &BACKUPS, bytes, tag, move |env, bytes| {
        let segment = Segment::open(bytes, backup, number)?;
        let (hash, damage) = match segment.verify() {
            Ok(hash) => (hash, Vec::new()),
            Err(errors) => (NO_HASH, errors),
        };
        let damage: Vec<String> = damage.iter().map(ToString::to_string).collect();
        let label = segment.label().clone();
        let reaches: Vec<(u16, i64, i64, i64)> = label
            .reaches
            .iter()
            .map(|reach| (reach.shard, reach.from, reach.to, reach.run))
            .collect();
        let cut = segment.cut().map(|cut| (cut.number, cut.time));
        let about = (label.stream, label.first, label.time);
        let link = Link { label, hash };
        let hashed = binary(env, &chain::stands_for(&link));
        relock(&chain.0).push(link);
        Ok((about, or_none(env, cut), hashed, reaches, damage).encode(env))
    })
}

/// The numbers of the segments that are to be read, in order, of those up to this number: without those that were merged
/// into others that are there.
#[rustler::nif]
fn chain_used(chain: ResourceArc<ChainHandle>, up_to: u64) -> Vec<u64> {
    let links = relock(&chain.0);
    let links: Vec<Link> = links
        .iter()
        .filter(|link| link.label.number <= up_to)
        .cloned()
        .collect();
    let used = chain::check(&links).used;
    let used = used.iter().filter_map(|at| links.get(*at));
    used.map(|link| link.label.number).collect()
}

/// What is wrong with the chain of what was added: `[Message]`.
#[rustler::nif]
fn chain_breaks(chain: ResourceArc<ChainHandle>) -> Vec<String> {
    let links = relock(&chain.0);
    let found = chain::check(&links);
    let used = found.used.iter().filter_map(|at| links.get(*at));
    let positions = chain::positions(used);
    let breaks = found.breaks.iter().chain(&positions);
    breaks.map(ToString::to_string).collect()
}
