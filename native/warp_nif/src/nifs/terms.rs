//! What all NIFs take and give: texts, paths and results.

use rustler::{Atom, Binary, Encoder, Env, NewBinary, OwnedEnv, ResourceArc, Term};

use crate::atoms;
use crate::engine::Shard;
use crate::error::{Error, Result};
use crate::files::Access;
use crate::log::{Apart, Kind, Kinds};
use crate::threads::{Pool, READS, answer};

/// `{ok, Value}` or `{error, Reason}`.
pub fn reply<'a, T: Encoder>(env: Env<'a>, result: Result<T>) -> Term<'a> {
    match result {
        Ok(value) => (atoms::ok(), value).encode(env),
        Err(error) => (atoms::error(), error).encode(env),
    }
}

/// `ok` or `{error, Reason}`.
pub fn reply_ok<'a>(env: Env<'a>, result: Result<()>) -> Term<'a> {
    match result {
        Ok(()) => atoms::ok().encode(env),
        Err(error) => (atoms::error(), error).encode(env),
    }
}

/// A binary as text. Error: `Internal` when it is not UTF-8, which is checked before.
pub fn text(binary: &Binary<'_>) -> Result<String> {
    let text = std::str::from_utf8(binary.as_slice());
    text.map(str::to_owned)
        .map_err(|_| Error::internal("a text that is not UTF-8"))
}

/// A binary as a path.
#[cfg(unix)]
pub fn path(binary: &Binary<'_>) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(binary.as_slice()).into()
}

/// A kind of entities: what their ids begin with, the aggregate of the row that closes one, and of which types, each with
/// what it becomes, the events are whose payloads have keys of their own, so many of them the same one.
pub type KindTerm = (String, String, (Vec<(String, String)>, usize));

/// Error: `Internal` when they cannot be the kinds of a shard.
pub fn kinds_of(terms: Vec<KindTerm>) -> Result<Kinds> {
    let kind = |(prefix, closing, (types, group))| {
        Ok(Kind {
            prefix,
            closing,
            apart: Apart::new(types, group)?,
        })
    };
    Kinds::new(terms.into_iter().map(kind).collect::<Result<_>>()?)
}

/// Who may read what is made.
pub fn access_of(atom: Atom) -> Access {
    if atom == atoms::umask() {
        Access::Umask
    } else {
        Access::Owner
    }
}

/// Answers what `read` finds in a shard.
pub fn reading<'a, R>(env: Env<'a>, shard: ResourceArc<Shard>, tag: Term<'a>, read: R) -> Term<'a>
where
    R: for<'b> FnOnce(Env<'b>, &Shard) -> Result<Term<'b>> + Send + 'static,
{
    answer(env, &READS, tag, move |env| reply(env, read(env, &shard)))
}

/// As `reading`, of one entity.
pub fn reading_of<'a, R>(
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

/// These bytes as a binary.
pub fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut made = NewBinary::new(env, bytes.len());
    made.copy_from_slice(bytes);
    made.into()
}

/// Answers what `work` makes of a binary, of which no byte is copied: large ones are counted.
pub fn with_bytes<'a, W>(
    env: Env<'a>,
    pool: &'static Pool,
    bytes: Term<'a>,
    tag: Term<'a>,
    work: W,
) -> Term<'a>
where
    W: for<'b> FnOnce(Env<'b>, &[u8]) -> Result<Term<'b>> + Send + 'static,
{
    let own = OwnedEnv::new();
    let saved = own.save(bytes);
    answer(env, pool, tag, move |env| {
        let done = own.run(|own| {
            let bytes = saved.load(own).decode::<Binary<'_>>();
            let bytes = bytes.map_err(|_| Error::internal("bytes that are no binary"))?;
            work(env, bytes.as_slice())
        });
        reply(env, done)
    })
}

/// The value, or `none`.
pub fn or_none<'a, T: Encoder>(env: Env<'a>, found: Option<T>) -> Term<'a> {
    found.map_or_else(|| atoms::none().encode(env), |value| value.encode(env))
}
