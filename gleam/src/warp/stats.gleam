//// Counters of a context since it was started.

import gleam/dynamic.{type Dynamic}

/// What a context has done since it was started, summed over its shards.
///
pub type Stats {
  Stats(
    /// The name of the context.
    context: String,
    /// Entities that have a process.
    resident_entities: Int,
    /// Appends that were stored, each of one event or a batch.
    appends: Int,
    /// Events that were stored.
    events: Int,
    /// Transactions, each with what many callers appended.
    commits: Int,
    /// Transactions that failed, for a full disk or an I/O error.
    failed_commits: Int,
    /// Entities that were deleted.
    erased_entities: Int,
    /// Submissions that wait for a writer.
    queue_depth: Int,
    /// The size of the shards' files and their write-ahead logs, in bytes.
    file_bytes: Int,
    /// Everything that is counted, also for each shard, to be read with a
    /// decoder: the map that `warp_core:stats/1` gives.
    all: Dynamic,
  )
}
