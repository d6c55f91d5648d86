//! The files of a context, as the operating system has them: who may read them, whether they are
//! still where they were, and how many of them can be open.

mod access;
mod limit;
mod watch;

pub use access::{Access, check_kind, create, create_dirs};
pub use limit::{OpenFiles, open_files};
pub use watch::Watch;

use std::path::{Path, PathBuf};

/// The file that SQLite keeps beside a database, such as `-wal`.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}
