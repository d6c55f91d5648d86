//// Whole numbers.

import gleam/float
import gleam/order.{type Order, Eq, Gt, Lt}

@external(erlang, "erlang", "abs")
pub fn absolute_value(x: Int) -> Int

pub fn power(base: Int, of exponent: Float) -> Result(Float, Nil) {
  float.power(to_float(base), exponent)
}

pub fn square_root(x: Int) -> Result(Float, Nil) {
  float.square_root(to_float(x))
}

@external(erlang, "gleam_number_standin", "parse_int")
pub fn parse(string: String) -> Result(Int, Nil)

/// In bases from 2 to 36.
pub fn base_parse(string: String, base: Int) -> Result(Int, Nil) {
  case base >= 2 && base <= 36 {
    True -> parse_in_base(string, base)
    False -> Error(Nil)
  }
}

@external(erlang, "gleam_number_standin", "parse_int")
fn parse_in_base(string: String, base: Int) -> Result(Int, Nil)

@external(erlang, "erlang", "integer_to_binary")
pub fn to_string(x: Int) -> String

/// In bases from 2 to 36.
pub fn to_base_string(x: Int, base: Int) -> Result(String, Nil) {
  case base >= 2 && base <= 36 {
    True -> Ok(in_base(x, base))
    False -> Error(Nil)
  }
}

@external(erlang, "erlang", "integer_to_binary")
fn in_base(x: Int, base: Int) -> String

pub fn to_base2(x: Int) -> String {
  in_base(x, 2)
}

pub fn to_base8(x: Int) -> String {
  in_base(x, 8)
}

pub fn to_base16(x: Int) -> String {
  in_base(x, 16)
}

pub fn to_base36(x: Int) -> String {
  in_base(x, 36)
}

@external(erlang, "erlang", "float")
pub fn to_float(x: Int) -> Float

pub fn clamp(x: Int, min min_bound: Int, max max_bound: Int) -> Int {
  case min_bound <= max_bound {
    True -> max(min_bound, min(x, max_bound))
    False -> max(max_bound, min(x, min_bound))
  }
}

pub fn compare(a: Int, with b: Int) -> Order {
  case a {
    _ if a < b -> Lt
    _ if a > b -> Gt
    _ -> Eq
  }
}

@external(erlang, "erlang", "min")
pub fn min(a: Int, b: Int) -> Int

@external(erlang, "erlang", "max")
pub fn max(a: Int, b: Int) -> Int

pub fn is_even(x: Int) -> Bool {
  x % 2 == 0
}

pub fn is_odd(x: Int) -> Bool {
  x % 2 != 0
}

pub fn negate(x: Int) -> Int {
  -x
}

@external(erlang, "lists", "sum")
pub fn sum(numbers: List(Int)) -> Int

pub fn product(numbers: List(Int)) -> Int {
  case numbers {
    [] -> 1
    [first, ..rest] -> first * product(rest)
  }
}

/// From 0, and below the given number.
pub fn random(max: Int) -> Int {
  float.truncate(float.floor(float.random() *. to_float(max)))
}

pub fn divide(dividend: Int, by divisor: Int) -> Result(Int, Nil) {
  unless_zero(divisor, dividend / divisor)
}

/// With the sign of the dividend.
pub fn remainder(dividend: Int, by divisor: Int) -> Result(Int, Nil) {
  unless_zero(divisor, dividend % divisor)
}

/// With the sign of the divisor.
pub fn modulo(dividend: Int, by divisor: Int) -> Result(Int, Nil) {
  unless_zero(divisor, { dividend % divisor + divisor } % divisor)
}

pub fn floor_divide(dividend: Int, by divisor: Int) -> Result(Int, Nil) {
  let quotient = dividend / divisor
  let rounds_up = dividend * divisor < 0 && quotient * divisor != dividend
  case rounds_up {
    True -> Ok(quotient - 1)
    False -> unless_zero(divisor, quotient)
  }
}

/// In Gleam a number divided by zero is zero.
fn unless_zero(divisor: Int, value: Int) -> Result(Int, Nil) {
  case divisor {
    0 -> Error(Nil)
    _ -> Ok(value)
  }
}

pub fn add(a: Int, b: Int) -> Int {
  a + b
}

pub fn multiply(a: Int, b: Int) -> Int {
  a * b
}

pub fn subtract(a: Int, b: Int) -> Int {
  a - b
}

@external(erlang, "erlang", "band")
pub fn bitwise_and(x: Int, y: Int) -> Int

@external(erlang, "erlang", "bnot")
pub fn bitwise_not(x: Int) -> Int

@external(erlang, "erlang", "bor")
pub fn bitwise_or(x: Int, y: Int) -> Int

@external(erlang, "erlang", "bxor")
pub fn bitwise_exclusive_or(x: Int, y: Int) -> Int

@external(erlang, "erlang", "bsl")
pub fn bitwise_shift_left(x: Int, y: Int) -> Int

@external(erlang, "erlang", "bsr")
pub fn bitwise_shift_right(x: Int, y: Int) -> Int

/// Up or down, without the last number.
pub fn range(
  from start: Int,
  to stop: Int,
  with acc: acc,
  run reducer: fn(acc, Int) -> acc,
) -> acc {
  case compare(start, stop) {
    Eq -> acc
    Lt -> range(start + 1, stop, reducer(acc, start), reducer)
    Gt -> range(start - 1, stop, reducer(acc, start), reducer)
  }
}
