//// JSON, from values and to them. On Erlang a JSON value is its text, as iodata.

import gleam/bit_array
import gleam/dict.{type Dict}
import gleam/dynamic.{type Dynamic}
import gleam/dynamic/decode
import gleam/list
import gleam/option.{type Option, None, Some}
import gleam/result
import gleam/string_tree.{type StringTree}

pub type Json

pub type DecodeError {
  UnexpectedEndOfInput
  UnexpectedByte(String)
  UnexpectedSequence(String)
  UnableToDecode(List(decode.DecodeError))
}

pub fn parse(
  from json: String,
  using decoder: decode.Decoder(t),
) -> Result(t, DecodeError) {
  parse_bits(bit_array.from_string(json), decoder)
}

pub fn parse_bits(
  from json: BitArray,
  using decoder: decode.Decoder(t),
) -> Result(t, DecodeError) {
  use data <- result.try(read(json))
  decode.run(data, decoder) |> result.map_error(UnableToDecode)
}

@external(erlang, "gleam_json_standin", "read")
fn read(json: BitArray) -> Result(Dynamic, DecodeError)

pub fn to_string(json: Json) -> String {
  string_tree.to_string(to_string_tree(json))
}

@external(erlang, "gleam_json_standin", "identity")
pub fn to_string_tree(json: Json) -> StringTree

@external(erlang, "gleam_json_standin", "string")
pub fn string(input: String) -> Json

@external(erlang, "erlang", "atom_to_binary")
pub fn bool(input: Bool) -> Json

@external(erlang, "erlang", "integer_to_binary")
pub fn int(input: Int) -> Json

@external(erlang, "gleam_json_standin", "float")
pub fn float(input: Float) -> Json

pub fn null() -> Json {
  text("null")
}

@external(erlang, "gleam_json_standin", "identity")
fn text(json: String) -> Json

pub fn nullable(from input: Option(a), of inner_type: fn(a) -> Json) -> Json {
  case input {
    Some(value) -> inner_type(value)
    None -> null()
  }
}

pub fn object(entries: List(#(String, Json))) -> Json {
  list.map(entries, fn(entry) { joined([string(entry.0), text(":"), entry.1]) })
  |> between("{", "}")
}

pub fn array(from entries: List(a), of inner_type: fn(a) -> Json) -> Json {
  preprocessed_array(list.map(entries, inner_type))
}

pub fn preprocessed_array(from: List(Json)) -> Json {
  between(from, "[", "]")
}

fn between(items: List(Json), open: String, close: String) -> Json {
  let items = list.intersperse(items, text(","))
  joined([text(open), joined(items), text(close)])
}

@external(erlang, "gleam_json_standin", "identity")
fn joined(parts: List(Json)) -> Json

pub fn dict(
  dict: Dict(k, v),
  keys: fn(k) -> String,
  values: fn(v) -> Json,
) -> Json {
  dict.to_list(dict)
  |> list.map(fn(entry) { #(keys(entry.0), values(entry.1)) })
  |> object
}
