//// Which part of an entity's past is wanted.
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
  Timeout(Int)
}

type Direction {
  Backward
}

/// A point of the past, for `warp.state_at`.
///
pub type Point {
  /// After the event with that seq. 0 is before the first event, and a seq
  /// beyond the last event is the present.
  Seq(Int)
  /// At that time: with every event up to the last one recorded by then. In
  /// microseconds since 1970, UTC.
  Time(microseconds: Int)
}

/// The defaults: the first 1000 events, oldest first.
///
pub fn options() -> Options {
  Options([])
}

/// Begins at the event with that seq. By default a history begins at the first
/// event, or at the last one if it goes backward.
///
pub fn from(options: Options, seq: Int) -> Options {
  set(options, From(seq))
}

/// Gives at most that many events, and at least 1. 1000 by default.
///
pub fn limit(options: Options, events: Int) -> Options {
  set(options, Limit(events))
}

/// Goes backward: the newest event comes first.
///
pub fn backward(options: Options) -> Options {
  set(options, Direction(Backward))
}

/// How long to wait, in milliseconds. 5000 by default.
///
pub fn timeout(options: Options, milliseconds: Int) -> Options {
  set(options, Timeout(milliseconds))
}

fn set(options: Options, setting: Setting) -> Options {
  let Options(settings) = options
  Options([setting, ..settings])
}

/// The engine's map. What was set last comes last, and counts.
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
