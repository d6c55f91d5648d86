//// Whole numbers.

@external(erlang, "gleam_stdlib_standin", "parse_int")
pub fn parse(string: String) -> Result(Int, Nil)

@external(erlang, "erlang", "integer_to_binary")
pub fn to_string(x: Int) -> String
