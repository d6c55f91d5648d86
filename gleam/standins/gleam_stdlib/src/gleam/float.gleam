//// Floating point numbers.

@external(erlang, "gleam_stdlib_standin", "float_to_string")
pub fn to_string(x: Float) -> String
