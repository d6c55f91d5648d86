//! An error as an Erlang term.

use std::path::Path;

use rustler::{Encoder, Env, Term};

use super::Error;
use crate::atoms;
use crate::backup::error::{self as backup, Object};

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
            Self::Backup(error) => backup_term(error, env),
            Self::Stale => (atoms::internal(), self.to_string()).encode(env),
        }
    }
}

fn backup_term<'a>(error: &backup::Error, env: Env<'a>) -> Term<'a> {
    let text = error.to_string();
    match error {
        backup::Error::Io(_) | backup::Error::System(_) => (atoms::io_error(), text).encode(env),
        backup::Error::Misuse(_) => (atoms::internal(), text).encode(env),
        backup::Error::UnknownFormat(object, format) => {
            (atoms::newer_format(), object.to_string(), format).encode(env)
        }
        backup::Error::WrongKey(Object::Backup, _) => atoms::wrong_master_key().encode(env),
        backup::Error::KeyUnknown(..) => (atoms::key_unknown(), text).encode(env),
        _ => (atoms::backup_damaged(), text).encode(env),
    }
}
