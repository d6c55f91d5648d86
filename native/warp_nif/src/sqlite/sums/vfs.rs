//! Between SQLite and the files of databases that have sums: checks what is read, notes what is written.
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
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::mem::{align_of, size_of};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, OnceLock};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_io_methods, sqlite3_vfs};

use super::checks::{Part, Sums};
use super::steps;
use crate::damage;

/// The name by which connections ask for it.
pub const NAME: &CStr = c"warp-sums";

/// SQLite's own VFS, once ours is registered.
static PLAIN: AtomicPtr<sqlite3_vfs> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    /// The sums of the database that this thread is just opening.
    static WAITING: Cell<Option<Arc<Sums>>> = const { Cell::new(None) };
}

/// What stands behind SQLite's own data of an open file.
#[repr(C)]
struct Behind {
    plain: *const sqlite3_io_methods,
    ours: sqlite3_io_methods,
    /// From `Arc::into_raw`.
    sums: *const Sums,
    part: Part,
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
        PLAIN.store(plain, Ordering::Release);
        let ours = Box::leak(Box::new(*found));
        ours.pNext = ptr::null_mut();
        ours.zName = NAME.as_ptr();
        ours.szOsFile = size_with_ours(found.szOsFile);
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

fn offset_of_ours(bytes_of_plain: c_int) -> usize {
    usize::try_from(bytes_of_plain)
        .unwrap_or(0)
        .next_multiple_of(align_of::<Behind>())
}

fn size_with_ours(bytes_of_plain: c_int) -> c_int {
    c_int::try_from(offset_of_ours(bytes_of_plain) + size_of::<Behind>()).unwrap_or(c_int::MAX)
}

/// # Safety
/// `file` is one that `open` was given for a database with sums.
unsafe fn behind(file: *mut sqlite3_file) -> *mut Behind {
    // SAFETY: PLAIN is set before any file can be opened. The caller says that the file has the size
    // that the VFS asks for, at an address that SQLite aligns to eight bytes.
    unsafe {
        let plain = PLAIN.load(Ordering::Acquire);
        file.byte_add(offset_of_ours((*plain).szOsFile)).cast()
    }
}

unsafe extern "C" fn open(
    _vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's own VFS gets what SQLite gave, and makes of the file one that it knows. The
    // memory of the file has room for `Behind`, is ours from there on, and lives until `close`. A
    // name that comes with the flag for a WAL is one that SQLite finds its database by.
    unsafe {
        let plain = PLAIN.load(Ordering::Acquire);
        let Some(open) = (*plain).xOpen else {
            (*file).pMethods = ptr::null();
            return ffi::SQLITE_CANTOPEN;
        };
        let (part, sums) = if flags & ffi::SQLITE_OPEN_WAL != 0 {
            let database = ffi::sqlite3_database_file_object(name);
            (Part::Wal, sums_of(database))
        } else if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 {
            (Part::Database, WAITING.try_with(Cell::take).ok().flatten())
        } else {
            (Part::Database, None)
        };
        let opened = open(plain, name, file, flags, flags_out);
        if let Some(sums) = sums
            && opened == ffi::SQLITE_OK
        {
            let plain = (*file).pMethods;
            let mut bytes = 0;
            if let Some(size) = (*plain).xFileSize
                && size(file, &raw mut bytes) == ffi::SQLITE_OK
            {
                sums.opened(part, u64::try_from(bytes).unwrap_or(0));
            }
            let behind = behind(file);
            ptr::write(
                behind,
                Behind {
                    plain,
                    ours: ours(&*plain, part),
                    sums: Arc::into_raw(sums),
                    part,
                },
            );
            (*file).pMethods = &raw const (*behind).ours;
        }
        opened
    }
}

/// The sums of a database, if it has some.
///
/// # Safety
/// `database` is open, and was opened by this VFS.
unsafe fn sums_of(database: *mut sqlite3_file) -> Option<Arc<Sums>> {
    // SAFETY: its memory has the room that this VFS asks for. Only what has functions that stand in
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

/// The functions of a file with sums.
fn ours(plain: &sqlite3_io_methods, part: Part) -> sqlite3_io_methods {
    let both = sqlite3_io_methods {
        // Version 3 has those by which SQLite would map the file into memory and read past us.
        iVersion: plain.iVersion.min(2),
        xFetch: None,
        xUnfetch: None,
        xClose: Some(close),
        xRead: Some(read),
        xWrite: Some(write),
        xTruncate: Some(truncate),
        ..*plain
    };
    if part == Part::Wal {
        return both;
    }
    sqlite3_io_methods {
        xSync: Some(sync),
        xDeviceCharacteristics: Some(characteristics),
        ..both
    }
}

/// What of a file's is needed: its sums, SQLite's own functions, and which part it is.
///
/// # Safety
/// `file` has functions of ours. What is returned is used only until it is closed.
unsafe fn parts<'f>(file: *mut sqlite3_file) -> (&'f Sums, &'f sqlite3_io_methods, Part) {
    // SAFETY: so `open` has written what stands behind it, which nobody changes before `close`.
    unsafe {
        let behind = behind(file);
        (&*(*behind).sums, &*(*behind).plain, (*behind).part)
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: the file has functions of ours, and SQLite closes it once. Its own function clears its own data
    // only, and gets it as it was when it was opened.
    unsafe {
        let behind = behind(file);
        let plain = (*behind).plain;
        (*file).pMethods = plain;
        let sums = Arc::from_raw((*behind).sums);
        let closed = (*plain).xClose.map_or(ffi::SQLITE_OK, |close| close(file));
        drop(sums);
        closed
    }
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    buffer: *mut c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: the file has functions of ours. SQLite gives a buffer of `amount` bytes, and its own
    // function fills it, with zeros where the file ends: both results say so.
    unsafe {
        let (sums, plain, part) = parts(file);
        let Some(read) = plain.xRead else {
            return ffi::SQLITE_IOERR_READ;
        };
        let code = read(file, buffer, amount, offset);
        if code != ffi::SQLITE_OK && code != ffi::SQLITE_IOERR_SHORT_READ {
            return code;
        }
        let (Ok(amount), Ok(offset)) = (usize::try_from(amount), u64::try_from(offset)) else {
            return ffi::SQLITE_IOERR_READ;
        };
        let bytes = std::slice::from_raw_parts(buffer.cast::<u8>(), amount);
        guarded(|| match sums.check(part, offset, bytes) {
            Ok(()) => code,
            Err(words) => {
                damage::note(words);
                damage::CORRUPT
            }
        })
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    buffer: *const c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: the file has functions of ours. SQLite gives a buffer of `amount` bytes.
    unsafe {
        let (sums, plain, part) = parts(file);
        let (Some(write), Ok(length), Ok(from)) =
            (plain.xWrite, usize::try_from(amount), u64::try_from(offset))
        else {
            return ffi::SQLITE_IOERR_WRITE;
        };
        let bytes = std::slice::from_raw_parts(buffer.cast::<u8>(), length);
        let prepared = guarded(|| code_of(sums, sums.before_write(part, from, bytes)));
        if prepared != ffi::SQLITE_OK {
            return prepared;
        }
        steps::pass();
        let code = write(file, buffer, amount, offset);
        if code != ffi::SQLITE_OK {
            return code;
        }
        guarded(|| {
            sums.wrote(part, from, bytes);
            code
        })
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, bytes: i64) -> c_int {
    // SAFETY: the file has functions of ours.
    unsafe {
        let (sums, plain, part) = parts(file);
        let (Some(truncate), Ok(length)) = (plain.xTruncate, u64::try_from(bytes)) else {
            return ffi::SQLITE_IOERR_TRUNCATE;
        };
        let prepared = guarded(|| code_of(sums, sums.before_truncate(part, length)));
        if prepared != ffi::SQLITE_OK {
            return prepared;
        }
        steps::pass();
        let code = truncate(file, bytes);
        if code != ffi::SQLITE_OK {
            return code;
        }
        guarded(|| {
            sums.truncated(part, length);
            code
        })
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the file has functions of ours.
    unsafe {
        let (sums, plain, _) = parts(file);
        let saved = guarded(|| code_of(sums, sums.save()));
        if saved != ffi::SQLITE_OK {
            return saved;
        }
        let code = plain
            .xSync
            .map_or(ffi::SQLITE_IOERR_FSYNC, |sync| sync(file, flags));
        steps::pass();
        code
    }
}

unsafe extern "C" fn characteristics(file: *mut sqlite3_file) -> c_int {
    // SAFETY: the file has functions of ours.
    unsafe {
        let (_, plain, _) = parts(file);
        let all = plain
            .xDeviceCharacteristics
            .map_or(0, |characteristics| characteristics(file));
        // So SQLite reads pages whole, and writes each by itself.
        all & !(ffi::SQLITE_IOCAP_SUBPAGE_READ | ffi::SQLITE_IOCAP_BATCH_ATOMIC)
    }
}

/// No panic gets into SQLite.
fn guarded(work: impl FnOnce() -> c_int) -> c_int {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(ffi::SQLITE_INTERNAL)
}

/// SQLite's code for what happened to the file of sums.
fn code_of(sums: &Sums, result: io::Result<()>) -> c_int {
    match result {
        Ok(()) => ffi::SQLITE_OK,
        Err(error) if error.kind() == io::ErrorKind::StorageFull => ffi::SQLITE_FULL,
        Err(error) => {
            damage::note(format!("{}: {error}", sums.path().display()));
            damage::IO
        }
    }
}
