//// Events, which are appended to an entity's log and read from it.
////
//// ```gleam
//// event.new("Credited", json.object([#("amount", json.int(5000))]))
//// |> event.with_id("order-17")
//// ```
////
//// Events to append and stored events have the same type, so an export can be
//// appended as it is, and functions that fold events can be tested without a
//// database. An event that is not stored yet has no seq and no time.
////
//// In Erlang and Elixir an event is the map that `warp_core` accepts and
//// returns: `#{type => <<"Credited">>, payload => #{<<"amount">> => 5000}}`.

import gleam/dynamic.{type Dynamic}
import gleam/dynamic/decode.{type DecodeError, type Decoder}
import warp/json.{type Json}

/// An event, stored or to be appended.
///
pub type Event

/// An event to append, with a type and with a JSON object as its payload.
///
/// The type has 1 to 512 bytes. The payload has at most 1 MiB of JSON, nested at
/// most 128 levels deep. If something is wrong with an event, its append returns
/// `error.BadEvent`.
///
@external(erlang, "warp_event_ffi", "new")
pub fn new(type_: String, payload: Json) -> Event

/// An event to append whose payload is JSON text.
///
/// ```gleam
/// event.from_json("Credited", "{\"amount\":5000}")
/// ```
///
@external(erlang, "warp_event_ffi", "new")
pub fn from_json(type_: String, payload: String) -> Event

/// Names the aggregate that the event belongs to. This is required only if the
/// context has more than one aggregate.
///
@external(erlang, "warp_event_ffi", "with_aggregate")
pub fn with_aggregate(event: Event, name: String) -> Event

/// Gives the event an id, of 1 to 533 bytes, so that its append can be repeated:
/// a second append stores nothing, and returns the seq of the stored event.
///
@external(erlang, "warp_event_ffi", "with_id")
pub fn with_id(event: Event, id: String) -> Event

/// Sets the version of the schema in which the payload is written, from 1 on.
/// The default is the version of the aggregate.
///
@external(erlang, "warp_event_ffi", "with_schema_vsn")
pub fn with_schema_vsn(event: Event, version: Int) -> Event

/// Sets the metadata, a JSON object of at most 1 MiB: for example correlation
/// and causation ids, or the user who caused the event.
///
@external(erlang, "warp_event_ffi", "with_metadata")
pub fn with_metadata(event: Event, metadata: Json) -> Event

/// Gives the event another type, in the `migrate` of an aggregate.
///
@external(erlang, "warp_event_ffi", "with_type")
pub fn with_type(event: Event, type_: String) -> Event

/// Gives the event another payload, in the `migrate` of an aggregate.
///
@external(erlang, "warp_event_ffi", "with_payload")
pub fn with_payload(event: Event, payload: Json) -> Event

/// The type, such as `"Credited"`.
///
@external(erlang, "warp_event_ffi", "type")
pub fn type_(event: Event) -> String

/// The payload, to be read with a decoder: a JSON object. The payload of an
/// event that was made with `from_json`, and is not stored yet, is its text.
///
@external(erlang, "warp_event_ffi", "payload")
pub fn payload(event: Event) -> Dynamic

/// Decodes the payload.
///
/// ```gleam
/// event.decode(event, decode.at(["amount"], decode.int))
/// ```
///
pub fn decode(
  event: Event,
  decoder: Decoder(a),
) -> Result(a, List(DecodeError)) {
  decode.run(payload(event), decoder)
}

/// The aggregate that the event belongs to, or `""` before it has one.
///
@external(erlang, "warp_event_ffi", "aggregate")
pub fn aggregate(event: Event) -> String

/// The id that the event was given, or `ENTITY#SEQ` for a stored event that was
/// given none, or `""` for an event that is not stored yet.
///
@external(erlang, "warp_event_ffi", "id")
pub fn id(event: Event) -> String

/// The version of the schema in which the payload is written, or 0 before it is
/// set.
///
@external(erlang, "warp_event_ffi", "schema_vsn")
pub fn schema_vsn(event: Event) -> Int

/// The metadata, to be read with a decoder: a JSON object, which is `{}` for an
/// event without metadata.
///
@external(erlang, "warp_event_ffi", "metadata")
pub fn metadata(event: Event) -> Dynamic

/// The seq of the event in its entity's log, from 1 on, or 0 before it is
/// stored.
///
@external(erlang, "warp_event_ffi", "seq")
pub fn seq(event: Event) -> Int

/// When the event was recorded, in microseconds since 1970, UTC, or 0 before it
/// is stored.
///
@external(erlang, "warp_event_ffi", "recorded_at")
pub fn recorded_at(event: Event) -> Int
