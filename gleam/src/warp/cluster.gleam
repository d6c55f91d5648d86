//// A context that several nodes share. Each of its shards is on one node, the
//// shard's owner, and every node can be asked about every entity: what concerns
//// an entity of another node takes one hop.
////
//// ```gleam
//// let assert Ok(ctx) =
////   warp.start(
////     WarpOptions(
////       ..defaults(),
////       context: "payments",
////       data_dir: "/data",
////       aggregates: [account_aggregate()],
////       cluster: Clustered(seed_nodes: ["warp@10.0.0.1"]),
////     ),
////   )
//// let assert Ok(Nil) = cluster.migrate(ctx)
//// ```
////
//// A node is named as in Erlang: `"warp@10.0.0.1"`. In a context of a single node
//// every function but `owner` returns `error.NotClustered`. Each can return
//// `error.ContextStopped` and `error.Interrupted`, and `error.Timeout` after 5000
//// milliseconds, or the time that its options set.

import gleam/dict.{type Dict}
import gleam/option.{type Option}
import warp/call
import warp/error.{type Error}
import warp/handle.{type Context, type Entity}

// Members, and where shards are.

/// A node of the cluster.
///
pub type Member {
  Member(
    node: String,
    state: MemberState,
    /// Whether the node that was asked can reach it now.
    is_linked: Bool,
    /// How often it was started, from 1.
    incarnation: Int,
    /// How many shards it has.
    shards: Int,
  )
}

/// What a member does.
///
pub type MemberState {
  /// Shards are on it, or come to it.
  Up
  /// It gives its shards away.
  Leaving
  /// It has no shard any more.
  Left
  /// Somebody began to forget it, and has to go on: see `forget`.
  Forgetting
  /// The others do not take it in any more.
  Forgotten
}

/// The members of the cluster as this node knows them, in the order of their
/// names.
///
@external(erlang, "warp_cluster_ffi", "members")
pub fn members(context: Context) -> Result(List(Member), Error(reason))

/// The node that the entity is on, as this node knows it, if it has heard of one.
/// In a context of a single node this is the node itself. Waits for nothing.
/// Errors: `error.BadEntityId` and `error.ContextStopped`.
///
@external(erlang, "warp_cluster_ffi", "owner")
pub fn owner(entity: Entity) -> Result(Option(String), Error(reason))

/// On which node each shard should be, by the numbers of the shards from 0. Each
/// member that is `Up` has as many as any other, within one. Warp moves shards that
/// are elsewhere, one at a time from each node.
///
@external(erlang, "warp_cluster_ffi", "ring")
pub fn ring(context: Context) -> Result(Dict(Int, String), Error(reason))

/// What a node knows of its cluster.
///
pub type Status {
  Status(
    /// The node that was asked.
    node: String,
    phase: Phase,
    members: List(Member),
    /// The numbers of the shards that are on each node.
    shards: Dict(String, List(Int)),
    /// The shards whose node is not known yet.
    unknown: List(Int),
  )
}

/// How a node stands to its cluster.
///
pub type Phase {
  /// It looks for its cluster.
  Joining
  /// It is a member.
  Joined
  /// It does not serve its shards, since its folder may be an old copy: see
  /// `adopt`. `why` says it in words.
  Doubtful(why: String)
}

/// All that this node knows of the cluster.
///
@external(erlang, "warp_cluster_ffi", "status")
pub fn status(context: Context) -> Result(Status, Error(reason))

// Moving shards.

/// What is moving between the nodes.
///
pub type Progress {
  Progress(
    /// Whether a node begins no more hand-offs: see `pause`.
    is_paused: Bool,
    /// How many shards are not where `ring` says, those under way among them.
    to_move: Int,
    /// About how many entities these shards have, if it can be told yet. Those that
    /// wait are taken to have as many as those under way, which were counted.
    entities_to_move: Option(Int),
    /// How many shards were handed over since the nodes were started.
    moved: Int,
    /// About how many entities these shards had.
    entities: Int,
    /// How many bytes these shards had.
    bytes: Int,
    /// How many bytes of the hand-offs under way are copied.
    copied_bytes: Int,
    /// How many bytes the hand-offs under way have.
    of_bytes: Int,
    bytes_per_second: Int,
    entities_per_second: Int,
    /// An estimate of how many seconds are left, if it can be told yet.
    seconds_left: Option(Int),
    /// How long callers of shards that were handed over waited.
    pauses: Pauses,
    under_way: List(HandOff),
    /// Shards whose hand-off stands still.
    alarms: List(Alarm),
    /// Nodes that could not be asked.
    unreachable: List(String),
    /// All of this for people, in a few lines.
    text: String,
  )
}

/// How long callers of shards that were handed over waited, in milliseconds.
///
pub type Pauses {
  Pauses(count: Int, median: Int, longest: Int)
}

/// A shard that is being handed over from one node to another.
///
pub type HandOff {
  HandOff(
    /// The number of the shard, from 0.
    shard: Int,
    from: String,
    to: String,
    step: Step,
    /// About how many entities the shard has; 0 before they are counted.
    entities: Int,
    /// How many bytes are copied.
    bytes: Int,
    /// How many bytes the shard has.
    of_bytes: Int,
  )
}

