//// Data whose type is not known.

import gleam/dict

pub type Dynamic

@external(erlang, "gleam_stdlib_standin", "classify")
pub fn classify(data: Dynamic) -> String

@external(erlang, "gleam_stdlib_standin", "identity")
pub fn bool(a: Bool) -> Dynamic

@external(erlang, "gleam_stdlib_standin", "identity")
pub fn string(a: String) -> Dynamic

@external(erlang, "gleam_stdlib_standin", "identity")
pub fn float(a: Float) -> Dynamic

@external(erlang, "gleam_stdlib_standin", "identity")
pub fn int(a: Int) -> Dynamic

@external(erlang, "gleam_stdlib_standin", "identity")
pub fn bit_array(a: BitArray) -> Dynamic

@external(erlang, "gleam_stdlib_standin", "identity")
pub fn list(a: List(Dynamic)) -> Dynamic

@external(erlang, "erlang", "list_to_tuple")
pub fn array(a: List(Dynamic)) -> Dynamic

pub fn properties(entries: List(#(Dynamic, Dynamic))) -> Dynamic {
  to_dynamic(dict.from_list(entries))
}

pub fn nil() -> Dynamic {
  to_dynamic(Nil)
}

@external(erlang, "gleam_stdlib_standin", "identity")
fn to_dynamic(a: anything) -> Dynamic
