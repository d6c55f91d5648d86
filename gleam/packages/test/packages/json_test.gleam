//// gleam/json and gleam/dynamic.

import gleam/dict
import gleam/dynamic
import gleam/dynamic/decode.{DecodeError}
import gleam/json
import gleam/option.{None, Some}

pub fn values_are_written_test() {
  assert json.to_string(
      json.object([
        #("text", json.string("a\"\\\n\u{7}ü")),
        #("numbers", json.preprocessed_array([json.int(-1), json.float(1.5)])),
        #("flags", json.array([True, False], of: json.bool)),
        #("none", json.nullable(None, of: json.int)),
        #("some", json.nullable(Some(1), of: json.int)),
        #("dict", json.dict(dict.from_list([#("k", 2)]), fn(k) { k }, json.int)),
        #("null", json.null()),
      ]),
    )
    == "{\"text\":\"a\\\"\\\\\\n\\u0007ü\",\"numbers\":[-1,1.5],"
    <> "\"flags\":[true,false],\"none\":null,\"some\":1,"
    <> "\"dict\":{\"k\":2},\"null\":null}"
}

pub fn values_are_read_test() {
  let list = decode.list(of: decode.float)
  assert json.parse(" [ 1.5 , -2.0e3 ,1e2] ", list) == Ok([1.5, -2.0e3, 100.0])
  assert json.parse("\"\\u00fc\\uD83D\\uDE00\\n\\/\"", decode.string)
    == Ok("ü😀\n/")
  assert json.parse_bits(<<"{\"a\":null}":utf8>>, {
      use a <- decode.field("a", decode.optional(decode.int))
      decode.success(a)
    })
    == Ok(None)
  assert json.parse("{\"a\":{},\"b\":{}}", {
      decode.dict(decode.string, decode.dict(decode.string, decode.int))
    })
    == Ok(dict.from_list([#("a", dict.new()), #("b", dict.new())]))
  assert json.parse("12345678901234567890", decode.int)
    == Ok(12_345_678_901_234_567_890)
}

pub fn what_is_wrong_is_said_test() {
  let read = json.parse(_, decode.list(of: decode.int))
  assert read("[1,") == Error(json.UnexpectedEndOfInput)
  assert read("") == Error(json.UnexpectedEndOfInput)
  assert read("[1}") == Error(json.UnexpectedByte("0x7D"))
  assert read("[1] x") == Error(json.UnexpectedByte("0x78"))
  assert read("[1,\"a\"]")
    == Error(json.UnableToDecode([DecodeError("Int", "String", ["1"])]))
}

pub type Tree {
  Tree(branches: List(Tree))
}

pub fn decoders_test() {
  assert json.parse("[[],[[]]]", tree())
    == Ok(Tree([Tree([]), Tree([Tree([])])]))
  assert json.parse("[1]", decode.collapse_errors(tree(), "Tree"))
    == Error(json.UnableToDecode([DecodeError("Tree", "List", [])]))
  let bits = dynamic.bit_array(<<1:1>>)
  assert decode.run(bits, decode.bit_array) == Ok(<<1:1>>)
  let pair = dynamic.array([dynamic.bool(True), dynamic.float(1.5)])
  assert decode.run(pair, decode.at([1], decode.float)) == Ok(1.5)
  let data = dynamic.properties([#(dynamic.string("a"), dynamic.nil())])
  assert decode.run(data, decode.at(["a"], decode.optional(decode.int)))
    == Ok(None)
}

fn tree() -> decode.Decoder(Tree) {
  use branches <- decode.map(decode.list(decode.recursive(tree)))
  Tree(branches)
}
