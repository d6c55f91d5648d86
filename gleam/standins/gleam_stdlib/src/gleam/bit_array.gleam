//// Bits and bytes.

pub fn from_string(x: String) -> BitArray {
  <<x:utf8>>
}

@external(erlang, "gleam_stdlib_standin", "bit_array_to_string")
pub fn to_string(bits: BitArray) -> Result(String, Nil)

@external(erlang, "erlang", "byte_size")
pub fn byte_size(x: BitArray) -> Int

pub fn append(to first: BitArray, suffix second: BitArray) -> BitArray {
  <<first:bits, second:bits>>
}

@external(erlang, "binary", "encode_hex")
pub fn base16_encode(input: BitArray) -> String
