//! Hand-offs: what a node asks its shards that gives one away, and the copy that another node makes of it.

use std::path::PathBuf;
use std::sync::Mutex;

use rustler::{Atom, Binary, Encoder, Env, Resource, ResourceArc, Term};

use super::terms::{access_of, binary, or_none, path, reply, reply_ok, text, with_bytes};
use crate::atoms;
use crate::engine::{JournalHandle, Shard};
use crate::error::{Error, Result};
use crate::handoff::{self, MAX_PAGES, Outline, Stage};
use crate::sync::relock;
use crate::threads::{FILES, answer};

/// A copy that is being made; none once it is closed.
pub struct StageHandle(Mutex<Option<Stage>>);

#[rustler::resource_impl]
impl Resource for StageHandle {}

impl StageHandle {
    fn with<T>(&self, work: impl FnOnce(&mut Stage) -> Result<T>) -> Result<T> {
        relock(&self.0).as_mut().map_or(Err(Error::Closed), work)
    }
}

/// Where a shard is read: an open one, or the file of one that is closed.
enum Source {
    Open(ResourceArc<Shard>),
    Closed(PathBuf),
}

impl Source {
    fn of(term: Term<'_>) -> rustler::NifResult<Self> {
        match term.decode::<ResourceArc<Shard>>() {
            Ok(shard) => Ok(Self::Open(shard)),
            Err(_) => Ok(Self::Closed(path(&term.decode()?))),
        }
    }

    fn outline(&self) -> Result<Outline> {
        match self {
            Self::Open(shard) => shard.outline(),
            Self::Closed(path) => Outline::of_closed(path),
        }
    }

    fn pages(&self, pages: &[u32]) -> Result<Vec<u8>> {
        if pages.len() > MAX_PAGES || pages.contains(&0) {
            return Err(Error::internal("too many pages at once, or page 0"));
        }
        match self {
            Self::Open(shard) => shard.pages(pages),
            Self::Closed(path) => handoff::pages_of_closed(path, pages),
        }
    }
}

fn reply_binary<B: AsRef<[u8]>>(env: Env<'_>, result: Result<B>) -> Term<'_> {
    reply(env, result.map(|bytes| binary(env, bytes.as_ref())))
}

/// What stands in a shard's file: `{ok, {Id, Pages, Sums}}` or `{error, Reason}`.
#[rustler::nif]
fn outline<'a>(env: Env<'a>, source: Term<'a>, tag: Term<'a>) -> rustler::NifResult<Term<'a>> {
    let source = Source::of(source)?;
    Ok(answer(env, &FILES, tag, move |env| {
        let found = source.outline();
        reply(
            env,
            found.map(|found| (found.id, found.sums.len(), binary(env, &found.bytes()))),
        )
    }))
}

/// Pages of a shard's file, one behind the other: `{ok, Bytes}` or `{error, Reason}`.
#[rustler::nif]
fn pages<'a>(
    env: Env<'a>,
    source: Term<'a>,
    wanted: Vec<u32>,
    tag: Term<'a>,
) -> rustler::NifResult<Term<'a>> {
    let source = Source::of(source)?;
    Ok(answer(env, &FILES, tag, move |env| {
        reply_binary(env, source.pages(&wanted))
    }))
}

/// The digest of what stands in a shard's file: `{ok, Digest}` or `{error, Reason}`.
#[rustler::nif]
fn digest<'a>(env: Env<'a>, source: Term<'a>, tag: Term<'a>) -> rustler::NifResult<Term<'a>> {
    let source = Source::of(source)?;
    Ok(answer(env, &FILES, tag, move |env| {
        reply_binary(env, source.outline().map(|found| found.digest()))
    }))
}

/// Likewise of a file that is closed, and has all that the journal knows of its shard.
#[rustler::nif]
fn digest_of<'a>(
    env: Env<'a>,
    journal: ResourceArc<JournalHandle>,
    file: Binary<'a>,
    shard: u16,
    tag: Term<'a>,
) -> Term<'a> {
    let file = path(&file);
    answer(env, &FILES, tag, move |env| {
        reply_binary(env, journal.digest(&file, shard))
    })
}

/// Has all that is committed brought into the file, synced: `ok` or `{error, Reason}`.
#[rustler::nif]
fn move_wal<'a>(env: Env<'a>, shard: ResourceArc<Shard>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| reply_ok(env, shard.move_wal()))
}

/// Blanks what the journal has of a shard that was given away, and forgets it: `ok` or `{error, Reason}`.
#[rustler::nif]
fn leave<'a>(
    env: Env<'a>,
    journal: ResourceArc<JournalHandle>,
    shard: u16,
    tag: Term<'a>,
) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        reply_ok(env, journal.leave(shard))
    })
}

/// Forgets a shard that is not here: `ok` or `{error, Reason}`.
#[rustler::nif]
fn forget<'a>(
    env: Env<'a>,
    journal: ResourceArc<JournalHandle>,
    shard: u16,
    tag: Term<'a>,
) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        reply_ok(env, journal.forget(shard))
    })
}

/// Overwrites the files of a shard and removes them: `ok` or `{error, Reason}`.
#[rustler::nif]
fn discard<'a>(env: Env<'a>, file: Binary<'a>, tag: Term<'a>) -> Term<'a> {
    let file = path(&file);
    answer(env, &FILES, tag, move |env| {
        reply_ok(env, handoff::discard(&file))
    })
}

