//// UTF-8 text.

import gleam/order.{type Order}

@external(erlang, "string", "length")
pub fn length(string: String) -> Int

@external(erlang, "erlang", "byte_size")
pub fn byte_size(string: String) -> Int

pub fn is_empty(str: String) -> Bool {
  str == ""
}

pub fn append(to first: String, suffix second: String) -> String {
  first <> second
}

@external(erlang, "erlang", "list_to_binary")
pub fn concat(strings: List(String)) -> String

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

@external(erlang, "gleam_stdlib_standin", "compare")
pub fn compare(a: String, b: String) -> Order

@external(erlang, "gleam_stdlib_standin", "contains")
pub fn contains(does haystack: String, contain needle: String) -> Bool

@external(erlang, "gleam_stdlib_standin", "starts_with")
pub fn starts_with(string: String, prefix: String) -> Bool

@external(erlang, "gleam_stdlib_standin", "ends_with")
pub fn ends_with(string: String, suffix: String) -> Bool

@external(erlang, "gleam_stdlib_standin", "replace")
pub fn replace(
  in string: String,
  each pattern: String,
  with substitute: String,
) -> String

@external(erlang, "gleam_stdlib_standin", "split")
pub fn split(x: String, on substring: String) -> List(String)

@external(erlang, "gleam_stdlib_standin", "split_once")
pub fn split_once(
  string: String,
  on substring: String,
) -> Result(#(String, String), Nil)

@external(erlang, "gleam_stdlib_standin", "slice")
pub fn slice(from string: String, at_index idx: Int, length len: Int) -> String

pub fn drop_start(from string: String, up_to num_graphemes: Int) -> String {
  case num_graphemes > 0 {
    True -> slice(string, num_graphemes, length(string))
    False -> string
  }
}

@external(erlang, "gleam_stdlib_standin", "graphemes")
pub fn to_graphemes(string: String) -> List(String)

@external(erlang, "string", "lowercase")
pub fn lowercase(string: String) -> String

@external(erlang, "string", "uppercase")
pub fn uppercase(string: String) -> String

@external(erlang, "gleam_stdlib_standin", "trim")
pub fn trim(string: String) -> String

@external(erlang, "gleam_stdlib_standin", "pad_start")
pub fn pad_start(
  string: String,
  to desired_length: Int,
  with pad_string: String,
) -> String

@external(erlang, "gleam_stdlib_standin", "pad_end")
pub fn pad_end(
  string: String,
  to desired_length: Int,
  with pad_string: String,
) -> String

@external(erlang, "gleam_stdlib_standin", "inspect")
pub fn inspect(term: anything) -> String
