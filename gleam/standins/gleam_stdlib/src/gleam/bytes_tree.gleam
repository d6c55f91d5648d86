//// Bytes that are put together from parts: on Erlang, iodata.

import gleam/bit_array
import gleam/list
import gleam/string_tree.{type StringTree}

pub type BytesTree

pub fn new() -> BytesTree {
  concat([])
}

pub fn prepend(to second: BytesTree, prefix first: BitArray) -> BytesTree {
  append_tree(from_bit_array(first), second)
}

pub fn append(to first: BytesTree, suffix second: BitArray) -> BytesTree {
  append_tree(first, from_bit_array(second))
}

pub fn prepend_tree(
  to second: BytesTree,
  prefix first: BytesTree,
) -> BytesTree {
  append_tree(first, second)
}

pub fn append_tree(to first: BytesTree, suffix second: BytesTree) -> BytesTree {
  concat([first, second])
}

pub fn prepend_string(to second: BytesTree, prefix first: String) -> BytesTree {
  append_tree(from_string(first), second)
}

pub fn append_string(to first: BytesTree, suffix second: String) -> BytesTree {
  append_tree(first, from_string(second))
}

@external(erlang, "gleam_stdlib_standin", "identity")
pub fn concat(trees: List(BytesTree)) -> BytesTree

pub fn concat_bit_arrays(bits: List(BitArray)) -> BytesTree {
  concat(list.map(bits, from_bit_array))
}

@external(erlang, "gleam_stdlib_standin", "identity")
pub fn from_string(string: String) -> BytesTree

@external(erlang, "gleam_stdlib_standin", "identity")
pub fn from_string_tree(tree: StringTree) -> BytesTree

/// Bits that fill no byte are filled up with zeros.
pub fn from_bit_array(bits: BitArray) -> BytesTree {
  from_bytes(bit_array.pad_to_bytes(bits))
}

@external(erlang, "gleam_stdlib_standin", "identity")
fn from_bytes(bytes: BitArray) -> BytesTree

@external(erlang, "erlang", "list_to_bitstring")
fn list_to_bits(tree: List(BytesTree)) -> BitArray

pub fn to_bit_array(tree: BytesTree) -> BitArray {
  list_to_bits([tree])
}

@external(erlang, "erlang", "iolist_size")
pub fn byte_size(tree: BytesTree) -> Int
