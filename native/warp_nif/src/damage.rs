//! What the sums of a file found, for the error that SQLite makes of it.
//!
//! SQLite carries a number from the file to the statement that failed, and no words. The words wait
//! here, in the thread, which is the same: SQLite reads and writes on the thread that calls it.

use std::cell::Cell;
use std::ffi::c_int;

use rusqlite::ffi;

/// SQLite's code for a page that does not fit its sum. The upper bytes are ours: SQLite hands them on.
///
/// It is a kind of `SQLITE_CORRUPT`, as if SQLite had found it: a statement that meets an I/O error
/// would take the whole transaction with it.
pub const CORRUPT: c_int = ffi::SQLITE_CORRUPT | (0x57 << 8);
/// SQLite's code for a file of sums that cannot be written.
pub const IO: c_int = ffi::SQLITE_IOERR | (0x57 << 8);

thread_local! {
    static FOUND: Cell<Option<String>> = const { Cell::new(None) };
}

/// Leaves the words to the error that follows.
pub fn note(words: String) {
    // A thread that is ending has no place for them: the error then has SQLite's own words.
    let _ = FOUND.try_with(|found| found.set(Some(words)));
}

/// The words that belong to an error of SQLite's, if the sums caused it.
pub fn words_of(failure: rusqlite::ffi::Error) -> Option<String> {
    if failure.extended_code != CORRUPT && failure.extended_code != IO {
        return None;
    }
    // NOTE: they stay. One failure may be told twice, as that of a statement and of its transaction.
    FOUND
        .try_with(|found| {
            let words = found.take();
            found.set(words.clone());
            words
        })
        .ok()
        .flatten()
}
