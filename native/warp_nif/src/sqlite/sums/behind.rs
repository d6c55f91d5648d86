//! What of ours stands behind SQLite's own data of an open file, in memory that is SQLite's.

#![expect(
    unsafe_code,
    reason = "SQLite has the memory of a file, and knows only its size"
)]

use std::ffi::c_int;
use std::mem::{align_of, size_of};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use rusqlite::ffi::{sqlite3_file, sqlite3_io_methods, sqlite3_vfs};

use super::checks::{Part, Sums};

/// SQLite's own VFS, once ours is registered.
static PLAIN: AtomicPtr<sqlite3_vfs> = AtomicPtr::new(ptr::null_mut());

#[repr(C)]
struct Behind {
    plain: *const sqlite3_io_methods,
    ours: sqlite3_io_methods,
    /// From `Arc::into_raw`.
    sums: *const Sums,
    part: Part,
}

/// Notes SQLite's own VFS, before any file is opened by ours.
///
/// # Safety
/// It lives for ever.
pub unsafe fn note_plain(vfs: *mut sqlite3_vfs) {
    PLAIN.store(vfs, Ordering::Release);
}

/// SQLite's own VFS.
pub fn plain() -> *mut sqlite3_vfs {
    PLAIN.load(Ordering::Acquire)
}

/// How many bytes a file has with ours, of which so many are SQLite's own.
pub fn size_with_ours(bytes_of_plain: c_int) -> c_int {
    c_int::try_from(offset_of_ours(bytes_of_plain) + size_of::<Behind>()).unwrap_or(c_int::MAX)
}

fn offset_of_ours(bytes_of_plain: c_int) -> usize {
    usize::try_from(bytes_of_plain)
        .unwrap_or(0)
        .next_multiple_of(align_of::<Behind>())
}

/// # Safety
/// `file` is one that our VFS was given to open.
unsafe fn behind(file: *mut sqlite3_file) -> *mut Behind {
    // SAFETY: PLAIN is set before any file can be opened. The caller says that the file has the size
    // that the VFS asks for, at an address that SQLite aligns to eight bytes.
    unsafe { file.byte_add(offset_of_ours((*plain()).szOsFile)).cast() }
}

/// Gives a file sums, and functions of ours in place of SQLite's own.
///
/// # Safety
/// SQLite's own VFS has just opened `file` for ours, and nobody has used it yet. The functions undo this
/// with [`take`] when the file is closed.
pub unsafe fn put(file: *mut sqlite3_file, ours: sqlite3_io_methods, sums: Arc<Sums>, part: Part) {
    // SAFETY: the memory of the file has room for `Behind`, is ours from there on, and lives until
    // the file is closed.
    unsafe {
        let behind = behind(file);
        ptr::write(
            behind,
            Behind {
                plain: (*file).pMethods,
                ours,
                sums: Arc::into_raw(sums),
                part,
            },
        );
        (*file).pMethods = &raw const (*behind).ours;
    }
}

/// Gives a file SQLite's own functions back, as when it was opened: these, and the sums.
///
/// # Safety
/// `file` has functions of ours, and nobody uses it with its sums any more.
pub unsafe fn take(file: *mut sqlite3_file) -> (*const sqlite3_io_methods, Arc<Sums>) {
    // SAFETY: so `put` has written what stands behind it.
    unsafe {
        let behind = behind(file);
        let plain = (*behind).plain;
        (*file).pMethods = plain;
        (plain, Arc::from_raw((*behind).sums))
    }
}

/// The sums of a database, if it has some.
///
/// # Safety
/// `database` is open, and was opened by our VFS.
pub unsafe fn sums_of(database: *mut sqlite3_file) -> Option<Arc<Sums>> {
    // SAFETY: its memory has the room that our VFS asks for. Only what has functions that stand in
    // that room has something of ours there.
    unsafe {
        let behind = behind(database);
        if (*database).pMethods != &raw const (*behind).ours {
            return None;
        }
        Arc::increment_strong_count((*behind).sums);
        Some(Arc::from_raw((*behind).sums))
    }
}

/// What of a file's is needed: its sums, SQLite's own functions, and which part it is.
///
/// # Safety
/// `file` has functions of ours. What is returned is used only until it is closed.
pub unsafe fn parts<'f>(file: *mut sqlite3_file) -> (&'f Sums, &'f sqlite3_io_methods, Part) {
    // SAFETY: so `put` has written what stands behind it, which nobody changes before it is closed.
    unsafe {
        let behind = behind(file);
        (&*(*behind).sums, &*(*behind).plain, (*behind).part)
    }
}
