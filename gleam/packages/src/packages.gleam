//// A line of a shop's order, as text, as a value and as JSON.

import gleam/dynamic/decode.{type Decoder}
import gleam/int
import gleam/json.{type Json}
import gleam/result
import gleam/string

pub type Line {
  Line(article: String, quantity: Int)
}

/// Reads `"tea x 2"`.
pub fn parse(text: String) -> Result(Line, Nil) {
  use #(article, quantity) <- result.try(string.split_once(text, on: " x "))
  use quantity <- result.map(int.parse(quantity))
  Line(article:, quantity:)
}

pub fn to_json(line: Line) -> Json {
  json.object([
    #("article", json.string(line.article)),
    #("quantity", json.int(line.quantity)),
  ])
}

pub fn decoder() -> Decoder(Line) {
  use article <- decode.field("article", decode.string)
  use quantity <- decode.field("quantity", decode.int)
  decode.success(Line(article:, quantity:))
}
