//! The functions of a file with sums: what is read is checked, what is written is noted.

#![expect(
    unsafe_code,
    reason = "SQLite calls C functions, over memory of its own"
)]

use std::ffi::{c_int, c_void};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_io_methods};

use super::behind::{self, parts};
use super::checks::{Part, Sums};
use super::steps;
use crate::damage;

/// SQLite's own functions of a file, with ours in place of some.
pub fn ours(plain: &sqlite3_io_methods, part: Part) -> sqlite3_io_methods {
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

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: the file has functions of ours, and SQLite closes it once. Its own function clears its own data
    // only, and gets it as it was when it was opened.
    unsafe {
        let (plain, sums) = behind::take(file);
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
