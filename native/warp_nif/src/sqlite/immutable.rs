//! Opening a file that nobody changes.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The path as the URI of a file that does not change: SQLite makes neither a WAL nor an index of it then.
pub fn immutable(path: &Path) -> PathBuf {
    let mut uri = b"file:".to_vec();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' | b'?' | b'#' => uri.extend(format!("%{byte:02x}").bytes()),
            byte => uri.push(*byte),
        }
    }
    uri.extend(b"?immutable=1");
    PathBuf::from(OsString::from_vec(uri))
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, OpenFlags};

    use super::*;

    #[test]
    fn a_path_with_signs_of_an_uri_is_the_same_file() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("a%41 ?x=y#z.db");
        let made = Connection::open(&path).expect("made");
        made.execute_batch("CREATE TABLE t AS SELECT 7 AS n")
            .expect("filled");
        drop(made);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let opened = Connection::open_with_flags(immutable(&path), flags).expect("opened");
        let n: i64 = opened
            .query_row("SELECT n FROM t", [], |row| row.get(0))
            .expect("read");
        assert_eq!(n, 7);
    }
}
