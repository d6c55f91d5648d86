//! What Erlang can call of shards' files. All of it is done by threads of the engine's own: a call
//! answers `ok`, and the result comes to the calling process as `{Tag, Result}`.

use rustler::{Atom, Binary, Encoder, Env, NewBinary, ResourceArc, Term};

use super::found::{Found, Rows};
use super::{Config, DirLock, Direction, Durability, LockHandle, Shard};
use crate::atoms;
use crate::error::{Error, Result};
use crate::event::PackedHandle;
use crate::files::{self, OpenFiles};
use crate::terms::{access_of, path, reply, reply_ok, text};
use crate::threads::{FILES, READS, answer};

/// `{Limit | infinity, Open}`: how many files this process may have open, and has.
#[rustler::nif]
fn open_files<'a>(env: Env<'a>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, |env| {
        let OpenFiles { limit, open } = files::open_files();
        match limit {
            Some(limit) => (limit, open).encode(env),
            None => (atoms::infinity(), open).encode(env),
        }
    })
}

/// Locks a context's directory: `{ok, Lock}` or `{error, Reason}`.
#[rustler::nif]
fn try_lock<'a>(env: Env<'a>, dir: Binary<'a>, access: Atom, tag: Term<'a>) -> Term<'a> {
    let (dir, access) = (path(&dir), access_of(access));
    answer(env, &FILES, tag, move |env| {
        reply(env, DirLock::take(&dir, access).map(ResourceArc::new))
    })
}

/// Notes that all shards exist now: from here on a missing one is an error. `ok` or
/// `{error, Reason}`.
#[rustler::nif]
fn establish<'a>(env: Env<'a>, lock: ResourceArc<LockHandle>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        reply_ok(env, lock.share().and_then(|lock| lock.establish()))
    })
}

/// Gives the lock up: `ok`. It is free once the shards that were opened under it have closed.
#[rustler::nif]
fn unlock<'a>(env: Env<'a>, lock: ResourceArc<LockHandle>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        lock.release();
        atoms::ok().encode(env)
    })
}

/// Whether there is a file of that name: `true` or `false`.
#[rustler::nif]
fn exists<'a>(env: Env<'a>, file: Binary<'a>, tag: Term<'a>) -> Term<'a> {
    let file = path(&file);
    answer(env, &FILES, tag, move |env| file.exists().encode(env))
}

/// How many bytes the file of that name has: `{ok, Bytes}` or `{error, Reason}`.
#[rustler::nif]
fn file_bytes<'a>(env: Env<'a>, file: Binary<'a>, tag: Term<'a>) -> Term<'a> {
    let file = path(&file);
    answer(env, &FILES, tag, move |env| {
        let bytes = std::fs::metadata(file).map(|found| found.len());
        reply(env, bytes.map_err(|error| Error::Io(error.to_string())))
    })
}

/// Deletes the files in a folder whose names begin so: `ok`. One that cannot be deleted stays.
#[rustler::nif]
fn delete_files<'a>(env: Env<'a>, dir: Binary<'a>, prefix: Binary<'a>, tag: Term<'a>) -> Term<'a> {
    let (dir, prefix) = (path(&dir), prefix.as_slice().to_vec());
    answer(env, &FILES, tag, move |env| {
        files::delete_all(&dir, &prefix);
        atoms::ok().encode(env)
    })
}

/// Opens a shard for the calling process, which gets all answers, and which has to call `own_shard`
/// with it: `{ok, Shard}` or `{error, Reason}`; `{error, claimed}` while an earlier writer of the file
/// has not finished.
#[rustler::nif]
fn open<'a>(
    env: Env<'a>,
    lock: ResourceArc<LockHandle>,
    file: Binary<'a>,
    (context, shard, shards): (Binary<'a>, u32, u32),
    durability: Atom,
    queue_limit: usize,
    tag: Term<'a>,
) -> Term<'a> {
    let owner = env.pid();
    let config = text(&context).map(|context| Config {
        path: path(&file),
        context,
        shard,
        shards,
        durability: if durability == atoms::normal() {
            Durability::Normal
        } else {
            Durability::Full
        },
        queue_limit: queue_limit.max(1),
    });
    answer(env, &FILES, tag, move |env| {
        let opened = config.and_then(|config| Shard::open(config, lock.share()?, owner));
        reply(env, opened)
    })
}

