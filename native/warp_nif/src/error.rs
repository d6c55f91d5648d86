//! What can go wrong on the disk side, and how Erlang sees it.

use std::error::Error as StdError;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;
use rustler::{Encoder, Env, Term};

use crate::{atoms, damage};

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
    /// What a read looked for went from memory into the file after its view of the file had begun. It
    /// begins again; `internal` when that came too often.
    Stale,
}

/// The result of an operation on a shard.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something failed, in words, and the error of SQLite or of the operating system that it comes
/// from, if it comes from one.
#[derive(Debug, Clone)]
pub struct Reason {
    text: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Reason {
    /// The same reason, of the file at `path`.
    fn at(self, path: &Path) -> Self {
        Self {
            text: format!("{}: {}", path.display(), self.text),
            ..self
        }
    }

    fn of(error: impl StdError + Send + Sync + 'static) -> Self {
        Self {
            text: error.to_string(),
            source: Some(Arc::new(error)),
        }
    }

    /// The words.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl<T: Into<String>> From<T> for Reason {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            source: None,
        }
    }
}

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

/// Who has to do something about an error of SQLite's or of rusqlite's.
enum Blame {
    DiskFull,
    Io,
    Corrupt,
    Internal,
}

impl From<rusqlite::Error> for Error {
    /// NOTE: for statements of the engine's own. Those of users' projections are judged first: see
    /// `projection::database` and `projection::read`.
    fn from(error: rusqlite::Error) -> Self {
        let blame = blame(&error);
        let words = match &error {
            rusqlite::Error::SqliteFailure(failure, _) => damage::words_of(*failure),
            rusqlite::Error::SqlInputError { error, .. } => damage::words_of(*error),
            _ => None,
        };
        let mut reason = Reason::of(error);
        if let Some(words) = words {
            reason.text = words;
        }
        match blame {
            Blame::DiskFull => Self::DiskFull,
            Blame::Io => Self::Io(reason),
            Blame::Corrupt => Self::Corrupt(reason),
            Blame::Internal => Self::Internal(reason),
        }
    }
}

fn blame(error: &rusqlite::Error) -> Blame {
    use rusqlite::Error as E;
    match error {
        E::SqliteFailure(failure, message) => {
            blame_code(*failure, message.as_deref().unwrap_or_default())
        }
        E::SqlInputError { error, msg, .. } => blame_code(*error, msg),
        // Warp writes no such value: another program did, or the file is damaged.
        E::FromSqlConversionFailure(..)
        | E::IntegralValueOutOfRange(..)
        | E::InvalidColumnType(..)
        | E::Utf8Error(..) => Blame::Corrupt,
        // The operating system cannot have a file of that name.
        E::InvalidPath(_) => Blame::Io,
        // Warp's SQL does not fit the call, or its values do not fit the SQL.
        E::NulError(_)
        | E::InvalidParameterName(_)
        | E::InvalidParameterCount(..)
        | E::InvalidColumnIndex(_)
        | E::InvalidColumnName(_)
        | E::InvalidDatabaseIndex(_)
        | E::InvalidQuery
        | E::MultipleStatement
        | E::ExecuteReturnedResults
        | E::ToSqlConversionFailure(_)
        | E::UnwindingPanic
        | E::SqliteSingleThreadedMode => Blame::Internal,
        // Where a row may be missing, the call asks for an optional one. Where its absence means
        // damage, the call says so itself.
        E::QueryReturnedNoRows | E::QueryReturnedMoreThanOneRow | E::StatementChangedRows(_) => {
            Blame::Internal
        }
        // A variant of a newer rusqlite, or of a feature that Warp does not use.
        _ => Blame::Internal,
    }
}

