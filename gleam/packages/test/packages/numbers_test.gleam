//// gleam/int and gleam/float.

import gleam/float
import gleam/int
import gleam/list
import gleam/order.{Eq, Gt, Lt}

pub fn whole_numbers_test() {
  assert int.parse("12x") == Error(Nil)
  assert int.base_parse("ff", 16) == Ok(255)
  assert int.base_parse("1", 37) == Error(Nil)
  assert int.to_base16(255) == "FF"
  assert int.to_base_string(5, 2) == Ok(int.to_base2(5))
  assert int.clamp(40, min: 50, max: 60) == 50
  assert int.compare(2, 1) == Gt
  assert int.min(1, 2) + int.max(1, 2) == 3
  assert int.is_even(2) && int.is_odd(-1)
  assert int.sum([1, 2, 3]) == int.product([1, 2, 3])
  assert int.absolute_value(-3) == int.negate(-3)
  assert int.power(2, of: 3.0) == Ok(8.0)
  assert int.square_root(-1) == Error(Nil)
  assert int.bitwise_and(6, 3) + int.bitwise_shift_left(1, 3) == 10
  let random = int.random(3)
  assert random >= 0 && random < 3
}

pub fn the_sign_of_divisions_test() {
  assert int.divide(-5, by: 2) == Ok(-2)
  assert int.floor_divide(-5, by: 2) == Ok(-3)
  assert int.remainder(-5, by: 3) == Ok(-2)
  assert int.modulo(-5, by: 3) == Ok(1)
  assert int.modulo(5, by: 0) == Error(Nil)
  assert int.floor_divide(-5, by: 0) == Error(Nil)
}

pub fn ranges_test() {
  assert int.range(from: 0, to: 3, with: [], run: list.prepend) == [2, 1, 0]
  assert int.range(from: 1, to: -1, with: [], run: list.prepend) == [0, 1]
}

pub fn fractions_test() {
  assert float.parse("1.5") == Ok(1.5)
  assert float.parse("one") == Error(Nil)
  assert float.round(2.5) == 3
  assert float.truncate(-2.5) == -2
  assert float.floor(-2.5) == -3.0
  assert float.ceiling(2.1) == 3.0
  assert float.to_precision(2.4567, 2) == 2.46
  assert float.to_precision(1234.5, -2) == 1200.0
  assert float.power(-1.0, of: 0.5) == Error(Nil)
  assert float.square_root(9.0) == Ok(3.0)
  assert float.divide(1.0, by: 0.0) == Error(Nil)
  assert float.modulo(-5.5, by: 2.0) == Ok(0.5)
  assert float.sum([1.0, 2.0]) == float.product([1.5, 2.0])
  assert float.compare(1.0, 2.0) == Lt
  assert float.loosely_compare(1.0, 1.1, tolerating: 0.2) == Eq
  assert float.loosely_equals(1.0, 1.1, tolerating: 0.05) == False
  assert float.logarithm(0.0) == Error(Nil)
}
