//! How many files this process may have open, and has.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// A reading of the limit.
pub struct OpenFiles {
    /// The soft limit; none when there is no limit.
    pub limit: Option<u64>,
    /// How many are open now.
    pub open: u64,
}

/// Reads the limit, and counts what is open.
pub fn open_files() -> OpenFiles {
    // Both folders list the descriptors of the process that looks. Only Linux has the first.
    let listed = fs::read_dir("/proc/self/fd").or_else(|_| fs::read_dir("/dev/fd"));
    let open = listed.map_or(0, Iterator::count);
    OpenFiles {
        limit: getrlimit(Resource::Nofile).current,
        open: u64::try_from(open).unwrap_or(u64::MAX),
    }
}
