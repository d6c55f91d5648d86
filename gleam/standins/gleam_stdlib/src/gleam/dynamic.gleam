//// Data whose type is not known.

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

@external(erlang, "maps", "from_list")
pub fn properties(entries: List(#(Dynamic, Dynamic))) -> Dynamic

pub fn nil() -> Dynamic {
  from_nil(Nil)
}

@external(erlang, "gleam_stdlib_standin", "identity")
fn from_nil(a: Nil) -> Dynamic
