//// Floating point numbers.

import gleam/order.{type Order, Eq, Gt, Lt}

@external(erlang, "gleam_number_standin", "parse_float")
pub fn parse(string: String) -> Result(Float, Nil)

@external(erlang, "gleam_number_standin", "float_to_string")
pub fn to_string(x: Float) -> String

pub fn clamp(x: Float, min min_bound: Float, max max_bound: Float) -> Float {
  case min_bound <=. max_bound {
    True -> max(min_bound, min(x, max_bound))
    False -> max(max_bound, min(x, min_bound))
  }
}

pub fn compare(a: Float, with b: Float) -> Order {
  loosely_compare(a, b, 0.0)
}

pub fn loosely_compare(
  a: Float,
  with b: Float,
  tolerating tolerance: Float,
) -> Order {
  case absolute_value(a -. b) <=. tolerance {
    True -> Eq
    False ->
      case a <. b {
        True -> Lt
        False -> Gt
      }
  }
}

pub fn loosely_equals(
  a: Float,
  with b: Float,
  tolerating tolerance: Float,
) -> Bool {
  absolute_value(a -. b) <=. tolerance
}

@external(erlang, "erlang", "min")
pub fn min(a: Float, b: Float) -> Float

@external(erlang, "erlang", "max")
pub fn max(a: Float, b: Float) -> Float

@external(erlang, "math", "ceil")
pub fn ceiling(x: Float) -> Float

@external(erlang, "math", "floor")
pub fn floor(x: Float) -> Float

@external(erlang, "erlang", "round")
pub fn round(x: Float) -> Int

@external(erlang, "erlang", "trunc")
pub fn truncate(x: Float) -> Int

/// With that many digits behind the point, or zeros before it.
@external(erlang, "gleam_number_standin", "to_precision")
pub fn to_precision(x: Float, precision: Int) -> Float

@external(erlang, "erlang", "abs")
pub fn absolute_value(x: Float) -> Float

@external(erlang, "gleam_number_standin", "power")
pub fn power(base: Float, of exponent: Float) -> Result(Float, Nil)

pub fn square_root(x: Float) -> Result(Float, Nil) {
  power(x, 0.5)
}

pub fn negate(x: Float) -> Float {
  -1.0 *. x
}

pub fn sum(numbers: List(Float)) -> Float {
  case numbers {
    [] -> 0.0
    [first, ..rest] -> sum_from(rest, first)
  }
}

fn sum_from(numbers: List(Float), sum: Float) -> Float {
  case numbers {
    [] -> sum
    [first, ..rest] -> sum_from(rest, sum +. first)
  }
}

pub fn product(numbers: List(Float)) -> Float {
  product_from(numbers, 1.0)
}

fn product_from(numbers: List(Float), product: Float) -> Float {
  case numbers {
    [] -> product
    [first, ..rest] -> product_from(rest, product *. first)
  }
}

/// From 0.0, and below 1.0.
@external(erlang, "rand", "uniform")
pub fn random() -> Float

/// With the sign of the divisor.
pub fn modulo(dividend: Float, by divisor: Float) -> Result(Float, Nil) {
  case divide(dividend, divisor) {
    Ok(quotient) -> Ok(dividend -. floor(quotient) *. divisor)
    Error(_) -> Error(Nil)
  }
}

pub fn divide(a: Float, by b: Float) -> Result(Float, Nil) {
  case b == 0.0 || b == -0.0 {
    True -> Error(Nil)
    False -> Ok(a /. b)
  }
}

pub fn add(a: Float, b: Float) -> Float {
  a +. b
}

pub fn multiply(a: Float, b: Float) -> Float {
  a *. b
}

pub fn subtract(a: Float, b: Float) -> Float {
  a -. b
}

pub fn logarithm(x: Float) -> Result(Float, Nil) {
  case x >. 0.0 {
    True -> Ok(log(x))
    False -> Error(Nil)
  }
}

@external(erlang, "math", "log")
fn log(x: Float) -> Float

@external(erlang, "math", "exp")
pub fn exponential(x: Float) -> Float
