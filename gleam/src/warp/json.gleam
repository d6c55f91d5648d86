//// A small JSON builder for payloads and metadata.
////
//// ```gleam
//// json.object([
////   #("sku", json.string("tea")),
////   #("quantity", json.int(2)),
//// ])
//// ```
////
//// These functions do not write text: Warp writes the text when it packs the
//// event for the log. To read JSON use `event.decode`, or any decoder of
//// `gleam/dynamic/decode` on `event.payload`.
////
//// Encoders for the package `gleam_json`, which does write text, serve as they
//// are: see `codec.json` for the events of an aggregate, and `event.from_json`
//// for a single one.

import gleam/dynamic.{type Dynamic}
import gleam/list
import gleam/option.{type Option, None, Some}

/// A JSON value.
///
pub type Json

/// A JSON object. The last of two equal keys counts.
///
@external(erlang, "maps", "from_list")
pub fn object(fields: List(#(String, Json))) -> Json

/// A JSON array of the items of a list, each encoded by the function.
///
/// ```gleam
/// json.array(["tea", "milk"], of: json.string)
/// ```
///
pub fn array(items: List(a), of encode: fn(a) -> Json) -> Json {
  preprocessed_array(list.map(items, encode))
}

/// A JSON array of JSON values.
///
@external(erlang, "warp_ffi", "identity")
pub fn preprocessed_array(items: List(Json)) -> Json

/// A JSON string.
///
@external(erlang, "warp_ffi", "identity")
pub fn string(value: String) -> Json

/// A JSON number without a fraction. It keeps all its digits, of which it may
/// have 308.
///
@external(erlang, "warp_ffi", "identity")
pub fn int(value: Int) -> Json

/// A JSON number with a fraction.
///
@external(erlang, "warp_ffi", "identity")
pub fn float(value: Float) -> Json

/// `true` or `false`.
///
@external(erlang, "warp_ffi", "identity")
pub fn bool(value: Bool) -> Json

/// `null`.
///
@external(erlang, "warp_ffi", "null")
pub fn null() -> Json

/// `null` for `None`, and the encoded value for `Some`.
///
/// ```gleam
/// json.nullable(Some(3), of: json.int)
/// ```
///
pub fn nullable(value: Option(a), of encode: fn(a) -> Json) -> Json {
  case value {
    Some(value) -> encode(value)
    None -> null()
  }
}

/// A value that was read before, such as a part of an older event's payload. If
/// JSON cannot express it, the append returns `error.BadEvent`.
///
@external(erlang, "warp_ffi", "identity")
pub fn from_dynamic(value: Dynamic) -> Json
