//! Who has to do something about an error of SQLite's or of rusqlite's.

use rusqlite::ErrorCode;

use super::{Error, Reason};
use crate::damage;

/// Who has to do something about an error of SQLite's or of rusqlite's.
enum Blame {
    DiskFull,
    Io,
    Corrupt,
    Internal,
}

impl From<rusqlite::Error> for Error {
    /// NOTE: for statements of the engine's own. Those of users' projections are judged first: see
    /// `projection::statements` and `projection::read`.
    fn from(error: rusqlite::Error) -> Self {
        let blame = blame(&error);
        let words = match &error {
            rusqlite::Error::SqliteFailure(failure, _) => damage::words_of(*failure),
            rusqlite::Error::SqlInputError { error, .. } => damage::words_of(*error),
            _ => None,
        };
        let reason = Reason::of(error);
        let reason = match words {
            Some(words) => reason.reworded(words),
            None => reason,
        };
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

#[cfg(test)]
mod tests {
    use std::error::Error as StdError;
    use std::path::Path;

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
