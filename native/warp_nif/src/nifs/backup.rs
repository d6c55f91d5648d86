//! What a backup asks of a shard.

use rustler::{Env, ResourceArc, Term};

use super::terms::reply_ok;
use crate::engine::Shard;
use crate::threads::{FILES, answer};

/// Has the keys made of all lives up to a position: `ok` or `{error, Reason}`.
#[rustler::nif]
fn make_keys<'a>(env: Env<'a>, shard: ResourceArc<Shard>, up_to: i64, tag: Term<'a>) -> Term<'a> {
    answer(env, &FILES, tag, move |env| {
        reply_ok(env, shard.make_keys(up_to))
    })
}
