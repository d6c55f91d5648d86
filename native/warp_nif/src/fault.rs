//! Faults on request, for the tests. Not compiled into a released library.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

static PANICS: AtomicU64 = AtomicU64::new(0);
static FAILED_SYNCS: AtomicU64 = AtomicU64::new(0);
static COMMITS_BEFORE_FAILURE: AtomicU64 = AtomicU64::new(0);
static STALL_MS: AtomicU64 = AtomicU64::new(0);
static SLOW_OPEN_MS: AtomicU64 = AtomicU64::new(0);
static COMMITS_LEFT: AtomicU64 = AtomicU64::new(0);
static ROWS_AT_ONCE: AtomicU64 = AtomicU64::new(0);
/// How often all faults were turned off.
static TURNED_OFF: AtomicU64 = AtomicU64::new(0);

/// What goes wrong at coming commits of any shard in this VM; those of projections, and of the list of
/// deletions, count for `AbortAfter` too.
pub enum Fault {
    /// The writer panics at that many commits.
    Panic(u64),
    /// That many commits fail as if their fsync had.
    FsyncFails(u64),
    /// The last of that many commits fails likewise.
    FailAt(u64),
    /// The next commit takes that many milliseconds longer, or until faults are turned off.
    Stall(u64),
    /// The next shard takes that many milliseconds longer to open, or until faults are turned off.
    SlowOpen(u64),
    /// The VM ends at once, as if killed, right after that many more commits.
    AbortAfter(u64),
    /// A commit takes that many rows at most.
    RowsAtOnce(u64),
    /// Nothing any more.
    Off,
}

/// Arms a fault.
pub fn set(fault: &Fault) {
    match fault {
        Fault::Panic(times) => PANICS.store(*times, SeqCst),
        Fault::FsyncFails(times) => FAILED_SYNCS.store(*times, SeqCst),
        Fault::FailAt(commits) => COMMITS_BEFORE_FAILURE.store(*commits, SeqCst),
        Fault::Stall(millis) => STALL_MS.store(*millis, SeqCst),
        Fault::SlowOpen(millis) => SLOW_OPEN_MS.store(*millis, SeqCst),
        Fault::AbortAfter(commits) => COMMITS_LEFT.store(*commits, SeqCst),
        Fault::RowsAtOnce(rows) => ROWS_AT_ONCE.store(*rows, SeqCst),
        Fault::Off => {
            TURNED_OFF.fetch_add(1, SeqCst);
            for armed in [
                &PANICS,
                &FAILED_SYNCS,
                &COMMITS_BEFORE_FAILURE,
                &STALL_MS,
                &SLOW_OPEN_MS,
                &COMMITS_LEFT,
                &ROWS_AT_ONCE,
            ] {
                armed.store(0, SeqCst);
            }
        }
    }
}

/// Called right before each COMMIT.
#[expect(clippy::panic, reason = "a panic is what was asked for")]
pub fn at_commit() -> Result<()> {
    stall(Duration::from_millis(STALL_MS.swap(0, SeqCst)));
    let one_left = |left: u64| left.checked_sub(1);
    if PANICS.fetch_update(SeqCst, SeqCst, one_left).is_ok() {
        panic!("a panic that was asked for");
    }
    let is_at = COMMITS_BEFORE_FAILURE.fetch_update(SeqCst, SeqCst, one_left) == Ok(1);
    if is_at || FAILED_SYNCS.fetch_update(SeqCst, SeqCst, one_left).is_ok() {
        return Err(Error::Io("an fsync failure that was asked for".into()));
    }
    Ok(())
}

/// Called when a shard's file is open, before the journal's threads know of it.
pub fn at_open() {
    stall(Duration::from_millis(SLOW_OPEN_MS.swap(0, SeqCst)));
}

fn stall(longest: Duration) {
    let (started, turned_off) = (Instant::now(), TURNED_OFF.load(SeqCst));
    while started.elapsed() < longest && TURNED_OFF.load(SeqCst) == turned_off {
        std::thread::sleep(longest.min(Duration::from_millis(5)));
    }
}

/// How many rows a commit takes at most, if that was asked for.
pub fn rows_at_once() -> Option<usize> {
    let rows = usize::try_from(ROWS_AT_ONCE.load(SeqCst)).unwrap_or(usize::MAX);
    (rows > 0).then_some(rows)
}

/// Called right after each COMMIT, before anyone hears of it.
pub fn after_commit() {
    if COMMITS_LEFT.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) == Ok(1) {
        std::process::abort();
    }
}