/// How far a hand-off is.
///
pub type Step {
  /// The shard is copied, and its old node serves it.
  Copying
  /// The shard changes its owner: its callers wait.
  HandingOver
  /// The new node serves the shard, and the old one removes its copy.
  Cleaning
}

/// A shard whose hand-off stands still.
///
pub type Alarm {
  Alarm(
    /// The number of the shard, from 0.
    shard: Int,
    /// The node that says so.
    node: String,
    /// Why, in words.
    why: String,
  )
}

/// What is moving, asked of all members. Waits for at most 5000 milliseconds.
///
@external(erlang, "warp_cluster_ffi", "progress")
pub fn progress(context: Context) -> Result(Progress, Error(reason))

/// Waits until each shard is where `ring` says, for as long as it takes, also for
/// members that cannot be reached now. Warp moves shards by itself, and nobody has
/// to call this. Where moves are paused, this begins them again on this node.
///
pub fn migrate(context: Context) -> Result(Nil, Error(reason)) {
  migrate_with(context, call.options())
}

/// Waits as `migrate` does, with a timeout: see `warp/call`. After `error.Timeout`
/// the moves go on.
///
pub fn migrate_with(
  context: Context,
  options: call.Options,
) -> Result(Nil, Error(reason)) {
  engine_migrate(context, call.to_map(options))
}

/// Begins no more hand-offs of this node's shards until `resume`. What is under
/// way goes on.
///
@external(erlang, "warp_cluster_ffi", "pause")
pub fn pause(context: Context) -> Result(Nil, Error(reason))

/// Hands this node's shards over again, after `pause`.
///
@external(erlang, "warp_cluster_ffi", "resume")
pub fn resume(context: Context) -> Result(Nil, Error(reason))

// Nodes that go, and nodes in doubt.

/// Gives all shards of this node to the other members, and returns when that is
/// done: the node can then be stopped for good. Until it is stopped it still takes
/// calls, and sends them on. A node that has left, and is started again, joins as
/// a new one. Waits for as long as it takes.
///
/// Returns `error.LastMember` if no other member takes shards, and
/// `error.DiskFull` or `error.IoError` if this could not be noted.
///
pub fn leave(context: Context) -> Result(Nil, Error(reason)) {
  leave_with(context, call.options())
}

/// Leaves as `leave` does, with a timeout: see `warp/call`. After `error.Timeout`
/// the node goes on giving its shards away.
///
pub fn leave_with(
  context: Context,
  options: call.Options,
) -> Result(Nil, Error(reason)) {
  engine_leave(context, call.to_map(options))
}

/// Forgets members that are lost for good, with their disks: an operator knows
/// that they will never run again. Other members take their shards over. A shard of
/// which another member has a copy, since it was about to move, goes on with what
/// that has; all others are empty, and their entities begin with seq 1. Read models
/// keep what they have of lost events until they are rebuilt. A node of that name,
/// with an empty folder, can join again. It cannot be taken back.
///
/// All other members have to run, so members that are lost together are forgotten
/// together: give all of them. Waits for as long as it takes. If it is interrupted
/// a member may be `Forgetting`: forget it again.
///
/// Returns `error.NotAMember`; `error.NodeUp` if one of them can be reached;
/// `error.NodeUnavailable` if another member cannot; and `error.DiskFull` or
/// `error.IoError` if this could not be noted.
///
pub fn forget(
  context: Context,
  nodes: List(String),
) -> Result(Nil, Error(reason)) {
  forget_with(context, nodes, call.options())
}

/// Forgets as `forget` does, with a timeout: see `warp/call`.
///
pub fn forget_with(
  context: Context,
  nodes: List(String),
  options: call.Options,
) -> Result(Nil, Error(reason)) {
  engine_forget(context, nodes, call.to_map(options))
}

/// Takes this node's folder for the right one, for an operator who knows that it
/// is: the node then serves its shards, but for those that another member owns by
/// now. `context` is the name of the context, since its start may still be waiting
/// for this.
///
/// Returns `error.NotInDoubt` if the folder is not in doubt, `error.Forgotten` if
/// the others have forgotten this node, and `error.DiskFull` or `error.IoError` if
/// this could not be noted.
///
@external(erlang, "warp_cluster_ffi", "adopt")
pub fn adopt(context: String) -> Result(Nil, Error(reason))

@external(erlang, "warp_cluster_ffi", "migrate")
fn engine_migrate(
  context: Context,
  options: call.Map,
) -> Result(Nil, Error(reason))

@external(erlang, "warp_cluster_ffi", "forget")
fn engine_forget(
  context: Context,
  nodes: List(String),
  options: call.Map,
) -> Result(Nil, Error(reason))

@external(erlang, "warp_cluster_ffi", "leave")
fn engine_leave(context: Context, options: call.Map) -> Result(Nil, Error(reason))
