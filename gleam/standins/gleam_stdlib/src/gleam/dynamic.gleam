//// Data whose type is not known.

pub type Dynamic

@external(erlang, "gleam_stdlib_standin", "classify")
pub fn classify(data: Dynamic) -> String

@external(erlang, "gleam_stdlib_standin", "identity")
pub fn string(a: String) -> Dynamic

@external(erlang, "gleam_stdlib_standin", "identity")
pub fn int(a: Int) -> Dynamic

@external(erlang, "gleam_stdlib_standin", "identity")
pub fn list(a: List(Dynamic)) -> Dynamic
