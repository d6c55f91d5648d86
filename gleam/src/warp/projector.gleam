//// What carries projections out: seeing how it is doing, dealing with events
//// that could not be projected, and building the tables anew.

import gleam/dynamic.{type Dynamic}
import gleam/option.{type Option}
import warp/error.{type Error}
import warp/event.{type Event}
import warp/handle.{type Context}

// Events that could not be projected.

/// An event that could not be projected, for its `project` crashed or gave
/// commands that cannot be carried out. It waits, with the later events of its
/// entity; other entities go on.
///
pub type SetAside {
  SetAside(
    /// The id of the entity.
    entity: String,
    /// The seq of the event.
    seq: Int,
    /// Its aggregate.
    aggregate: String,
    /// Its type.
    type_: String,
    /// What happened, in words.
    reason: String,
    /// When, in microseconds since 1970, UTC.
    at: Int,
    /// How many later events of the entity wait behind it.
    waiting: Int,
    /// The event itself, unless it can't be read.
    event: Option(Event),
  )
}

/// The events that are set aside, oldest first, at most that many.
///
@external(erlang, "warp_projection_ffi", "set_aside")
pub fn set_aside(
  context: Context,
  limit: Int,
) -> Result(List(SetAside), Error(reason))

/// Projects what is set aside of an entity again, and what waits behind it. If
/// it fails again it gives `error.SetAside`.
///
@external(erlang, "warp_projection_ffi", "retry")
pub fn retry(context: Context, entity: String) -> Result(Nil, Error(reason))

/// Projects everything that is set aside again.
///
@external(erlang, "warp_projection_ffi", "retry_all")
pub fn retry_all(context: Context) -> Result(Nil, Error(reason))

/// Leaves out, for good, the one event of the entity that is set aside, and
/// goes on with those behind it.
///
@external(erlang, "warp_projection_ffi", "skip")
pub fn skip(context: Context, entity: String) -> Result(Nil, Error(reason))

// Rebuilding.

/// How far a rebuild is.
///
pub type Progress {
  Progress(
    /// What it does.
    state: RebuildState,
    /// Whether the tables were built by another version of `project`, so that
    /// a rebuild is due.
    due: Bool,
    /// Events that were read.
    done: Int,
    /// About how many events there are.
    total: Int,
    /// Events per second.
    rate: Float,
    /// About how long it will still take.
    seconds_left: Option(Float),
  )
}

/// What a rebuild does.
///
pub type RebuildState {
  /// There is none.
  Idle
  /// It reads all events, into fresh tables.
  Running
  /// It was cancelled. `rebuild` goes on with it.
  Paused
  /// It puts the fresh tables in the place of the old ones.
  Swapping
}

/// Builds all tables anew, from all events, while the old ones go on being
/// read, and swaps them at the end. Gives its answer when it has begun. One that
/// was cancelled or interrupted goes on where it was.
///
@external(erlang, "warp_projection_ffi", "rebuild")
pub fn rebuild(context: Context) -> Result(Nil, Error(reason))

/// Waits until the rebuild is done, that many milliseconds at most.
///
@external(erlang, "warp_projection_ffi", "await_rebuild")
pub fn await_rebuild(
  context: Context,
  within milliseconds: Int,
) -> Result(Nil, Error(reason))

/// Cancels the rebuild. What it has done is kept for the next `rebuild`.
///
@external(erlang, "warp_projection_ffi", "cancel_rebuild")
pub fn cancel_rebuild(context: Context) -> Result(Nil, Error(reason))

/// How far the rebuild is.
///
@external(erlang, "warp_projection_ffi", "rebuild_progress")
pub fn rebuild_progress(context: Context) -> Result(Progress, Error(reason))

/// How projections are doing.
///
pub type Status {
  Status(
    /// Whether the target can be reached, and if not, why.
    target: TargetState,
    /// How many positions of the log are not projected yet.
    behind_positions: Int,
    /// How old the oldest of these is, in seconds.
    behind_seconds: Float,
    /// How many entities have an event set aside.
    set_aside: Int,
    /// Events that were projected since the context was started.
    events: Int,
    /// Everything that is known, also of each shard, to be read with a decoder:
    /// the map that `warp_projection:status/1` gives.
    all: Dynamic,
  )
}

/// Whether a target can be reached.
///
pub type TargetState {
  /// It can.
  Up
  /// It cannot, and Warp tries again.
  Away(why: String)
}

/// How projections are doing.
///
@external(erlang, "warp_projection_ffi", "status")
pub fn status(context: Context) -> Result(Status, Error(reason))
