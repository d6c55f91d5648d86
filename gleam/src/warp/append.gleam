//// Options of an append.
////
//// ```gleam
//// alice
//// |> warp.append_with(
////   credited,
////   append.options()
////     |> append.expect(append.NoStream)
////     |> append.id("order-17"),
//// )
//// ```

import gleam/list
import gleam/option.{type Option, None, Some}
import warp/error.{type Error, BadOption, Because}
import warp/event.{type Event}
import warp/json.{type Json}

/// The options of an append. See `options`.
///
pub opaque type Options {
  Options(settings: List(Setting), id: Option(String), metadata: Option(Json))
}

/// What the engine's map of options is made of: the names are its keys.
///
type Setting {
  Expected(End)
  Timeout(Int)
}

type End

/// Where the entity's log has to end for an append to be stored.
///
pub type Expected {
  /// Anywhere.
  Any
  /// The entity has no events.
  NoStream
  /// The last event has this seq. 0 means the same as `NoStream`.
  Seq(Int)
}

/// The defaults: the log may end anywhere, the caller waits for at most 5000
/// milliseconds, and the event has no id and no metadata of its own.
///
pub fn options() -> Options {
  Options(settings: [], id: None, metadata: None)
}

/// Sets where the entity's log has to end. If it ends elsewhere, the append
/// returns `error.WrongExpectedSeq` with the seq at which it ends.
///
pub fn expect(options: Options, expected: Expected) -> Options {
  set(
    options,
    Expected(case expected {
      Seq(seq) -> end_at(seq)
      Any | NoStream -> end(expected)
    }),
  )
}

/// Sets how long the caller waits for the answer, in milliseconds, from 0 to
/// 2^32 - 1. After that the append returns `error.Timeout`, and the event may
/// still be stored.
///
pub fn timeout(options: Options, milliseconds: Int) -> Options {
  set(options, Timeout(milliseconds))
}

/// Gives the event an id, of 1 to 533 bytes. An append with an id can be
/// repeated: the event is stored once. In a batch each event has an id of its
/// own (see `event.with_id`), so a batch with this option returns
/// `error.BadOption`.
///
pub fn id(options: Options, id: String) -> Options {
  Options(..options, id: Some(id))
}

/// Sets the metadata of the event, or of each event of a batch: a JSON object.
///
pub fn metadata(options: Options, metadata: Json) -> Options {
  Options(..options, metadata: Some(metadata))
}

fn set(options: Options, setting: Setting) -> Options {
  Options(..options, settings: [setting, ..options.settings])
}

/// The event with what the options say of it.
///
@internal
pub fn to_event(options: Options, event: Event) -> Event {
  event |> with(options.id, event.with_id) |> with_metadata(options)
}

/// The events of a batch with what the options say of them.
///
@internal
pub fn to_events(
  options: Options,
  events: List(Event),
) -> Result(List(Event), Error(reason)) {
  case options.id, options.metadata {
    Some(_), _ ->
      Error(BadOption(
        "id",
        Because("each event of a batch has an id of its own"),
      ))
    None, None -> Ok(events)
    None, Some(_) -> Ok(list.map(events, with_metadata(_, options)))
  }
}

fn with_metadata(event: Event, options: Options) -> Event {
  with(event, options.metadata, event.with_metadata)
}

fn with(event: Event, value: Option(a), set: fn(Event, a) -> Event) -> Event {
  case value {
    Some(value) -> set(event, value)
    None -> event
  }
}

/// The engine's map of options. The last of two equal settings counts.
///
@internal
pub fn to_map(options: Options) -> Map {
  from_list(list.reverse(options.settings))
}

@internal
pub type Map

@external(erlang, "maps", "from_list")
fn from_list(settings: List(Setting)) -> Map

@external(erlang, "warp_ffi", "identity")
fn end(expected: Expected) -> End

@external(erlang, "warp_ffi", "identity")
fn end_at(seq: Int) -> End
