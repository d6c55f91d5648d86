//// A small JSON builder for payloads and metadata.
////
//// ```gleam
//// json.object([
////   #("sku", json.string("tea")),
////   #("quantity", json.int(2)),
//// ])
//// ```
////
//// Nothing is turned into text here: Warp writes the text when the event is
//// packed for the log. To read JSON use `event.decode`, or any decoder of
//// `gleam/dynamic/decode` on `event.payload`.

import gleam/dynamic.{type Dynamic}
import gleam/list
import gleam/option.{type Option, None, Some}

/// A JSON value.
///
pub type Json

/// A JSON object. When a key is given twice the last one counts.
///
@external(erlang, "maps", "from_list")
pub fn object(fields: List(#(String, Json))) -> Json

/// A JSON array, from a list and a function that encodes one item.
///
/// ```gleam
/// json.array(["tea", "milk"], of: json.string)
/// ```
///
pub fn array(items: List(a), of encode: fn(a) -> Json) -> Json {
  preprocessed_array(list.map(items, encode))
}

/// A JSON array of what is JSON already.
///
@external(erlang, "warp_ffi", "identity")
pub fn preprocessed_array(items: List(Json)) -> Json

/// A JSON string.
///
@external(erlang, "warp_ffi", "identity")
pub fn string(value: String) -> Json

/// A JSON number without a fraction. It keeps all its digits, up to 308.
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

/// `null` for `None`, and otherwise the value.
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

/// JSON that was read before, such as a part of an older event's payload. What
/// has no form in JSON is refused when the event is appended.
///
@external(erlang, "warp_ffi", "identity")
pub fn from_dynamic(value: Dynamic) -> Json
