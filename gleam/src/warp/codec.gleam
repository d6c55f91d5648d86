//// The form in which events stand in the file, described once for both
//// directions: a type for each constructor, and a name for each of its fields.
////
//// ```gleam
//// pub type Event {
////   Credited(amount: Int)
////   Transferred(amount: Int, to: String)
////   Closed
//// }
////
//// pub fn events() -> Codec(Event) {
////   codec.new()
////   |> codec.event1("Credited", Credited, codec.int("amount"))
////   |> codec.event2("Transferred", Transferred, codec.int("amount"), codec.string("to"))
////   |> codec.event0("Closed", Closed)
//// }
//// ```
////
//// `Transferred(500, to: "bob")` is stored with the type `Transferred` and the
//// payload `{"amount":500,"to":"bob"}`. `aggregate.with_codec` gives an
//// aggregate its codec.
////
//// The names are those of the file, and not those of the program: a constructor
//// may be renamed, and its event keeps its type. To give events another type from
//// now on, add a line with the new type and the same constructor behind the old
//// one: the last line of a constructor is how it is written, and all are read.
////
//// The compiler checks that each
//// field has the type that the constructor takes. It does not check that there is
//// a line for each constructor: the append of an event without one returns
//// `error.EncodeFailed`.

import gleam/dynamic/decode.{type Decoder}
import gleam/list
import gleam/option.{type Option, None, Some}
import gleam/string
import warp/json.{type Json}
import warp/term

/// How the events of an aggregate are written and read.
///
pub opaque type Codec(event) {
  Codec(
    /// The types of the events that are described, the last one first.
    types: List(String),
    encode: fn(event) -> #(String, Json),
    decode: fn(String) -> Decoder(event),
  )
}

/// A field of an event, or a transformed one: its name in the payload, and how
/// its value is written and read.
///
pub opaque type Field(value) {
  Field(
    name: String,
    encode: fn(value) -> Json,
    decode: Decoder(value),
    default: Option(value),
  )
}

/// A codec that describes no event yet.
///
pub fn new() -> Codec(event) {
  Codec(types: [], encode: refuse, decode: fn(_type) { unknown([]) })
}

/// A codec of functions that write an event as JSON text, which has to be an
/// object, and read it: for events that have an encoder and a decoder already,
/// such as those for the package `gleam_json`.
///
/// ```gleam
/// codec.json(
///   encode: fn(event) { json.to_string(event_to_json(event)) },
///   decode: event_decoder(),
/// )
/// ```
///
/// The type of an event is the name of its constructor. It is not needed to read
/// the event, so what tells one constructor from another has to be in the JSON.
///
pub fn json(
  encode encode: fn(event) -> String,
  decode decoder: Decoder(event),
) -> Codec(event) {
  Codec(
    types: [],
    encode: fn(event) { #(term.constructor(event), text(encode(event))) },
    decode: fn(_type) { decoder },
  )
}

// Events

/// Adds an event without fields, which is stored with that type.
///
pub fn event0(
  codec: Codec(event),
  type_: String,
  event: event,
) -> Codec(event) {
  add(codec, type_, event, [], decode.success(event))
}

/// Adds an event with one field: `constructor` is the constructor itself, such
/// as `Credited`.
///
pub fn event1(
  codec: Codec(event),
  type_: String,
  constructor: fn(a) -> event,
  a: Field(a),
) -> Codec(event) {
  add(codec, type_, constructor, [any(a)], {
    use a <- read(a)
    decode.success(constructor(a))
  })
}

/// Adds an event with two fields, in the order in which the constructor has them.
///
pub fn event2(
  codec: Codec(event),
  type_: String,
  constructor: fn(a, b) -> event,
  a: Field(a),
  b: Field(b),
) -> Codec(event) {
  add(codec, type_, constructor, [any(a), any(b)], {
    use a <- read(a)
    use b <- read(b)
    decode.success(constructor(a, b))
  })
}

/// Adds an event with three fields, in the order in which the constructor has
/// them.
///
pub fn event3(
  codec: Codec(event),
  type_: String,
  constructor: fn(a, b, c) -> event,
  a: Field(a),
  b: Field(b),
  c: Field(c),
) -> Codec(event) {
  add(codec, type_, constructor, [any(a), any(b), any(c)], {
    use a <- read(a)
    use b <- read(b)
    use c <- read(c)
    decode.success(constructor(a, b, c))
  })
}

/// Adds an event with four fields, in the order in which the constructor has
/// them.
///
pub fn event4(
  codec: Codec(event),
  type_: String,
  constructor: fn(a, b, c, d) -> event,
  a: Field(a),
  b: Field(b),
  c: Field(c),
  d: Field(d),
) -> Codec(event) {
  add(codec, type_, constructor, [any(a), any(b), any(c), any(d)], {
    use a <- read(a)
    use b <- read(b)
    use c <- read(c)
    use d <- read(d)
    decode.success(constructor(a, b, c, d))
  })
}

/// Adds an event with five fields, in the order in which the constructor has
/// them. For one with more, group some of them in a type of their own, and write
/// that with `custom`.
///
pub fn event5(
  codec: Codec(event),
  type_: String,
  constructor: fn(a, b, c, d, e) -> event,
  a: Field(a),
  b: Field(b),
  c: Field(c),
  d: Field(d),
  e: Field(e),
) -> Codec(event) {
  add(codec, type_, constructor, [any(a), any(b), any(c), any(d), any(e)], {
    use a <- read(a)
    use b <- read(b)
    use c <- read(c)
    use d <- read(d)
    use e <- read(e)
    decode.success(constructor(a, b, c, d, e))
  })
}

// Fields

/// A whole number.
///
pub fn int(name: String) -> Field(Int) {
  custom(name, json.int, decode.int)
}

/// A number with a fraction.
///
pub fn float(name: String) -> Field(Float) {
  custom(name, json.float, decode.float)
}

/// Text.
///
pub fn string(name: String) -> Field(String) {
  custom(name, json.string, decode.string)
}

/// `true` or `false`.
///
pub fn bool(name: String) -> Field(Bool) {
  custom(name, json.bool, decode.bool)
}

/// A list of what a field holds: `codec.list(codec.string("tags"))`.
///
pub fn list(field: Field(value)) -> Field(List(value)) {
  custom(field.name, json.array(_, field.encode), decode.list(field.decode))
}

/// What a field holds, or `None`, which is written as `null`. It reads an event
/// without the field as `None`, too.
///
pub fn optional(field: Field(value)) -> Field(Option(value)) {
  let encode = json.nullable(_, field.encode)
  custom(field.name, encode, decode.optional(field.decode)) |> default(None)
}

/// The value that an event without the field has: for a field that events of an
/// earlier release lack.
///
pub fn default(field: Field(value), value: value) -> Field(value) {
  Field(..field, default: Some(value))
}

/// A field of any type that can be written as JSON and be read.
///
/// ```gleam
/// codec.custom("currency", fn(it) { json.string(to_code(it)) }, currency_decoder())
/// ```
///
pub fn custom(
  name: String,
  encode: fn(value) -> Json,
  decoder: Decoder(value),
) -> Field(value) {
  Field(name:, encode:, decode: decoder, default: None)
}

// What aggregates need

/// The type of an event, and its payload.
///
@internal
pub fn encode(codec: Codec(event), event: event) -> #(String, Json) {
  codec.encode(event)
}

