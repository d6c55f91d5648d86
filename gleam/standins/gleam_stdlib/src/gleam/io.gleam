//// Printing.

@external(erlang, "gleam_stdlib_standin", "print")
pub fn print(string: String) -> Nil

@external(erlang, "gleam_stdlib_standin", "print_error")
pub fn print_error(string: String) -> Nil

pub fn println(string: String) -> Nil {
  print(string <> "\n")
}

pub fn println_error(string: String) -> Nil {
  print_error(string <> "\n")
}
