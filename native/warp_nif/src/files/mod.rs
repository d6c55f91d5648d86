//! The files of a context, as the operating system has them: who may read them, whether they are
//! still where they were, and how many of them can be open.

pub mod access;
pub mod identity;
pub mod limit;
pub mod put;
pub mod watch;

pub use access::{Access, check_kind, create, create_dirs, sync_dir, sync_parent};
pub use limit::{OpenFiles, open_files};
pub use put::{There, put};
pub use watch::Watch;

use std::path::{Path, PathBuf};

/// The file that SQLite keeps beside a database, such as `-wal`.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

/// Deletes the files in `dir` whose names begin with `prefix`. What cannot be deleted stays.
#[cfg(unix)]
pub fn delete_all(dir: &Path, prefix: &[u8]) {
    use std::os::unix::ffi::OsStrExt;
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().as_bytes().starts_with(prefix) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_whose_names_begin_so_are_deleted() {
        let dir = tempfile::tempdir().expect("temp dir");
        for name in ["states-1.db", "states-1.db-wal", "states", "x-states-1"] {
            std::fs::write(dir.path().join(name), "x").expect("writes");
        }
        std::fs::create_dir(dir.path().join("states-dir")).expect("creates");
        delete_all(dir.path(), b"states-");
        delete_all(&dir.path().join("none"), b"states-");
        let left = std::fs::read_dir(dir.path()).expect("reads").flatten();
        let mut left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, ["states", "states-dir", "x-states-1"]);
    }
}