fn blame_code(failure: rusqlite::ffi::Error, message: &str) -> Blame {
    if failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ {
        return Blame::Corrupt;
    }
    match failure.code {
        ErrorCode::DiskFull => Blame::DiskFull,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Blame::Corrupt,
        // SQLite's code for what it does not understand: a schema that is not Warp's any more, or a
        // statement that no schema can make sense of.
        ErrorCode::Unknown if names_the_schema(message) => Blame::Corrupt,
        ErrorCode::Unknown
        | ErrorCode::ApiMisuse
        | ErrorCode::TypeMismatch
        | ErrorCode::ParameterOutOfRange
        | ErrorCode::NotFound
        | ErrorCode::InternalMalfunction
        | ErrorCode::AuthorizationForStatementDenied => Blame::Internal,
        ErrorCode::SystemIoFailure
        | ErrorCode::CannotOpen
        | ErrorCode::ReadOnly
        | ErrorCode::PermissionDenied
        | ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::SchemaChanged
        | ErrorCode::OperationAborted
        | ErrorCode::OperationInterrupted
        | ErrorCode::OutOfMemory
        | ErrorCode::TooBig
        | ErrorCode::ConstraintViolation
        | ErrorCode::NoLargeFileSupport => Blame::Io,
        // A code of a newer SQLite.
        _ => Blame::Io,
    }
}

