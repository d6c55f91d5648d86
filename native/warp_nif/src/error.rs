//! What can go wrong on the disk side, and how Erlang sees it.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rustler::{Encoder, Env, Term};

use crate::atoms;

/// An error of a shard. Each becomes one Erlang term, given beside the variant.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// `disk_full`: no room to write; nothing of the transaction was kept.
    DiskFull,
    /// `{io_error, Message}`: the operating system or SQLite refused.
    Io(String),
    /// `{corrupt, Message}`: the file's content contradicts itself.
    Corrupt(String),
    /// `{not_a_shard, Path}`: a file that Warp did not make.
    NotAShard(PathBuf),
    /// `{not_a_projection, Path}`: likewise, where a projection's file should be.
    NotAProjection(PathBuf),
    /// `{newer_format, Path, Version}`: written by a newer Warp.
    NewerFormat(PathBuf, i64),
    /// `{shard_count_mismatch, Stored, Given}`.
    ShardCount(i64, i64),
    /// `{wrong_identity, Path, Found}`: a shard of another context, or another shard of this one.
    WrongIdentity(PathBuf, String),
    /// `{data_dir_in_use, Dir}`: another context holds the lock.
    InUse(PathBuf),
    /// `claimed`: an earlier writer of the same file in this VM has not finished yet.
    Claimed,
    /// `overloaded`: the queue is at its limit.
    Overloaded,
    /// `closed`: the shard's writer is gone.
    Closed,
    /// `interrupted`: the writer went down meanwhile; it may or may not be stored.
    Interrupted,
    /// `changed`: the entity was deleted between two pages of one read.
    Changed,
}

/// The result of an operation on a shard.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An I/O error on `path`, with the path in its message.
    pub fn io(path: &Path, error: &std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::StorageFull {
            return Self::DiskFull;
        }
        Self::Io(format!("{}: {error}", path.display()))
    }

    /// A corrupt row or page, described.
    pub fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt(what.into())
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        if let Some(failure) = error.sqlite_error()
            && failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ
        {
            return Self::Corrupt(format!("the file ends too early: {error}"));
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt(error.to_string())
            }
            // Neither our SQL nor the schema changes: without a table, or with a column of
            // another type, the file is no longer what it was.
            Some(ErrorCode::Unknown) | None => Self::Corrupt(error.to_string()),
            Some(_) => Self::Io(error.to_string()),
        }
    }
}

/// What a panic said.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown panic".into())
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Error {}

impl Encoder for Error {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        match self {
            Self::DiskFull => atoms::disk_full().encode(env),
            Self::Io(message) => (atoms::io_error(), message).encode(env),
            Self::Corrupt(message) => (atoms::corrupt(), message).encode(env),
            Self::NotAShard(path) => (atoms::not_a_shard(), text(path)).encode(env),
            Self::NotAProjection(path) => (atoms::not_a_projection(), text(path)).encode(env),
            Self::NewerFormat(path, version) => {
                (atoms::newer_format(), text(path), version).encode(env)
            }
            Self::ShardCount(stored, given) => {
                (atoms::shard_count_mismatch(), stored, given).encode(env)
            }
            Self::WrongIdentity(path, found) => {
                (atoms::wrong_identity(), text(path), found).encode(env)
            }
            Self::InUse(dir) => (atoms::data_dir_in_use(), text(dir)).encode(env),
            Self::Claimed => atoms::claimed().encode(env),
            Self::Overloaded => atoms::overloaded().encode(env),
            Self::Closed => atoms::closed().encode(env),
            Self::Interrupted => atoms::interrupted().encode(env),
            Self::Changed => atoms::changed().encode(env),
        }
    }
}