/// From now on the shard is closed when the calling process goes.
#[rustler::nif]
fn own_shard(env: Env<'_>, shard: ResourceArc<Shard>) -> Atom {
    // Without a monitor the shard is closed with the last term that has it.
    let _ = env.monitor(&shard, &env.pid());
    atoms::ok()
}

/// Closes a shard: `ok`, when its file is closed.
#[rustler::nif]
fn close<'a>(env: Env<'a>, shard: ResourceArc<Shard>, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        shard.close();
        atoms::ok().encode(env)
    })
}

/// Answers what `read` finds in a shard.
fn reading<'a, R>(env: Env<'a>, shard: ResourceArc<Shard>, tag: Term<'a>, read: R) -> Term<'a>
where
    R: for<'b> FnOnce(Env<'b>, &Shard) -> Result<Term<'b>> + Send + 'static,
{
    answer(env, &READS, tag, move |env| reply(env, read(env, &shard)))
}

/// As `reading`, of one entity.
fn reading_of<'a, R>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: &Binary<'a>,
    tag: Term<'a>,
    read: R,
) -> Term<'a>
where
    R: for<'b> FnOnce(Env<'b>, &Shard, &str) -> Result<Term<'b>> + Send + 'static,
{
    let entity = text(entity);
    reading(env, shard, tag, move |env, shard| {
        read(env, shard, &entity?)
    })
}

fn or_none<'a, T: Encoder>(env: Env<'a>, found: Option<T>) -> Term<'a> {
    found.map_or_else(|| atoms::none().encode(env), |value| value.encode(env))
}

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
fn place<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: Binary<'a>,
    tag: Term<'a>,
) -> Term<'a> {
    reading_of(env, shard, &entity, tag, |env, shard, entity| {
        Ok(or_none(env, shard.read(|reader| reader.place(entity))?))
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

/// `{ok, {Version, Seq, RecordedAt, State}}`, or `{ok, none}`.
#[rustler::nif]
fn snapshot<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    incarnation: i64,
    aggregate: Binary<'a>,
    tag: Term<'a>,
) -> Term<'a> {
    reading_of(env, shard, &aggregate, tag, move |env, shard, aggregate| {
        let found = shard.read(|reader| reader.snapshot(incarnation, aggregate))?;
        let found = found.map(|stored| {
            let image: Binary<'_> = NewBinary::from_slice(env, &stored.image).into();
            (stored.version, stored.seq, stored.recorded_at, image)
        });
        Ok(or_none(env, found))
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
        let packed = packed.get().ok_or_else(|| Error::Io("released".into()))?;
        let found = shard.read(|reader| reader.check_ids(entity, &packed))?;
        Ok(or_none(env, found))
    })
}

/// `{ok, {[Entity], [Message]}}`: the sagas that are not closed, and what is wrong with those that
/// cannot be read.
#[rustler::nif]
fn open_sagas<'a>(env: Env<'a>, shard: ResourceArc<Shard>, tag: Term<'a>) -> Term<'a> {
    reading(env, shard, tag, |env, shard| {
        let open = shard.open_sagas()?;
        Ok((open.entities, open.broken).encode(env))
    })
}

/// `{ok, [{Saga, Step}]}`: the steps that left events in the entity's log.
#[rustler::nif]
fn saga_steps<'a>(
    env: Env<'a>,
    shard: ResourceArc<Shard>,
    entity: Binary<'a>,
    tag: Term<'a>,
) -> Term<'a> {
    reading_of(env, shard, &entity, tag, |env, shard, entity| {
        let steps = shard.saga_steps(entity)?;
        Ok(steps.into_iter().collect::<Vec<_>>().encode(env))
    })
}