/// Whether SQLite says that a table or a column is not there, or is something else. Warp makes all of
/// them when it creates a file, and changes none.
fn names_the_schema(message: &str) -> bool {
    [
        "no such table",
        "no such column",
        "has no column named",
        "because it is a view",
        "may not be modified",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// What a panic said.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown panic".into())
}

impl Display for Reason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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
            Self::Stale => write!(f, "a read that began again and again"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Io(reason) | Self::Corrupt(reason) | Self::Internal(reason) => {
                let source = reason.source.as_deref()?;
                Some(source)
            }
            _ => None,
        }
    }
}

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
            Self::Stale => (atoms::internal(), self.to_string()).encode(env),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Error as E;
    use rusqlite::types::{FromSqlError, Type};
    use rusqlite::{Connection, ffi};

    fn name(error: E) -> &'static str {
        match Error::from(error) {
            Error::DiskFull => "disk_full",
            Error::Io(_) => "io_error",
            Error::Corrupt(_) => "corrupt",
            Error::Internal(_) => "internal",
            other => panic!("{other:?}"),
        }
    }

    /// Errors without a code of SQLite's: each variant is judged by itself.
    #[test]
    fn an_error_of_our_own_is_internal_and_a_wrong_value_is_corrupt() {
        let utf8 = String::from_utf8(vec![0xff]).expect_err("no text");
        let nul = std::ffi::CString::new("a\0b").expect_err("a nul");
        let source = || Box::new(FromSqlError::InvalidType);
        for (error, expected) in [
            (
                E::FromSqlConversionFailure(0, Type::Text, source()),
                "corrupt",
            ),
            (E::IntegralValueOutOfRange(0, -1), "corrupt"),
            (E::InvalidColumnType(0, "seq".into(), Type::Text), "corrupt"),
            (E::Utf8Error(0, utf8.utf8_error()), "corrupt"),
            (E::InvalidPath("x".into()), "io_error"),
            (E::NulError(nul), "internal"),
            (E::InvalidParameterName(":x".into()), "internal"),
            (E::InvalidParameterCount(1, 2), "internal"),
            (E::InvalidColumnIndex(9), "internal"),
            (E::InvalidColumnName("x".into()), "internal"),
            (E::InvalidDatabaseIndex(9), "internal"),
            (E::InvalidQuery, "internal"),
            (E::MultipleStatement, "internal"),
            (E::ExecuteReturnedResults, "internal"),
            (E::ToSqlConversionFailure(source()), "internal"),
            (E::UnwindingPanic, "internal"),
            (E::SqliteSingleThreadedMode, "internal"),
            (E::QueryReturnedNoRows, "internal"),
            (E::QueryReturnedMoreThanOneRow, "internal"),
            (E::StatementChangedRows(2), "internal"),
        ] {
            let what = error.to_string();
            assert_eq!(name(error), expected, "{what}");
        }
    }

    #[test]
    fn a_code_of_sqlite_is_judged_by_who_can_do_something() {
        for (code, expected) in [
            (ffi::SQLITE_FULL, "disk_full"),
            (ffi::SQLITE_CORRUPT, "corrupt"),
            (ffi::SQLITE_NOTADB, "corrupt"),
            (ffi::SQLITE_IOERR_SHORT_READ, "corrupt"),
            (ffi::SQLITE_IOERR_FSYNC, "io_error"),
            (ffi::SQLITE_BUSY, "io_error"),
            (ffi::SQLITE_LOCKED, "io_error"),
            (ffi::SQLITE_CANTOPEN, "io_error"),
            (ffi::SQLITE_READONLY, "io_error"),
            (ffi::SQLITE_PERM, "io_error"),
            (ffi::SQLITE_PROTOCOL, "io_error"),
            (ffi::SQLITE_SCHEMA, "io_error"),
            (ffi::SQLITE_ABORT, "io_error"),
            (ffi::SQLITE_INTERRUPT, "io_error"),
            (ffi::SQLITE_NOMEM, "io_error"),
            (ffi::SQLITE_TOOBIG, "io_error"),
            (ffi::SQLITE_CONSTRAINT, "io_error"),
            (ffi::SQLITE_NOLFS, "io_error"),
            (ffi::SQLITE_MISUSE, "internal"),
            (ffi::SQLITE_MISMATCH, "internal"),
            (ffi::SQLITE_RANGE, "internal"),
            (ffi::SQLITE_NOTFOUND, "internal"),
            (ffi::SQLITE_INTERNAL, "internal"),
            (ffi::SQLITE_AUTH, "internal"),
            (ffi::SQLITE_ERROR, "internal"),
        ] {
            let error = E::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(name(error), expected, "code {code}");
        }
    }

    /// What SQLite itself says, of a file that has lost a part and of statements that are wrong.
    #[test]
    fn a_changed_schema_is_corrupt_and_a_wrong_statement_is_internal() {
        let file = Connection::open_in_memory().expect("opens");
        file.execute_batch(
            "CREATE TABLE t (a INTEGER PRIMARY KEY); CREATE VIEW v AS SELECT 1 AS a",
        )
        .expect("creates");
        for (sql, expected) in [
            ("SELECT a FROM log", "corrupt"),
            ("SELECT position FROM t", "corrupt"),
            ("INSERT INTO t (position) VALUES (1)", "corrupt"),
            ("UPDATE v SET a = 2", "corrupt"),
            ("SELEKT a FROM t", "internal"),
            ("SELECT a FROM t WHERE", "internal"),
            ("INSERT INTO t (a) VALUES ('x')", "internal"),
            ("COMMIT", "internal"),
        ] {
            let error = file.execute_batch(sql).expect_err(sql);
            assert_eq!(name(error), expected, "{sql}");
        }
        let unbound = file.query_row("SELECT a FROM t WHERE a = :a", &[(":b", &1)], |_| Ok(()));
        assert_eq!(name(unbound.expect_err("no such parameter")), "internal");
        let absent = file.query_row("SELECT a FROM t", [], |_| Ok(()));
        assert_eq!(name(absent.expect_err("no row")), "internal");
        let text = file.query_row("SELECT 'x'", [], |row| row.get::<_, i64>(0));
        assert_eq!(name(text.expect_err("not a number")), "corrupt");
    }

    #[test]
    fn an_error_says_whose_fault_it_is_and_where_it_comes_from() {
        let error = Error::from(E::InvalidParameterName(":x".into())).at(Path::new("/data/s.db"));
        let text = error.to_string();
        assert!(
            text.contains("bug in Warp") && text.contains("report"),
            "{text}"
        );
        assert!(text.contains("/data/s.db") && text.contains(":x"), "{text}");
        let source = error.source().and_then(|of| of.downcast_ref::<E>());
        assert_eq!(source, Some(&E::InvalidParameterName(":x".into())));
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert!(matches!(Error::io(Path::new("x"), full), Error::DiskFull));
    }
}
