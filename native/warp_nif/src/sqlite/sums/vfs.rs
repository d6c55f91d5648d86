//! Opening the files of databases that have sums.
//!
//! SQLite reaches files through a table of functions, a VFS. Ours is a copy of SQLite's own with
//! another `xOpen`. That opens every file as SQLite's own does, and of the database for which sums
//! are waiting, and of its WAL, it replaces some of the file's functions. All others, such as those
//! for locks, are SQLite's own and do not know of it.

#![expect(
    unsafe_code,
    reason = "SQLite takes a VFS only as C functions over memory of its own"
)]

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::ptr;
use std::sync::{Arc, OnceLock};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_vfs};

use super::behind;
use super::checks::{Part, Sums};
use super::functions;

/// The name by which connections ask for it.
pub const NAME: &CStr = c"warp-sums";

thread_local! {
    /// The sums of the database that this thread is just opening.
    static WAITING: Cell<Option<Arc<Sums>>> = const { Cell::new(None) };
}

/// Makes the VFS known to SQLite, once. Whether SQLite has it.
pub fn register() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    // SAFETY: a VFS that is found lives for ever and is not changed any more; its fields can be
    // copied. What is registered is leaked, so it lives for ever, and has all that the copied
    // functions look for: they read `pAppData` and `mxPathname`, and find their own data first in a file.
    *REGISTERED.get_or_init(|| unsafe {
        let plain = ffi::sqlite3_vfs_find(ptr::null());
        let Some(found) = plain.as_ref() else {
            return false;
        };
        behind::note_plain(plain);
        let ours = Box::leak(Box::new(*found));
        ours.pNext = ptr::null_mut();
        ours.zName = NAME.as_ptr();
        ours.szOsFile = behind::size_with_ours(found.szOsFile);
        ours.xOpen = Some(open);
        ffi::sqlite3_vfs_register(ours, 0) == ffi::SQLITE_OK
    })
}

/// Has the next database that `opens` opens in this thread use the sums. Whether one was opened.
pub fn with<T>(sums: Arc<Sums>, opens: impl FnOnce() -> T) -> (T, bool) {
    WAITING.set(Some(sums));
    let opened = opens();
    let was_taken = WAITING.take().is_none();
    (opened, was_taken)
}

unsafe extern "C" fn open(
    _vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's own VFS gets what SQLite gave, and makes of the file one that it knows. A name
    // that comes with the flag for a WAL is one that SQLite finds its database by. Our functions take
    // away, when they close the file, what is put behind it here.
    unsafe {
        let plain = behind::plain();
        let Some(open) = (*plain).xOpen else {
            (*file).pMethods = ptr::null();
            return ffi::SQLITE_CANTOPEN;
        };
        let (part, sums) = if flags & ffi::SQLITE_OPEN_WAL != 0 {
            let database = ffi::sqlite3_database_file_object(name);
            (Part::Wal, behind::sums_of(database))
        } else if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 {
            (Part::Database, WAITING.try_with(Cell::take).ok().flatten())
        } else {
            (Part::Database, None)
        };
        let opened = open(plain, name, file, flags, flags_out);
        if let Some(sums) = sums
            && opened == ffi::SQLITE_OK
        {
            let plain = &*(*file).pMethods;
            let mut bytes = 0;
            if let Some(size) = plain.xFileSize
                && size(file, &raw mut bytes) == ffi::SQLITE_OK
            {
                sums.opened(part, u64::try_from(bytes).unwrap_or(0));
            }
            behind::put(file, functions::ours(plain, part), sums, part);
        }
        opened
    }
}
