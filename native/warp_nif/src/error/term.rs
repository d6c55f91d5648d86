//! An error as an Erlang term.

use std::path::Path;

use rustler::{Encoder, Env, Term};

use super::Error;
use crate::atoms;

impl Encoder for Error {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        match self {
            Self::DiskFull => atoms::disk_full().encode(env),
            Self::Io(reason) => (atoms::io_error(), reason.text()).encode(env),
            Self::Corrupt(reason) => (atoms::corrupt(), reason.text()).encode(env),
            Self::Internal(_) => (atoms::internal(), self.to_string()).encode(env),
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
            Self::Incomplete(missing) => (atoms::incomplete(), missing).encode(env),
            Self::OtherDigest => atoms::other_digest().encode(env),
            Self::Stale => (atoms::internal(), self.to_string()).encode(env),
        }
    }
}
