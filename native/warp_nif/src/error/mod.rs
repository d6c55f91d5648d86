//! What can go wrong on the disk side, in words; [`blame`] judges errors of SQLite's, and [`term`] is how
//! Erlang sees them.

pub mod blame;
pub mod reason;
pub mod term;

use std::error::Error as StdError;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backup::error as backup;

pub use reason::{Reason, panic_message};

/// An error of a shard or of a projection's file. Each becomes one Erlang term, given beside the
/// variant.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// `disk_full`: no room to write; nothing of the transaction was kept.
    DiskFull,
    /// `{io_error, Message}`: the operating system or SQLite refused.
    Io(Reason),
    /// `{corrupt, Message}`: the file's content contradicts itself. Its operator restores a backup.
    Corrupt(Reason),
    /// `{internal, Message}`: Warp did something that it must not do, and found out. No file and no
    /// disk is to blame, and nobody but Warp's developers can do anything about it.
    Internal(Reason),
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
    /// `{incomplete, Missing}`: so many pages of a shard's copy are missing.
    Incomplete(u64),
    /// `other_digest`: a shard's copy is not the one that was meant.
    OtherDigest,
    /// A backup is not what it has to be: see [`crate::backup::error`] and [`term`].
    Backup(Arc<backup::Error>),
    /// What a read looked for went from memory into the file after its view of the file had begun. It
    /// begins again; `internal` when that came too often.
    Stale,
}

/// The result of an operation on a shard.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An I/O error on `path`, with the path in its message.
    pub fn io(path: &Path, error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::StorageFull {
            return Self::DiskFull;
        }
        Self::Io(Reason::of(error).at(path))
    }

    /// A corrupt row or page, described.
    pub fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt(what.into().into())
    }

    /// A fault of Warp's own, described.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::Internal(what.into().into())
    }

    /// The same error, with the path in its message where the variant has none.
    pub fn at(self, path: &Path) -> Self {
        match self {
            Self::Io(reason) => Self::Io(reason.at(path)),
            Self::Corrupt(reason) => Self::Corrupt(reason.at(path)),
            Self::Internal(reason) => Self::Internal(reason.at(path)),
            other => other,
        }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiskFull => write!(f, "the disk is full"),
            Self::Io(reason) | Self::Corrupt(reason) => write!(f, "{reason}"),
            Self::Internal(reason) => write!(
                f,
                "a bug in Warp, not a fault of the file or the disk; please report it: {reason}"
            ),
            Self::NotAShard(path) => write!(f, "{}: not a shard", path.display()),
            Self::NotAProjection(path) => write!(f, "{}: not a projection", path.display()),
            Self::NewerFormat(path, version) => {
                write!(f, "{}: of the newer format {version}", path.display())
            }
            Self::ShardCount(stored, given) => write!(f, "{stored} shards, and not {given}"),
            Self::WrongIdentity(path, found) => write!(f, "{}: it is {found}", path.display()),
            Self::InUse(dir) => write!(f, "{}: another context has it open", dir.display()),
            Self::Claimed => write!(f, "an earlier writer has not finished yet"),
            Self::Overloaded => write!(f, "the queue is full"),
            Self::Closed => write!(f, "the file is closed"),
            Self::Interrupted => write!(f, "the writer went down"),
            Self::Changed => write!(f, "the entity was deleted meanwhile"),
            Self::Incomplete(missing) => write!(f, "{missing} pages of the copy are missing"),
            Self::OtherDigest => write!(f, "the copy is not the one that was meant"),
            Self::Backup(error) => write!(f, "{error}"),
            Self::Stale => write!(f, "a read that began again and again"),
        }
    }
}

impl From<backup::Error> for Error {
    fn from(error: backup::Error) -> Self {
        Self::Backup(Arc::new(error))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Io(reason) | Self::Corrupt(reason) | Self::Internal(reason) => reason.source(),
            _ => None,
        }
    }
}
