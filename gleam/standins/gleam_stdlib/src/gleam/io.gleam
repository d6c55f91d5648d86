//// Printing.

@external(erlang, "gleam_stdlib_standin", "println")
pub fn println(string: String) -> Nil

@external(erlang, "gleam_stdlib_standin", "println_error")
pub fn println_error(string: String) -> Nil
