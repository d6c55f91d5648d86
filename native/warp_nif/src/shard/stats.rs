//! Counters of a shard, kept without locks.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Histograms count by powers of two of microseconds: below 2, 4, 8, ... and, last, all above.
pub const BUCKETS: usize = 26;

/// A latency histogram.
#[derive(Default)]
pub struct Histogram([AtomicU64; BUCKETS]);

impl Histogram {
    /// Counts one more.
    pub fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = (micros.max(1).ilog2() as usize).min(BUCKETS - 1);
        if let Some(count) = self.0.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Pairs of an upper bound in microseconds and how many were below it (and above the last).
    pub fn read(&self) -> Vec<(u64, u64)> {
        let bounded = self.0.iter().enumerate();
        bounded
            .map(|(bucket, count)| (2u64 << bucket, count.load(Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

/// What the writer counts.
#[derive(Default)]
pub struct Stats {
    /// Transactions committed.
    pub commits: AtomicU64,
    /// Transactions that failed and were rolled back.
    pub failed_commits: AtomicU64,
    /// Rows written.
    pub appends: AtomicU64,
    /// Events written.
    pub events: AtomicU64,
    /// Bytes of event data written.
    pub bytes: AtomicU64,
    /// Entities erased.
    pub erased_entities: AtomicU64,
    /// The size of the file and its WAL, as of the last commit, or second.
    pub file_bytes: AtomicU64,
    /// The last position given.
    pub position: AtomicI64,
    /// Time of each COMMIT: writing the WAL and, with full durability, its fsync.
    pub sync: Histogram,
    /// Time from taking up a transaction to its acknowledgement.
    pub commit: Histogram,
    /// When the transaction under way began, in milliseconds since `epoch`; 0 when idle.
    busy_since: AtomicU64,
    epoch: Epoch,
}

struct Epoch(Instant);

impl Default for Epoch {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Stats {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The writer takes up a transaction.
    pub fn busy(&self) {
        self.busy_since.store(self.now_ms().max(1), Relaxed);
    }

    /// The writer has finished it.
    pub fn idle(&self) {
        self.busy_since.store(0, Relaxed);
    }

    /// How many milliseconds the transaction under way has taken so far; 0 when there is none.
    pub fn busy_ms(&self) -> u64 {
        match self.busy_since.load(Relaxed) {
            0 => 0,
            since => self.now_ms().saturating_sub(since),
        }
    }
}

/// A reading of a shard's counters.
pub struct Report {
    /// Name and value of each counter.
    pub counters: Vec<(rustler::Atom, u64)>,
    /// As `Background::failing`.
    pub background: Vec<(rustler::Atom, i64, crate::error::Error)>,
    /// As `Histogram::read`.
    pub sync: Vec<(u64, u64)>,
    /// As `Histogram::read`.
    pub commit: Vec<(u64, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_below_powers_of_two() {
        let histogram = Histogram::default();
        for micros in [0, 1, 2, 3, 4, 1000, u64::MAX] {
            histogram.add(Duration::from_micros(micros));
        }
        let last = 2u64 << (BUCKETS - 1);
        assert_eq!(
            histogram.read(),
            [(2, 2), (4, 2), (8, 1), (1024, 1), (last, 1)]
        );
    }
}
