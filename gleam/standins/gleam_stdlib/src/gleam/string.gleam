//// UTF-8 text. A letter is a grapheme cluster: what a reader takes for one.

import gleam/list
import gleam/option.{type Option, None, Some}
import gleam/order.{type Order, Eq, Gt, Lt}

pub fn is_empty(str: String) -> Bool {
  str == ""
}

@external(erlang, "string", "length")
pub fn length(string: String) -> Int

pub fn reverse(string: String) -> String {
  concat(list.reverse(to_graphemes(string)))
}

@external(erlang, "gleam_string_standin", "replace")
pub fn replace(
  in string: String,
  each pattern: String,
  with substitute: String,
) -> String

@external(erlang, "string", "lowercase")
pub fn lowercase(string: String) -> String

@external(erlang, "string", "uppercase")
pub fn uppercase(string: String) -> String

pub fn compare(a: String, b: String) -> Order {
  case a == b, less_than(a, b) {
    True, _ -> Eq
    _, True -> Lt
    _, False -> Gt
  }
}

@external(erlang, "erlang", "<")
fn less_than(a: String, b: String) -> Bool

/// A negative index counts from the end.
pub fn slice(
  from string: String,
  at_index idx: Int,
  length len: Int,
) -> String {
  let start = case idx < 0 {
    True -> length(string) + idx
    False -> idx
  }
  case start < 0 || len <= 0 {
    True -> ""
    False -> take(string, start, len)
  }
}

@external(erlang, "gleam_string_standin", "slice")
fn take(string: String, start: Int, length: Int) -> String

/// What stands before the first match is left out.
@external(erlang, "gleam_string_standin", "crop")
pub fn crop(from string: String, before substring: String) -> String

pub fn drop_start(from string: String, up_to num_graphemes: Int) -> String {
  case num_graphemes > 0 {
    True -> rest(string, num_graphemes)
    False -> string
  }
}

@external(erlang, "gleam_string_standin", "slice")
fn rest(string: String, start: Int) -> String

pub fn drop_end(from string: String, up_to num_graphemes: Int) -> String {
  case num_graphemes > 0 {
    True -> slice(string, 0, length(string) - num_graphemes)
    False -> string
  }
}

@external(erlang, "gleam_string_standin", "contains")
pub fn contains(does haystack: String, contain needle: String) -> Bool

@external(erlang, "gleam_string_standin", "starts_with")
pub fn starts_with(string: String, prefix: String) -> Bool

@external(erlang, "gleam_string_standin", "ends_with")
pub fn ends_with(string: String, suffix: String) -> Bool

@external(erlang, "gleam_string_standin", "split")
pub fn split(x: String, on substring: String) -> List(String)

@external(erlang, "gleam_string_standin", "split_once")
pub fn split_once(
  string: String,
  on substring: String,
) -> Result(#(String, String), Nil)

pub fn append(to first: String, suffix second: String) -> String {
  first <> second
}

@external(erlang, "erlang", "list_to_binary")
pub fn concat(strings: List(String)) -> String

@external(erlang, "binary", "copy")
fn copy(string: String, times: Int) -> String

pub fn repeat(string: String, times times: Int) -> String {
  case times > 0 {
    True -> copy(string, times)
    False -> ""
  }
}

pub fn join(strings: List(String), with separator: String) -> String {
  concat(list.intersperse(strings, separator))
}

pub fn pad_start(
  string: String,
  to desired_length: Int,
  with pad_string: String,
) -> String {
  padding(desired_length - length(string), pad_string) <> string
}

pub fn pad_end(
  string: String,
  to desired_length: Int,
  with pad_string: String,
) -> String {
  string <> padding(desired_length - length(string), pad_string)
}

fn padding(size: Int, pad_string: String) -> String {
  case length(pad_string) {
    0 -> ""
    one -> slice(repeat(pad_string, size / one + 1), 0, size)
  }
}

@external(erlang, "string", "trim")
pub fn trim(string: String) -> String

@external(erlang, "gleam_string_standin", "trim_start")
pub fn trim_start(string: String) -> String

@external(erlang, "gleam_string_standin", "trim_end")
pub fn trim_end(string: String) -> String

@external(erlang, "gleam_string_standin", "pop_grapheme")
pub fn pop_grapheme(string: String) -> Result(#(String, String), Nil)

@external(erlang, "gleam_string_standin", "graphemes")
pub fn to_graphemes(string: String) -> List(String)

@external(erlang, "unicode", "characters_to_list")
pub fn to_utf_codepoints(string: String) -> List(UtfCodepoint)

@external(erlang, "unicode", "characters_to_binary")
pub fn from_utf_codepoints(utf_codepoints: List(UtfCodepoint)) -> String

pub fn utf_codepoint(value: Int) -> Result(UtfCodepoint, Nil) {
  let is_surrogate = value >= 0xD800 && value <= 0xDFFF
  case value < 0 || value > 0x10FFFF || is_surrogate {
    True -> Error(Nil)
    False -> Ok(codepoint(value))
  }
}

@external(erlang, "gleam_stdlib_standin", "identity")
fn codepoint(value: Int) -> UtfCodepoint

@external(erlang, "gleam_stdlib_standin", "identity")
pub fn utf_codepoint_to_int(cp: UtfCodepoint) -> Int

pub fn to_option(string: String) -> Option(String) {
  case string {
    "" -> None
    _ -> Some(string)
  }
}

pub fn first(string: String) -> Result(String, Nil) {
  case pop_grapheme(string) {
    Ok(#(first, _)) -> Ok(first)
    Error(_) -> Error(Nil)
  }
}

pub fn last(string: String) -> Result(String, Nil) {
  list.last(to_graphemes(string))
}

pub fn capitalise(string: String) -> String {
  case pop_grapheme(string) {
    Ok(#(first, rest)) -> uppercase(first) <> lowercase(rest)
    Error(_) -> ""
  }
}

@external(erlang, "gleam_inspect_standin", "inspect")
pub fn inspect(term: anything) -> String

@external(erlang, "erlang", "byte_size")
pub fn byte_size(string: String) -> Int

pub fn remove_prefix(from string: String, matching prefix: String) -> String {
  case starts_with(string, prefix) {
    True -> rest_of_bytes(string, byte_size(prefix))
    False -> string
  }
}

@external(erlang, "gleam_string_standin", "drop_bytes")
fn rest_of_bytes(string: String, count: Int) -> String

pub fn remove_suffix(from string: String, matching suffix: String) -> String {
  case ends_with(string, suffix) {
    True -> first_bytes(string, 0, byte_size(string) - byte_size(suffix))
    False -> string
  }
}

@external(erlang, "binary", "part")
fn first_bytes(string: String, start: Int, length: Int) -> String
