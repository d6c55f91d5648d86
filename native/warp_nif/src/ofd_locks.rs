//! Locks of SQLite's that stay when someone else in this process closes the file.
//!
//! The locks that SQLite takes, those of POSIX, belong to the process: whoever in it opens a
//! shard's file to read it and closes it again, takes them away. Another program then takes itself for the
//! last user, and removes the write-ahead log from under us. Locks of an open file description,
//! which Linux has, belong to what was opened, and conflict with those of POSIX, so that other
//! programs need not know.
//!
//! SQLite counts its connections to a file in this process, and only the first and the last lock
//! and unlock. So the connection that is opened first has to be the one that is closed last: it
//! holds the locks of all. A shard's writer is that, and so is a projection's.

#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#![expect(
    unsafe_code,
    reason = "SQLite takes a replacement of fcntl only as a C function"
)]

use std::ffi::{c_int, c_void};
use std::mem::transmute;
use std::os::fd::AsRawFd;
use std::ptr;

use rusqlite::ffi;

/// Has SQLite use these locks from now on. To be called before it opens its first file.
///
/// Where the system refuses them (Linux before 3.15), those of POSIX are used on.
pub fn install() {
    if !are_there() {
        return;
    }
    let ours: unsafe extern "C" fn(c_int, c_int, *mut c_void) -> c_int = fcntl;
    // SAFETY: SQLite calls what it is given here as `int fcntl(int, int, ...)`, always with three
    // arguments. On these two architectures a C function finds its first arguments, integers and
    // pointers, in the same registers whether or not it was declared with `...`. The VFS found is
    // SQLite's own and lives for ever; the name is a C string.
    unsafe {
        let vfs = ffi::sqlite3_vfs_find(c"unix".as_ptr());
        if let Some(set) = vfs.as_ref().and_then(|vfs| vfs.xSetSystemCall) {
            let call = transmute::<
                unsafe extern "C" fn(c_int, c_int, *mut c_void) -> c_int,
                unsafe extern "C" fn(),
            >(ours);
            // It refuses only names that it does not know.
            let _ = set(vfs, c"fcntl".as_ptr(), Some(call));
        }
    }
}

fn are_there() -> bool {
    let Ok(file) = std::fs::File::open("/dev/null") else {
        return false;
    };
    let mut lock = libc::flock {
        l_type: libc::F_RDLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the command reads and writes one `flock`, ours.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) == 0 }
}

/// `fcntl`, but for the kind of locks.
unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: *mut c_void) -> c_int {
    let command_for_ours = match command {
        libc::F_SETLK => libc::F_OFD_SETLK,
        libc::F_SETLKW => libc::F_OFD_SETLKW,
        libc::F_GETLK => libc::F_OFD_GETLK,
        // SAFETY: passed on as it came.
        _ => return unsafe { libc::fcntl(fd, command, argument) },
    };
    let given = argument.cast::<libc::flock>();
    // SAFETY: with these commands, the argument of fcntl points to a `flock` of the caller's, to be
    // read, and with the third of them to be written.
    unsafe {
        let mut lock = ptr::read(given);
        // The system demands it.
        lock.l_pid = 0;
        let result = libc::fcntl(fd, command_for_ours, &raw mut lock);
        if command == libc::F_GETLK && result == 0 {
            ptr::write(given, lock);
        }
        result
    }
}
