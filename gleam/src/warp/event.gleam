//// Events: what is appended to an entity, and what comes out of its log.
////
//// ```gleam
//// event.new("Credited", json.object([#("amount", json.int(5000))]))
//// |> event.with_id("order-17")
//// ```
////
//// One type serves both ways, so that an export can be appended as it is and
//// functions that fold events can be tested without a database. An event that
//// was not stored yet has no seq and no time.
////
//// In Erlang and Elixir an event is the map that `warp_core` takes and gives:
//// `#{type => <<"Credited">>, payload => #{<<"amount">> => 5000}}`.

import gleam/dynamic.{type Dynamic}
import gleam/dynamic/decode.{type DecodeError, type Decoder}
import warp/json.{type Json}

/// An event.
///
pub type Event

/// An event to append, of a type and with a JSON object as payload.
///
/// The type is a name of 1 to 512 bytes, the payload at most 1 MiB of JSON.
/// What is wrong with an event is told when it is appended: see
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

/// Names the aggregate that the event belongs to. Needed only when the context
/// has more than one.
///
@external(erlang, "warp_event_ffi", "with_aggregate")
pub fn with_aggregate(event: Event, name: String) -> Event

/// Gives the event an id, 1 to 533 bytes, which makes its append repeatable:
/// appended again it is not written again, and the answer is the seq of the
/// first time.
///
@external(erlang, "warp_event_ffi", "with_id")
pub fn with_id(event: Event, id: String) -> Event

/// Sets the version of the schema that the payload is written in. It is the
/// aggregate's version by default.
///
@external(erlang, "warp_event_ffi", "with_schema_vsn")
pub fn with_schema_vsn(event: Event, version: Int) -> Event

/// Sets the metadata, a JSON object: correlation and causation ids, who did it,
/// and whatever else is not part of the fact itself.
///
@external(erlang, "warp_event_ffi", "with_metadata")
pub fn with_metadata(event: Event, metadata: Json) -> Event

/// Gives the event another type: for an aggregate's `migrate`.
///
@external(erlang, "warp_event_ffi", "with_type")
pub fn with_type(event: Event, type_: String) -> Event

/// Gives the event another payload: for an aggregate's `migrate`.
///
@external(erlang, "warp_event_ffi", "with_payload")
pub fn with_payload(event: Event, payload: Json) -> Event

/// The type, such as `"Credited"`.
///
@external(erlang, "warp_event_ffi", "type")
pub fn type_(event: Event) -> String

/// The payload, to be read with a decoder: a JSON object. Of an event made
/// with `from_json`, and not stored yet, it is the text.
///
@external(erlang, "warp_event_ffi", "payload")
pub fn payload(event: Event) -> Dynamic

/// Reads the payload with a decoder.
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

/// The aggregate that the event belongs to, or `""` when none was named yet.
///
@external(erlang, "warp_event_ffi", "aggregate")
pub fn aggregate(event: Event) -> String

/// The id: the one that it was given or else `ENTITY#SEQ`, and `""` before it
/// has either.
///
@external(erlang, "warp_event_ffi", "id")
pub fn id(event: Event) -> String

/// The version of the schema that the payload was written in, or 0 when it was
/// not set yet.
///
@external(erlang, "warp_event_ffi", "schema_vsn")
pub fn schema_vsn(event: Event) -> Int

/// The metadata, to be read with a decoder: a JSON object, `{}` if there is
/// none.
///
@external(erlang, "warp_event_ffi", "metadata")
pub fn metadata(event: Event) -> Dynamic

/// The place in its entity's log, from 1, or 0 when it was not stored yet.
///
@external(erlang, "warp_event_ffi", "seq")
pub fn seq(event: Event) -> Int

/// When it was recorded, in microseconds since 1970, UTC, or 0 when it was not
/// stored yet.
///
@external(erlang, "warp_event_ffi", "recorded_at")
pub fn recorded_at(event: Event) -> Int
