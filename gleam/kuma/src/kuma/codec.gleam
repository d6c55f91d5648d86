//// How states and events are written into the files.
////
//// Without a codec Kuma stores both in Erlang's term format: nothing has to be
//// written for it, and only programs on the BEAM can read it. With one they
//// are JSON, which any `sqlite3` shell reads, and your decoders say how to
//// read what older versions of your program wrote.
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

/// A way to write states and events, and to read them.
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
/// `encode_event` gives an event's type, a name of 1 to 512 bytes, and its
/// payload; `decode_event` gives the decoder for the payloads of a type. Of
/// states, only the ones that entities are spawned with are written.
///
/// An event that its own decoder does not take is refused before it is stored,
/// with `error.UndecodableEvent`. What was stored in Erlang's term format,
/// before there was a codec, is still read, as long as its types are the same.
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
/// object with the term as Base64. An event's type is the name of its
/// constructor.
///
/// A type must keep its shape once values of it are stored: a constructor that
/// has another name or other fields by now is not what lies in the file. What
/// means something in one run only (a process, a reference, a function) is
/// refused with `error.EncodeFailed`.
///
pub fn terms() -> Codec(state, event) {
  Codec(
    encode_state: encode_term,
    decode_state: None,
    encode_event: fn(event) { #(term.constructor(event), encode_term(event)) },
    decode_event: fn(_type) { None },
  )
}

/// What an entity's log holds: first the state that it was spawned with, and
/// then events.
///
@internal
pub type Entry(state, event) {
  Spawned(state)
  Happened(event)
}

/// The type of the first event. No constructor has such a name.
///
const spawned = "Kuma.Spawned"

const term_key = "$term"

/// An entry as type and payload.
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
        True -> panic as "the type Kuma.Spawned is kept for Kuma itself"
        False -> #(type_, payload)
      }
    }
  }
}

/// The decoder for the payloads of a type. A payload says by itself whether it
/// is a term.
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

/// A term is of the type that was written there. A decoder that fails takes any
/// value, which nobody looks at.
///
@external(erlang, "kuma_ffi", "identity")
fn coerce(value: a) -> b