/// Makes a shard of a copy that is complete: `ok` or `{error, Reason}`.
#[rustler::nif]
fn adopt<'a>(
    env: Env<'a>,
    journal: ResourceArc<JournalHandle>,
    file: Binary<'a>,
    (context, shard, shards): (Binary<'a>, u16, u32),
    tag: Term<'a>,
) -> Term<'a> {
    let (file, context) = (path(&file), text(&context));
    answer(env, &FILES, tag, move |env| {
        let adopt = || journal.adopt(&file, (context?, shard, shards));
        reply_ok(env, adopt())
    })
}

/// Makes an empty shard whose log ends at a position: `ok` or `{error, Reason}`.
#[rustler::nif]
fn create<'a>(
    env: Env<'a>,
    journal: ResourceArc<JournalHandle>,
    file: Binary<'a>,
    (context, shard, shards): (Binary<'a>, u16, u32),
    position: u64,
    tag: Term<'a>,
) -> Term<'a> {
    let (file, context) = (path(&file), text(&context));
    answer(env, &FILES, tag, move |env| {
        let create = || {
            let position = i64::try_from(position);
            let position = position.map_err(|_| Error::internal("a position that no log has"))?;
            journal.create(&file, (context?, shard, shards), position)
        };
        reply_ok(env, create())
    })
}

/// The digest of a copy that is complete: `{ok, Digest}`, `{ok, none}` or `{error, Reason}`.
#[rustler::nif]
fn staged_digest<'a>(env: Env<'a>, file: Binary<'a>, tag: Term<'a>) -> Term<'a> {
    let file = path(&file);
    answer(env, &FILES, tag, move |env| {
        let found = handoff::staged_digest(&file);
        let found = found.map(|found| found.map(|digest| binary(env, &digest)));
        reply(env, found.map(|found| or_none(env, found)))
    })
}

/// Opens or begins the copy of a shard: `{ok, Stage}` or `{error, Reason}`.
#[rustler::nif]
fn stage_open<'a>(env: Env<'a>, file: Binary<'a>, access: Atom, tag: Term<'a>) -> Term<'a> {
    let (file, access) = (path(&file), access_of(access));
    answer(env, &FILES, tag, move |env| {
        let opened = Stage::open(&file, access);
        let handle = |stage| ResourceArc::new(StageHandle(Mutex::new(Some(stage))));
        reply(env, opened.map(handle))
    })
}

/// What the copy has to become: `{ok, Missing}` or `{error, Reason}`.
#[rustler::nif]
fn stage_aim<'a>(
    env: Env<'a>,
    stage: ResourceArc<StageHandle>,
    (id, pages, sums): (u64, u64, Term<'a>),
    tag: Term<'a>,
) -> Term<'a> {
    with_bytes(env, &FILES, sums, tag, move |env, sums| {
        let outline = Outline::decode(id, sums);
        let outline = outline
            .filter(|outline| outline.sums.len() as u64 == pages)
            .ok_or_else(|| Error::internal("another number of sums than of pages"))?;
        Ok(stage.with(|stage| stage.aim(outline))?.encode(env))
    })
}

/// The next pages that are missing: `{ok, Pages}` or `{error, Reason}`.
#[rustler::nif]
fn stage_next<'a>(
    env: Env<'a>,
    stage: ResourceArc<StageHandle>,
    most: usize,
    tag: Term<'a>,
) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        reply(env, stage.with(|stage| Ok(stage.next(most))))
    })
}

/// Writes those of the pages that fit: `{ok, Written}` or `{error, Reason}`.
#[rustler::nif]
fn stage_write<'a>(
    env: Env<'a>,
    stage: ResourceArc<StageHandle>,
    pages: Vec<u32>,
    bytes: Term<'a>,
    tag: Term<'a>,
) -> Term<'a> {
    with_bytes(env, &FILES, bytes, tag, move |env, bytes| {
        Ok(stage.with(|stage| stage.write(&pages, bytes))?.encode(env))
    })
}

/// How many pages are missing: `{ok, Missing}` or `{error, Reason}`.
#[rustler::nif]
fn stage_missing<'a>(env: Env<'a>, stage: ResourceArc<StageHandle>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        reply(env, stage.with(|stage| Ok(stage.missing())))
    })
}

/// Makes durable what is there: `ok` or `{error, Reason}`.
#[rustler::nif]
fn stage_sync<'a>(env: Env<'a>, stage: ResourceArc<StageHandle>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        reply_ok(env, stage.with(|stage| stage.sync()))
    })
}

/// Says that the copy is complete: `ok` or `{error, Reason}`.
#[rustler::nif]
fn stage_seal<'a>(
    env: Env<'a>,
    stage: ResourceArc<StageHandle>,
    digest: Binary<'a>,
    tag: Term<'a>,
) -> Term<'a> {
    let digest = digest.as_slice().to_vec();
    answer(env, &FILES, tag, move |env| {
        reply_ok(env, stage.with(|stage| stage.seal(&digest)))
    })
}

/// Closes the copy, which stays: `ok`.
#[rustler::nif]
fn stage_close<'a>(env: Env<'a>, stage: ResourceArc<StageHandle>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        drop(relock(&stage.0).take());
        atoms::ok().encode(env)
    })
}
