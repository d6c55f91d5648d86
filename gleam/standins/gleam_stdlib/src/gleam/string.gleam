//// UTF-8 text.

@external(erlang, "string", "length")
pub fn length(string: String) -> Int

@external(erlang, "gleam_stdlib_standin", "join")
pub fn join(strings: List(String), with separator: String) -> String

@external(erlang, "binary", "copy")
fn copy(string: String, times: Int) -> String

pub fn repeat(string: String, times times: Int) -> String {
  case times > 0 {
    True -> copy(string, times)
    False -> ""
  }
}

@external(erlang, "gleam_stdlib_standin", "contains")
pub fn contains(does haystack: String, contain needle: String) -> Bool

@external(erlang, "gleam_stdlib_standin", "starts_with")
pub fn starts_with(string: String, prefix: String) -> Bool

@external(erlang, "gleam_stdlib_standin", "replace")
pub fn replace(
  in string: String,
  each pattern: String,
  with substitute: String,
) -> String

@external(erlang, "gleam_stdlib_standin", "split")
pub fn split(x: String, on substring: String) -> List(String)

@external(erlang, "gleam_stdlib_standin", "inspect")
pub fn inspect(term: anything) -> String
