//! Checking the records of a journal.

use super::findings::Findings;
use crate::error::Result;
use crate::journal::Segments;

/// Reads all records that shards may need: how many there are. Error: `Io`.
pub fn check(segments: &Segments, findings: &mut Findings) -> Result<u64> {
    let mut records = 0;
    for number in segments.numbers() {
        records += findings.note(segments.check(number))?.unwrap_or(0);
    }
    Ok(records)
}
