//// Which part of an entity's past a read returns.
////
//// ```gleam
//// // The last ten events, newest first.
//// alice
//// |> warp.history_with(history.options() |> history.backward |> history.limit(10))
//// ```

/// The options of a history. See `options`.
///
pub opaque type Options {
  Options(List(Setting))
}

/// What the engine's map of options is made of: the names are its keys.
///
type Setting {
  From(Int)
  Limit(Int)
  Direction(Direction)
  Migrate(Bool)
  Timeout(Int)
}

type Direction {
  Backward
}

/// A point in the past, for `warp.state_at`.
///
pub type Point {
  /// After the event with this seq. 0 is before the first event, and a seq
  /// beyond the last event is the present.
  Seq(Int)
  /// At this time: after the last event that was recorded by then. In
  /// microseconds since 1970, UTC.
  Time(microseconds: Int)
}

/// The defaults: the first 1000 events, oldest first, read within 5000
/// milliseconds.
///
pub fn options() -> Options {
  Options([])
}

/// Begins at the event with this seq. By default a history begins at the first
/// event, or at the last event if it goes backward.
///
pub fn from(options: Options, seq: Int) -> Options {
  set(options, From(seq))
}

/// Sets the largest number of events, from 1 on. The default is 1000.
///
pub fn limit(options: Options, events: Int) -> Options {
  set(options, Limit(events))
}

/// Goes backward: the newest event is the first.
///
pub fn backward(options: Options) -> Options {
  set(options, Direction(Backward))
}

/// Gives the events as they were stored, as `warp.export` does, and not as the
/// aggregates' `migrate` makes them.
///
pub fn as_stored(options: Options) -> Options {
  set(options, Migrate(False))
}

/// Sets how long the read may take, in milliseconds, from 0 to 2^32 - 1. The
/// default is 5000. After that the read returns `error.Timeout`.
///
pub fn timeout(options: Options, milliseconds: Int) -> Options {
  set(options, Timeout(milliseconds))
}

fn set(options: Options, setting: Setting) -> Options {
  let Options(settings) = options
  Options([setting, ..settings])
}

/// The engine's map of options. The last of two equal settings counts.
///
@internal
pub fn to_map(options: Options) -> Map {
  let Options(settings) = options
  from_list(reverse(settings))
}

@internal
pub type Map

@external(erlang, "maps", "from_list")
fn from_list(settings: List(Setting)) -> Map

@external(erlang, "lists", "reverse")
fn reverse(settings: List(Setting)) -> List(Setting)
