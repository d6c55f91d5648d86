//// Projectors, which project events into tables: their status, events that could
//// not be projected, and rebuilding the tables.
////
//// In a context without projections every function returns
//// `error.NoProjections`.

import gleam/dynamic.{type Dynamic}
import gleam/option.{type Option}
import warp/error.{type Error}
import warp/event.{type Event}
import warp/handle.{type Context}

// Events that could not be projected.

/// An event that could not be projected, because its `project` crashed or the
/// database rejected its commands. The later events of its entity wait behind
/// it; the projection of other entities continues.
///
pub type SetAside {
  SetAside(
    /// The id of the entity.
    entity: String,
    /// The seq of the event.
    seq: Int,
    /// The aggregate of the event.
    aggregate: String,
    /// The type of the event.
    type_: String,
    /// Why it could not be projected, in words.
    reason: String,
    /// When it was set aside, in microseconds since 1970, UTC.
    at: Int,
    /// How many later events of the entity wait behind it.
    waiting: Int,
    /// The event itself, unless it could not be read.
    event: Option(Event),
  )
}

/// The events that are set aside, oldest first, and at most `limit` of them: one
/// per entity. Takes at most about 30 seconds.
///
@external(erlang, "warp_projection_ffi", "set_aside")
pub fn set_aside(
  context: Context,
  limit limit: Int,
) -> Result(List(SetAside), Error(reason))

/// Projects the event that is set aside of an entity again, and then the events
/// behind it. Waits for at most 30 seconds, and then returns `error.Timeout`.
///
/// Returns `error.SetAside` if an event fails again, `error.NotSetAside` if none
/// of the entity's events is set aside, and `error.Stalled` or
/// `error.RebuildDue` if the projector of the entity's shard stands still.
///
@external(erlang, "warp_projection_ffi", "retry")
pub fn retry(
  context: Context,
  entity entity: String,
) -> Result(Nil, Error(reason))

/// Projects all events that are set aside again, and returns the first error
/// once each was tried. Waits for at most 30 seconds, and then returns
/// `error.Timeout`.
///
@external(erlang, "warp_projection_ffi", "retry_all")
pub fn retry_all(context: Context) -> Result(Nil, Error(reason))

/// Leaves out the event that is set aside of an entity, for good, and projects
/// the events behind it. Errors and the timeout are those of `retry`.
///
@external(erlang, "warp_projection_ffi", "skip")
pub fn skip(
  context: Context,
  entity entity: String,
) -> Result(Nil, Error(reason))

// Rebuilding.

/// The progress of a rebuild.
///
pub type Progress {
  Progress(
    /// What the rebuild does now.
    state: RebuildState,
    /// Whether another version of `project` filled the tables, so that a
    /// rebuild is due.
    due: Bool,
    /// How many events the rebuild has read.
    done: Int,
    /// An estimate of how many events there are.
    total: Int,
    /// How many events the rebuild reads per second.
    rate: Float,
    /// An estimate of how many seconds the rebuild still takes.
    seconds_left: Option(Float),
  )
}

/// What a rebuild does now.
///
pub type RebuildState {
  /// No rebuild is running.
  Idle
  /// It projects all events into new tables.
  Running
  /// It was cancelled. `rebuild` continues it.
  Paused
  /// It replaces the old tables by the new ones.
  Swapping
}

/// Builds all tables again from all events, and replaces the old tables in one
/// transaction at the end. Queries read the old tables until then. Returns when
/// the rebuild has begun. A rebuild that was cancelled or interrupted continues.
///
/// Returns `error.AlreadyRunning` if one is running, and `error.Timeout` if
/// it did not begin within 30 seconds.
///
@external(erlang, "warp_projection_ffi", "rebuild")
pub fn rebuild(context: Context) -> Result(Nil, Error(reason))

/// Waits for the end of the rebuild, for at most so many milliseconds, up to
/// 2^32 - 1. Returns `error.Timeout`, `error.Cancelled` or `error.NotRunning`.
///
@external(erlang, "warp_projection_ffi", "await_rebuild")
pub fn await_rebuild(
  context: Context,
  within milliseconds: Int,
) -> Result(Nil, Error(reason))

/// Cancels the rebuild. Its work is kept, and the next `rebuild` continues it.
/// Returns `error.NotRunning` if none is running, and `error.Timeout` after 30
/// seconds.
///
@external(erlang, "warp_projection_ffi", "cancel_rebuild")
pub fn cancel_rebuild(context: Context) -> Result(Nil, Error(reason))

/// The progress of the rebuild. Does not wait.
///
@external(erlang, "warp_projection_ffi", "rebuild_progress")
pub fn rebuild_progress(context: Context) -> Result(Progress, Error(reason))

// Status.

/// The status of a context's projections.
///
pub type Status {
  Status(
    /// Whether Warp can reach the target.
    target: TargetState,
    /// How many positions of the shards' logs are not projected yet.
    behind_positions: Int,
    /// How old the oldest event is that is not projected yet, in seconds.
    behind_seconds: Float,
    /// How many entities have an event that is set aside.
    set_aside: Int,
    /// How many events were projected since the context was started.
    events: Int,
    /// The projectors, by the numbers of their shards, from 0.
    shards: List(ShardStatus),
    /// Everything that the engine knows, to be read with a decoder: the map
    /// that `warp_projection:status/1` returns.
    all: Dynamic,
  )
}

/// Whether Warp can reach a target.
///
pub type TargetState {
  /// The target can be reached.
  Up
  /// The target cannot be reached. Warp goes on trying by itself.
  Away(why: String)
}

/// The status of the projector of a shard.
///
pub type ShardStatus {
  ShardStatus(
    /// The number of the shard, from 0.
    shard: Int,
    /// What the projector does now.
    state: ProjectorState,
    /// Since when it has been in this state, in microseconds since 1970, UTC.
    since: Int,
    /// How many positions of the shard's log are not projected yet.
    behind_positions: Int,
    /// How old the oldest event is that is not projected yet, in seconds.
    behind_seconds: Float,
    /// How many entities of the shard have an event that is set aside.
    set_aside: Int,
    /// How many events were projected since the context was started.
    events: Int,
  )
}

/// What the projector of a shard does.
///
pub type ProjectorState {
  /// It starts.
  Starting
  /// It has projected the whole log, and waits for new events.
  Live
  /// It is behind the log, and makes progress.
  CatchingUp
  /// It makes no progress. The documentation of `warp_projection:status/1` has
  /// the reasons.
  IsStalled(why: String)
}

/// The status of a context's projections. Does not wait.
///
@external(erlang, "warp_projection_ffi", "status")
pub fn status(context: Context) -> Result(Status, Error(reason))
