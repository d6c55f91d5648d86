//! Making one segment of a backup of several.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rustler::{Binary, Encoder, Env, Resource, ResourceArc, Term};

use super::backup::BackupHandle;
use super::terms::{binary, reply, with_bytes};
use crate::atoms;
use crate::backup::key::random;
use crate::backup::label::Label;
use crate::backup::merge::Merge;
use crate::backup::segment::Segment;
use crate::engine::Shard;
use crate::error::{Error, Result};
use crate::save::OpenBackup;
use crate::save::dead::Dead;
use crate::sync::relock;
use crate::threads::{BACKUPS, answer};

/// A segment that is being made of others; none of them once it is sealed.
pub struct MergingHandle(Mutex<Option<Merging>>);

struct Merging {
    backup: Arc<OpenBackup>,
    dead: Dead,
    merge: Merge,
}

#[rustler::resource_impl]
impl Resource for MergingHandle {}

/// A segment of none yet. Blocks are left out whose keys these shards have erased up to the positions up to which the key
/// pages are complete: `[{Number, Shard, Covered}]`.
#[rustler::nif]
fn merge_new(
    backup: ResourceArc<BackupHandle>,
    shards: Vec<(u16, ResourceArc<Shard>, i64)>,
) -> ResourceArc<MergingHandle> {
    let shards = shards
        .into_iter()
        .map(|(number, shard, covered)| (number, (shard, covered)));
    let shards: BTreeMap<_, _> = shards.collect();
    let merging = Merging {
        backup: Arc::clone(&backup.0),
        dead: Dead::new(shards),
        merge: Merge::default(),
    };
    ResourceArc::new(MergingHandle(Mutex::new(Some(merging))))
}

/// Adds the segment of this number: `{ok, BytesLeftOut}`, or `{ok, full}`, when it has to be the first of the next one.
#[rustler::nif]
fn merge_add<'a>(
    env: Env<'a>,
    merging: ResourceArc<MergingHandle>,
    number: u64,
    bytes: Term<'a>,
    tag: Term<'a>,
) -> Term<'a> {
    with_bytes(env, &BACKUPS, bytes, tag, move |env, bytes| {
        let mut merging = relock(&merging.0);
        let Merging {
            backup,
            dead,
            merge,
        } = merging.as_mut().ok_or(Error::Closed)?;
        let segment = Segment::open(bytes, backup.number, number)?;
        segment.check_signature(&backup.key)?;
        let hash = segment.verify().map_err(|errors| {
            let first = errors.into_iter().next();
            first.map_or_else(|| Error::internal("damage that is none"), Error::from)
        })?;
        let is_dead = |shard, incarnation, part| dead.is_dead(shard, incarnation, part);
        let left_out = merge.add::<Error>(&segment, hash, is_dead)?;
        Ok(left_out.map_or_else(|| atoms::full().encode(env), |dead| dead.encode(env)))
    })
}

/// The segment that replaces those that were added, made by this node at this time in microseconds since 1970:
/// `{ok, Bytes}`.
#[rustler::nif]
fn merge_seal<'a>(
    env: Env<'a>,
    merging: ResourceArc<MergingHandle>,
    time: i64,
    node: String,
    tag: Term<'a>,
) -> Term<'a> {
    answer(env, &BACKUPS, tag, move |env| {
        let seal = || -> Result<_> {
            let Merging { backup, merge, .. } = relock(&merging.0).take().ok_or(Error::Closed)?;
            let mut bytes = Vec::new();
            merge.seal(random()?, time, node, &backup.key, &mut bytes)?;
            Ok(bytes)
        };
        reply(env, seal().map(|bytes| binary(env, &bytes)))
    })
}

/// What the beginning of a segment says, of at least as many bytes as its label has: `{ok, {First, Id}}`.
#[rustler::nif]
fn segment_label<'a>(env: Env<'a>, number: u64, beginning: Binary<'a>) -> Term<'a> {
    let label = Label::decode(beginning.as_slice(), number).map_err(Error::from);
    reply(
        env,
        label.map(|(label, _)| (label.first, binary(env, &label.id))),
    )
}