/// The decoder of the payloads of events with a type.
///
@internal
pub fn decode(codec: Codec(event), type_: String) -> Decoder(event) {
  codec.decode(type_)
}

fn add(
  codec: Codec(event),
  type_: String,
  constructor: constructor,
  fields: List(Field(Nil)),
  decoder: Decoder(event),
) -> Codec(event) {
  let shape = case shape_made_by(constructor) {
    Ok(shape) -> shape
    Error(Nil) ->
      panic as {
        "The codec of "
        <> type_
        <> " needs the constructor of the event itself, such as Credited,"
        <> " and no function around it."
      }
  }
  case list.contains(codec.types, type_) {
    True -> panic as { "The codec has two lines for the type " <> type_ <> "." }
    False -> Nil
  }
  let types = [type_, ..codec.types]
  Codec(
    types:,
    encode: fn(event) {
      case shape_of(event) == shape {
        True -> #(type_, json.object(list.index_map(fields, write(event))))
        False -> codec.encode(event)
      }
    },
    decode: fn(other) {
      case other == type_ {
        True -> decoder
        False ->
          case list.contains(codec.types, other) {
            True -> codec.decode(other)
            False -> unknown(types)
          }
      }
    },
  )
}

/// The name and the JSON of an event's field with an index.
///
fn write(event: event) -> fn(Field(Nil), Int) -> #(String, Json) {
  // A constructor's fields stand behind its name.
  fn(field: Field(Nil), index) {
    #(field.name, field.encode(element(index + 2, event)))
  }
}

fn read(
  field: Field(value),
  next: fn(value) -> Decoder(event),
) -> Decoder(event) {
  case field.default {
    Some(value) -> decode.optional_field(field.name, value, field.decode, next)
    None -> decode.field(field.name, field.decode, next)
  }
}

/// Of an event whose constructor has no line.
///
fn refuse(event: event) -> #(String, Json) {
  panic as {
    "The codec has no line for the constructor "
    <> term.constructor(event)
    <> ". Add one with codec.event0 to codec.event5."
  }
}

fn unknown(types: List(String)) -> Decoder(event) {
  let types = string.join(list.reverse(types), ", ")
  decode.failure(placeholder(Nil), "an event of one of the types " <> types)
}

/// A constructor's name, and how many fields it has.
///
type Shape

@external(erlang, "warp_codec_ffi", "shape_made_by")
fn shape_made_by(constructor: constructor) -> Result(Shape, Nil)

@external(erlang, "warp_codec_ffi", "shape_of")
fn shape_of(event: event) -> Shape

/// The value has the type of the field: `event2` and the others have seen to
/// that.
///
@external(erlang, "erlang", "element")
fn element(position: Int, event: event) -> Nil

@external(erlang, "warp_ffi", "identity")
fn any(field: Field(value)) -> Field(Nil)

@external(erlang, "warp_ffi", "identity")
fn text(json: String) -> Json

/// No decoder that has failed gives its value to anybody.
///
@external(erlang, "warp_ffi", "identity")
fn placeholder(nil: Nil) -> event
