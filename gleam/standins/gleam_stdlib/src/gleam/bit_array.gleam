//// Bits, which mostly are bytes.

import gleam/order.{type Order}
import gleam/string

@external(erlang, "gleam_stdlib_standin", "identity")
pub fn from_string(x: String) -> BitArray

@external(erlang, "erlang", "bit_size")
pub fn bit_size(x: BitArray) -> Int

@external(erlang, "erlang", "byte_size")
pub fn byte_size(x: BitArray) -> Int

@external(erlang, "gleam_bit_array_standin", "pad_to_bytes")
pub fn pad_to_bytes(x: BitArray) -> BitArray

pub fn append(to first: BitArray, suffix second: BitArray) -> BitArray {
  concat([first, second])
}

/// A negative length takes what is before the position.
@external(erlang, "gleam_bit_array_standin", "slice")
pub fn slice(
  from string: BitArray,
  at position: Int,
  take length: Int,
) -> Result(BitArray, Nil)

pub fn is_utf8(bits: BitArray) -> Bool {
  case to_string(bits) {
    Ok(_) -> True
    Error(_) -> False
  }
}

@external(erlang, "gleam_bit_array_standin", "to_string")
pub fn to_string(bits: BitArray) -> Result(String, Nil)

@external(erlang, "erlang", "list_to_bitstring")
pub fn concat(bit_arrays: List(BitArray)) -> BitArray

@external(erlang, "gleam_bit_array_standin", "base64_encode")
pub fn base64_encode(input: BitArray, padding: Bool) -> String

@external(erlang, "gleam_bit_array_standin", "base64_decode")
pub fn base64_decode(encoded: String) -> Result(BitArray, Nil)

pub fn base64_url_encode(input: BitArray, padding: Bool) -> String {
  base64_encode(input, padding)
  |> string.replace(each: "+", with: "-")
  |> string.replace(each: "/", with: "_")
}

pub fn base64_url_decode(encoded: String) -> Result(BitArray, Nil) {
  encoded
  |> string.replace(each: "-", with: "+")
  |> string.replace(each: "_", with: "/")
  |> base64_decode
}

@external(erlang, "gleam_bit_array_standin", "base16_encode")
pub fn base16_encode(input: BitArray) -> String

@external(erlang, "gleam_bit_array_standin", "base16_decode")
pub fn base16_decode(input: String) -> Result(BitArray, Nil)

@external(erlang, "gleam_inspect_standin", "bit_array")
pub fn inspect(input: BitArray) -> String

@external(erlang, "gleam_bit_array_standin", "compare")
pub fn compare(a: BitArray, with b: BitArray) -> Order

@external(erlang, "gleam_bit_array_standin", "starts_with")
pub fn starts_with(bits: BitArray, prefix: BitArray) -> Bool
