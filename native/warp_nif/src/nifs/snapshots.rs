//! Snapshots, kept and read.

use rustler::{Binary, Encoder, Env, NewBinary, OwnedEnv, ResourceArc, Term};

use super::BUDGET;
use super::terms::{or_none, reading_of, reply_ok, text};
use crate::atoms;
use crate::engine::Shard;
use crate::log::SnapshotRow;
use crate::threads::READS;
use crate::writer::Command;

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
        let snapshot = Command::Snapshot {
            entity,
            incarnation,
            snapshot: SnapshotRow {
                aggregate,
                version,
                seq,
                recorded_at,
                image,
            },
        };
        shard.submit(snapshot, None)
    };
    if image.len() <= BUDGET {
        return reply_ok(env, queue(&shard, image.as_slice().to_vec()));
    }
    // A large binary is kept by reference, not copied.
    let own = OwnedEnv::new();
    let kept = own.save(image.to_term(env));
    let job = move || {
        let image = own.run(|env| kept.load(env).decode().map(|b: Binary<'_>| b.to_vec()));
        if let Ok(image) = image {
            // A full queue takes no snapshot. The entity's process makes a later one.
            let _ = queue(&shard, image);
        }
    };
    reply_ok(env, READS.run(Box::new(job)))
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
