//! Time: milliseconds since the program began, for limits, and seconds of the calendar, for the ends of tokens.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// When the program first asked for the time.
static BEGIN: OnceLock<Instant> = OnceLock::new();

/// Milliseconds since the program began, at least 1: 0 stands for "never" where a time is kept.
pub fn now() -> u64 {
    let begin = BEGIN.get_or_init(Instant::now);
    u64::try_from(begin.elapsed().as_millis())
        .unwrap_or(u64::MAX)
        .saturating_add(1)
}

/// Seconds since 1970.
pub fn unix() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
