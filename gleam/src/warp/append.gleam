//// How an append is to be made, where the defaults are not enough.
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

import gleam/option.{type Option, None, Some}
import warp/json.{type Json}

/// The options of an append. See `options`.
///
pub opaque type Options {
  Options(
    expected: Expected,
    timeout: Int,
    id: Option(String),
    metadata: Option(Json),
  )
}

/// What an entity's log must end at for an append to be made.
///
pub type Expected {
  /// It does not matter.
  Any
  /// The entity has no events.
  NoStream
  /// The last event has this seq. 0 is the same as `NoStream`.
  Seq(Int)
}

/// The defaults: anything is expected, and the caller waits for 5 seconds.
///
pub fn options() -> Options {
  Options(expected: Any, timeout: 5000, id: None, metadata: None)
}

/// Sets what the log must end at. Otherwise the append gives
/// `error.WrongExpectedSeq`, with the seq that it ends at.
///
pub fn expect(options: Options, expected: Expected) -> Options {
  Options(..options, expected:)
}

/// Sets how long to wait for the answer, in milliseconds. When it is too long
/// the append gives `error.Timeout`, and may still be stored.
///
pub fn timeout(options: Options, milliseconds: Int) -> Options {
  Options(..options, timeout: milliseconds)
}

/// Gives the event an id, 1 to 533 bytes. An append with it can be repeated:
/// the event is stored once. In a batch each event has an id of its own (see
/// `event.with_id`), and one given here is refused.
///
pub fn id(options: Options, id: String) -> Options {
  Options(..options, id: Some(id))
}

/// Sets the metadata of the event, or of each event of a batch: a JSON object.
///
pub fn metadata(options: Options, metadata: Json) -> Options {
  Options(..options, metadata: Some(metadata))
}

/// What an `append_with` of this package reads of its options.
///
@internal
pub fn parts(
  options: Options,
) -> #(Expected, Int, Option(String), Option(Json)) {
  #(options.expected, options.timeout, options.id, options.metadata)
}
