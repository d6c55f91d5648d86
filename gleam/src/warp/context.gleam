//// The options with which a context is started.
////
//// ```gleam
//// import warp
//// import warp/context.{ActorMode, SingleNode, WarpOptions, defaults}
////
//// warp.start(
////   WarpOptions(
////     ..defaults(),
////     context: "banking",
////     aggregates: [account_aggregate()],
////     shards: 16,
////     data_dir: "/data/banking",
////     mode: ActorMode,
////     cluster: SingleNode,
////   ),
//// )
//// ```

import warp/aggregate.{type AggregateDefinition}
import warp/projection.{type RqliteOptions, type Table}
import warp/saga.{type StepFunction}
import warp/subscriber.{type SubscriberDefinition}

/// The options of `warp.start` and `warp.supervised`. `defaults` returns the
/// default of each. `context`, `data_dir` and `aggregates` are required.
///
pub type WarpOptions {
  WarpOptions(
    /// The name of the context: at most 200 letters, digits, `_`, `.` and `-`.
    /// Warp creates a folder with this name in `data_dir`.
    context: String,
    /// The path of the folder that holds the context's folder.
    data_dir: String,
    /// The aggregates of the context's entities: at least one.
    aggregates: List(AggregateDefinition),
    /// How many shards the context has, from 1 to 4096. Warp stores the number
    /// when it creates the context, and it cannot be changed: another number
    /// returns `error.ShardCountMismatch`. The default is 16.
    shards: Int,
    /// Where Warp keeps states. The default is `ActorMode`.
    mode: Mode,
    /// When Warp acknowledges an event. The default is `Full`.
    durability: Durability,
    /// Who may read the files that Warp creates. The default is `Owner`.
    file_access: FileAccess,
    /// On which nodes the context runs. The default is `SingleNode`.
    cluster: Cluster,
    /// Where Warp projects events to. The default is `NoProjections`.
    projections: Projections,
    /// The step functions of sagas. The default is none.
    steps: List(StepFunction),
    /// The subscribers that Warp runs with the context, each with a name of its
    /// own. The default is none. See `warp/subscriber` and `warp/policy`.
    subscribers: List(SubscriberDefinition),
    /// How long Warp keeps the log of a saga after its end. The default is 30
    /// days. Its id stays used and its outcome known for ever.
    keep_sagas: KeepSagas,
    /// How many events an entity stores between two snapshots, from 1 on. The
    /// default is 1000.
    snapshot_every: Int,
    /// When an entity that nobody uses leaves memory. The default is after
    /// 60,000 milliseconds.
    idle_timeout: IdleTimeout,
    /// How many requests may wait at one entity, from 1 to 1,000,000. Further
    /// requests return `error.Overloaded`. The default is 10,000.
    max_pending: Int,
  )
}

/// Where Warp keeps states. Both modes have the same API, errors and files, and
/// a context may be started in the other mode the next time.
///
pub type Mode {
  /// An entity that is used has a process, and its states are in memory. This
  /// mode is for entities that are used often.
  ActorMode
  /// Warp keeps no states in memory: each read folds the events since the last
  /// snapshot. This mode is for many entities that are read rarely.
  ReadThrough
}

/// When Warp acknowledges an event.
///
pub type Durability {
  /// When the event is synced to disk. Neither a killed VM nor a power failure
  /// loses an acknowledged event.
  Full
  /// When the event is written. A killed VM loses no acknowledged event, but a
  /// power failure may lose the last commits.
  Normal
}

/// Who may read the files and folders that Warp creates. Files that exist keep
/// their permissions.
///
pub type FileAccess {
  /// Only the user that runs the VM.
  Owner
  /// Everybody whom the umask of the VM allows.
  Umask
}

/// On which nodes the context runs.
///
pub type Cluster {
  /// On this node alone.
  SingleNode
  /// On several nodes, which share the shards. This node joins the cluster of
  /// the first of these nodes that answers. Give all nodes the same list, such as
  /// `["warp@10.0.0.1"]`: the first node of it creates the cluster, when no other
  /// one is a member. The VM needs a name, as in `erl -name warp@10.0.0.4`, and
  /// the cookie of the others. See `warp/cluster`.
  Clustered(seed_nodes: List(String))
  /// As `Clustered`, and this node creates the cluster when none of the other
  /// seed nodes is a member of one. The list may be empty. Start one node so, and
  /// only until the cluster is there.
  Bootstrap(seed_nodes: List(String))
}

/// Where Warp projects events to.
///
pub type Projections {
  /// Nowhere: Warp does not call the `project` of aggregates.
  NoProjections
  /// To a SQLite file in the context's folder. No server is needed.
  Embedded
  /// To the same file, with tables whose columns and indexes you declare.
  EmbeddedWith(tables: List(Table))
  /// To an rqlite server.
  Rqlite(RqliteOptions)
}

/// How long Warp keeps the log of a saga after its end.
///
pub type KeepSagas {
  /// For so many milliseconds, from 0 on.
  KeepFor(milliseconds: Int)
  /// For good.
  KeepForever
}

/// When an entity that nobody uses leaves memory.
///
pub type IdleTimeout {
  /// After so many milliseconds, from 0 to 2^32 - 1.
  After(milliseconds: Int)
  /// It stays in memory.
  Never
}

/// The defaults of all options, for a record update. The required options
/// `context`, `data_dir` and `aggregates` are empty.
///
pub fn defaults() -> WarpOptions {
  WarpOptions(
    context: "",
    data_dir: "",
    aggregates: [],
    shards: 16,
    mode: ActorMode,
    durability: Full,
    file_access: Owner,
    cluster: SingleNode,
    projections: NoProjections,
    steps: [],
    subscribers: [],
    keep_sagas: KeepFor(30 * 86_400_000),
    snapshot_every: 1000,
    idle_timeout: After(60_000),
    max_pending: 10_000,
  )
}
