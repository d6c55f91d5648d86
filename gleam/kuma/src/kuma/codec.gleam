//// How Kuma stores states and events.
////
//// Without a codec Kuma stores both in Erlang's term format: you write no code
//// for it, and only programs on the BEAM can read the files. With a codec Kuma
//// stores JSON, which any `sqlite3` shell shows, and your decoders can read what
//// older versions of your program stored.
////
//// ```gleam
//// codec.json(
////   encode_state: fn(counter: Counter) {
////     json.object([#("count", json.int(counter.count))])
////   },
////   decode_state: {
////     use count <- decode.field("count", decode.int)
////     decode.success(Counter(count:))
////   },
////   encode_event: fn(event: CounterEvent) {
////     #("Added", json.object([#("n", json.int(event.n))]))
////   },
////   decode_event: fn(_type) {
////     use n <- decode.field("n", decode.int)
////     decode.success(Added(n:))
////   },
//// )
//// ```

import gleam/dynamic/decode.{type Decoder}
import gleam/option.{type Option, None, Some}
import warp/json.{type Json}
import warp/term

/// Encodes and decodes states and events.
///
pub opaque type Codec(state, event) {
  Codec(
    encode_state: fn(state) -> Json,
    decode_state: Option(Decoder(state)),
    encode_event: fn(event) -> #(String, Json),
    decode_event: fn(String) -> Option(Decoder(event)),
  )
}

/// States and events as JSON objects.
///
/// `encode_event` returns an event's type, of 1 to 512 bytes, and its payload.
/// `decode_event` returns the decoder for the payloads of events with a type.
/// The state functions encode and decode the states with which entities are
/// spawned.
///
/// If the decoder fails on an event, Kuma does not store the event, and the
/// append returns `error.UndecodableEvent`. With this codec Kuma still reads
/// states and events that it stored in Erlang's term format, as long as their
/// types have not changed.
///
pub fn json(
  encode_state encode_state: fn(state) -> Json,
  decode_state decode_state: Decoder(state),
  encode_event encode_event: fn(event) -> #(String, Json),
  decode_event decode_event: fn(String) -> Decoder(event),
) -> Codec(state, event) {
  Codec(
    encode_state:,
    decode_state: Some(decode_state),
    encode_event:,
    decode_event: fn(type_) { Some(decode_event(type_)) },
  )
}

/// States and events in Erlang's term format, which is the default: a JSON
/// object that holds the term in Base64. The type of an event is the name of its
/// constructor.
///
/// Once values of a type are stored, the names and the fields of its
/// constructors must not change. A state or an event that holds a process, a
/// reference or a function cannot be stored, and returns `error.EncodeFailed`.
///
pub fn terms() -> Codec(state, event) {
  Codec(
    encode_state: encode_term,
    decode_state: None,
    encode_event: fn(event) { #(term.constructor(event), encode_term(event)) },
    decode_event: fn(_type) { None },
  )
}

/// An entry of an entity's log: first the state with which the entity was
/// spawned, and then its events.
///
@internal
pub type Entry(state, event) {
  Spawned(state)
  Happened(event)
}

/// The type of the first entry. No constructor has such a name.
///
const spawned = "Kuma.Spawned"

const term_key = "$term"

/// The type and the payload of an entry.
///
@internal
pub fn encode(
  codec: Codec(state, event),
  entry: Entry(state, event),
) -> #(String, Json) {
  case entry {
    Spawned(state) -> #(spawned, codec.encode_state(state))
    Happened(event) -> {
      let #(type_, payload) = codec.encode_event(event)
      case type_ == spawned {
        True -> panic as "the type Kuma.Spawned is reserved for Kuma itself"
        False -> #(type_, payload)
      }
    }
  }
}

/// The decoder for the payloads of entries with a type. A payload shows by its
/// key whether it is a term.
///
@internal
pub fn decoder(
  codec: Codec(state, event),
  type_: String,
) -> Decoder(Entry(state, event)) {
  use text <- decode.then(decode.optionally_at(
    [term_key],
    None,
    decode.map(decode.string, Some),
  ))
  case type_ == spawned {
    True -> read(text, codec.decode_state) |> decode.map(Spawned)
    False -> read(text, codec.decode_event(type_)) |> decode.map(Happened)
  }
}

fn read(text: Option(String), decoder: Option(Decoder(a))) -> Decoder(a) {
  case text, decoder {
    Some(text), _ -> decode_term(text)
    None, Some(decoder) -> decoder
    None, None -> decode.failure(coerce(Nil), "a term")
  }
}

fn encode_term(value: a) -> Json {
  case term.encode(value) {
    Ok(text) -> json.object([#(term_key, json.string(text))])
    Error(why) -> panic as why
  }
}

fn decode_term(text: String) -> Decoder(a) {
  case term.decode(text) {
    Ok(value) -> decode.success(coerce(value))
    Error(why) -> decode.failure(coerce(Nil), why)
  }
}

/// A term has the type with which it was stored. A decoder that fails needs a
/// value of any type, which nobody uses.
///
@external(erlang, "kuma_ffi", "identity")
fn coerce(value: a) -> b
