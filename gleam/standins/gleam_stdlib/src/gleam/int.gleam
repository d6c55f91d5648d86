//// Whole numbers.

import gleam/order.{type Order, Eq, Gt, Lt}

@external(erlang, "gleam_stdlib_standin", "parse_int")
pub fn parse(string: String) -> Result(Int, Nil)

@external(erlang, "erlang", "integer_to_binary")
pub fn to_string(x: Int) -> String

@external(erlang, "erlang", "float")
pub fn to_float(x: Int) -> Float

@external(erlang, "erlang", "abs")
pub fn absolute_value(x: Int) -> Int

pub fn compare(a: Int, with b: Int) -> Order {
  case a == b {
    True -> Eq
    False if a < b -> Lt
    False -> Gt
  }
}

@external(erlang, "erlang", "min")
pub fn min(a: Int, b: Int) -> Int

@external(erlang, "erlang", "max")
pub fn max(a: Int, b: Int) -> Int

@external(erlang, "lists", "sum")
pub fn sum(numbers: List(Int)) -> Int
