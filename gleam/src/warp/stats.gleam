//// Counters of a context, from its start on.

import gleam/dynamic.{type Dynamic}
import gleam/option.{type Option}
import warp/error.{type Error}

/// What a context has done since it was started, as the sums over its open
/// shards, and what each shard has done.
///
pub type Stats {
  Stats(
    /// The name of the context.
    context: String,
    /// How many entities have a process.
    resident_entities: Int,
    /// How many appends were stored, each of one event or a batch.
    appends: Int,
    /// How many events were stored.
    events: Int,
    /// How many transactions were committed. Each stores the appends of many
    /// callers.
    commits: Int,
    /// How many transactions failed, because of a full disk or an I/O error.
    failed_commits: Int,
    /// How many entities were deleted.
    erased_entities: Int,
    /// How many appends and deletions wait for a shard's writer now.
    queue_depth: Int,
    /// The size of the shards' files and their write-ahead logs, in bytes.
    file_bytes: Int,
    /// The shards, by their numbers from 0.
    shards: List(Shard),
    /// The subscriptions, and the names that nobody consumes.
    subscriptions: List(Subscription),
    /// The folders that the context is backed up to: see `warp/backup`.
    backups: List(Backup),
    /// Everything that the engine counts, to be read with a decoder: the map
    /// that `warp_core:stats/1` returns.
    all: Dynamic,
  )
}

/// A shard of a context.
///
pub type Shard {
  /// An open shard, with its counters since it was opened.
  Open(
    /// Its number, from 0.
    shard: Int,
    /// How many appends and deletions wait for its writer now.
    queue_depth: Int,
    /// How many may wait, before callers get `error.Overloaded`.
    queue_limit: Int,
    /// How many appends were stored, each of one event or a batch.
    appends: Int,
    /// How many events were stored.
    events: Int,
    /// How many bytes of event data were stored.
    bytes: Int,
    /// How many transactions were committed.
    commits: Int,
    /// How many transactions failed, because of a full disk or an I/O error.
    failed_commits: Int,
    /// How many entities were deleted.
    erased_entities: Int,
    /// The size of its file and its write-ahead log, in bytes.
    file_bytes: Int,
    /// How long transactions took, from the writer's first look at them to
    /// their acknowledgement: see `Histogram`.
    commit_us: Histogram,
    /// How long the `COMMIT` of transactions took, with its fsync when the
    /// durability is `Full`: see `Histogram`.
    sync_us: Histogram,
    /// The background tasks that failed when the shard last tried them.
    failing: List(Failing),
  )
  /// A shard that Warp cannot open now. Warp goes on trying by itself.
  Unavailable(
    /// Its number, from 0.
    shard: Int,
    /// Why the last attempt to open it failed, if there was one.
    why: Option(Error(Dynamic)),
  )
}

/// Durations, as pairs of a bound in microseconds and how many durations were
/// below this bound, and not below the bound of the previous pair. Bounds are
/// powers of 2.
///
pub type Histogram =
  List(#(Int, Int))

/// A subscription: how it is, and how far behind.
///
pub type Subscription {
  Subscription(
    /// Its name, if it has one.
    name: Option(String),
    /// The entity that it follows. A subscription without one follows a context.
    entity: Option(String),
    state: SubscriptionState,
    /// Since when it is in that state, in microseconds since 1970, UTC.
    since: Int,
    /// Why it stalls, in words.
    why: Option(String),
    /// How many appends of its shards are not acknowledged.
    behind_positions: Int,
    /// How long ago the first of these was, in seconds.
    behind_seconds: Float,
    /// How many entities wait and are tried again, since an event of them failed.
    retrying: Int,
    /// How many entities wait until somebody calls `subscription.retry` or
    /// `subscription.skip`.
    parked: Int,
  )
}

/// How a subscription is.
///
pub type SubscriptionState {
  /// Everything is sent as it is stored.
  Live
  /// The file is being read.
  CatchingUp
  /// The subscriber has to acknowledge events, or to ask for more.
  WaitingForCredit
  /// Something cannot be read, or the subscriber does not go on. It is tried again.
  Stalled
  /// Another subscriber has the name.
  Standby
  /// Nobody has subscribed with the name, or fewer than split its shards.
  NoConsumer
}

/// How the backups to a folder go.
///
pub type Backup {
  Backup(
    to: String,
    every: Every,
    /// Whether a run is under way.
    is_running: Bool,
    /// The number of the last cut that this start of the context has made.
    cut: Option(Int),
    /// Up to when the backup has everything, in microseconds since 1970, UTC.
    at: Option(Int),
    /// Why the runs fail, and since when. Warp goes on trying.
    failing: Option(BackupFailing),
    /// Why old segments cannot be merged, and since when. Runs go on beside that.
    unmerged: Option(BackupFailing),
  )
}

/// How often a context is backed up to a folder.
///
pub type Every {
  /// Only an earlier start of the context has backed up to it. Deletions return
  /// `error.BackupStillToErase` until `backup.start` or `backup.forget` is called.
  NotStarted
  /// Only when somebody calls `backup.run`, and when an entity is deleted.
  Once
  Every(milliseconds: Int)
}

/// Why backups fail.
///
pub type BackupFailing {
  BackupFailing(
    why: Error(Dynamic),
    /// In microseconds since 1970, UTC.
    since: Int,
  )
}

/// A background task of a shard that failed when the shard last tried it. No
/// caller waits for these tasks.
///
pub type Failing {
  Failing(
    /// The name of the task, such as `"checkpoint"`.
    task: String,
    /// What follows from the failure, in words.
    meaning: String,
    /// Why the task failed.
    error: Error(Dynamic),
    /// Since when it has failed, in microseconds since 1970, UTC.
    since: Int,
  )
}
