//// The options that a context is started with.
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

/// The options of `warp.start` and `warp.supervised`. `defaults` gives all of
/// them; `context`, `data_dir` and `aggregates` always have to be set.
///
pub type WarpOptions {
  WarpOptions(
    /// The name of the context: letters, digits, `_`, `.` and `-`, at most 200
    /// bytes. A folder of that name is made in `data_dir`.
    context: String,
    /// The folder that holds the context's folder.
    data_dir: String,
    /// The aggregates of its entities: at least one.
    aggregates: List(AggregateDefinition),
    /// In how many files the entities are kept, 1 to 4096. For good: it is
    /// stored, and starting with another number is an error. 16 by default.
    shards: Int,
    /// Where states live. `ActorMode` by default.
    mode: Mode,
    /// When an event counts as stored. `Full` by default.
    durability: Durability,
    /// Who may read the files that are made. `Owner` by default.
    file_access: FileAccess,
    /// `SingleNode` by default.
    cluster: Cluster,
    /// Whether events are projected into tables. `NoProjections` by default.
    projections: Projections,
    /// The step functions of sagas. None by default.
    steps: List(StepFunction),
    /// How many events lie between two snapshots of an entity. 1000 by default.
    snapshot_every: Int,
    /// When an entity that is not used leaves memory. After 60 seconds by
    /// default.
    idle_timeout: IdleTimeout,
    /// How many requests may wait at one entity, 1 to 1,000,000, before callers
    /// are told `error.Overloaded`. 10,000 by default.
    max_pending: Int,
  )
}

/// Where states live. API, errors and files are the same, and a context can be
/// started with the other one next time.
///
pub type Mode {
  /// An entity that is used keeps a process and its states in memory: for
  /// entities that are used often.
  ActorMode
  /// Nothing is kept in memory: reads fold the log, from the last snapshot on.
  /// For many entities that are read rarely.
  ReadThrough
}

/// When an event counts as stored.
///
pub type Durability {
  /// When it is fsynced. Nothing acknowledged is ever lost.
  Full
  /// When it is written. Killing the VM loses nothing, but a power failure may
  /// lose the last commits.
  Normal
}

/// Who may read the files and folders that Warp makes. Those that are there
/// keep their modes.
///
pub type FileAccess {
  /// The user that the VM runs as, alone.
  Owner
  /// Whoever the umask of the VM lets.
  Umask
}

/// On which nodes the context runs.
///
pub type Cluster {
  /// On this one alone.
  SingleNode
  /// On all nodes that know one of these, such as `"warp@10.0.0.1"`. Not there
  /// yet: starting with it gives `error.BadOption`.
  Clustered(seed_nodes: List(String))
}

/// Where events are projected to.
///
pub type Projections {
  /// Nowhere. What aggregates `project` is ignored.
  NoProjections
  /// To a SQLite file in the context's folder: there is no server to run.
  Embedded
  /// The same, with tables whose columns and indexes you choose.
  EmbeddedWith(tables: List(Table))
  /// To rqlite.
  Rqlite(RqliteOptions)
}

/// When an entity that is not used leaves memory.
///
pub type IdleTimeout {
  /// After that many milliseconds.
  After(milliseconds: Int)
  /// It stays.
  Never
}

/// The options to begin with, for a record update: `context` and `data_dir`
/// are still empty, and there are no aggregates.
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
    snapshot_every: 1000,
    idle_timeout: After(60_000),
    max_pending: 10_000,
  )
}
