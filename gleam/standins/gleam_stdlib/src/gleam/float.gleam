//// Floating point numbers.

import gleam/order.{type Order, Eq, Gt, Lt}

@external(erlang, "gleam_stdlib_standin", "parse_float")
pub fn parse(string: String) -> Result(Float, Nil)

@external(erlang, "gleam_stdlib_standin", "float_to_string")
pub fn to_string(x: Float) -> String

@external(erlang, "erlang", "round")
pub fn round(x: Float) -> Int

@external(erlang, "erlang", "trunc")
pub fn truncate(x: Float) -> Int

pub fn compare(a: Float, with b: Float) -> Order {
  case a == b {
    True -> Eq
    False if a <. b -> Lt
    False -> Gt
  }
}
