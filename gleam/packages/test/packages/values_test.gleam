//// gleam/bool, function, option, order, pair, result.

import gleam/bool
import gleam/function
import gleam/int
import gleam/option.{None, Some}
import gleam/order.{Eq, Gt, Lt}
import gleam/pair
import gleam/result

pub fn bool_test() {
  assert bool.and(True, True) && bool.or(False, True) && bool.negate(False)
  assert bool.exclusive_or(True, False) && bool.exclusive_nor(False, False)
  assert bool.nor(False, False) && bool.nand(True, False)
  assert bool.to_string(True) == "True"
  let sign = fn(number) {
    use <- bool.guard(when: number < 0, return: "-")
    use <- bool.lazy_guard(when: number > 0, return: fn() { "+" })
    "0"
  }
  assert #(sign(-2), sign(2), sign(0)) == #("-", "+", "0")
}

pub fn option_test() {
  assert option.all([Some(1), Some(2)]) == Some([1, 2])
  assert option.all([Some(1), None]) == None
  assert option.values([Some(1), None, Some(3)]) == [1, 3]
  assert option.unwrap(None, or: 2) == 2
  assert option.map(Some(1), int.to_string) == Some("1")
  assert option.then(Some(1), fn(_) { None }) == None
  assert option.flatten(Some(Some(1))) == Some(1)
  assert option.or(None, Some(1)) == option.lazy_or(Some(1), fn() { None })
  assert option.to_result(None, "no") == Error("no")
  assert option.from_result(Ok(1)) == Some(1)
  assert option.is_some(Some(1)) && option.is_none(None)
}

pub fn order_test() {
  assert order.negate(Lt) == Gt
  assert order.to_int(Gt) == 1
  assert order.compare(Lt, with: Gt) == Lt
  assert order.reverse(int.compare)(1, 2) == Gt
  assert order.break_tie(in: Eq, with: Lt) == Lt
  assert order.lazy_break_tie(in: Gt, with: fn() { Lt }) == Gt
}

pub fn pair_and_function_test() {
  assert pair.swap(#(1, "a")) == pair.new("a", 1)
  assert pair.map_first(#(1, 2), int.to_string) == #("1", 2)
  assert pair.map_second(#(1, 2), int.to_string) == #(1, "2")
  assert pair.first(#(1, 2)) + pair.second(#(1, 2)) == function.identity(3)
}

pub fn result_test() {
  assert result.all([Ok(1), Error("a"), Error("b")]) == Error("a")
  assert result.partition([Ok(1), Error("a"), Ok(2)]) == #([2, 1], ["a"])
  assert result.values([Ok(1), Error(Nil), Ok(2)]) == [1, 2]
  assert result.flatten(Ok(Error("no"))) == Error("no")
  assert result.lazy_unwrap(Error(Nil), fn() { 1 }) == 1
  assert result.unwrap_error(Error(2), 1) == 2
  assert result.lazy_or(Error(1), fn() { Ok(2) }) == Ok(2)
  assert result.is_ok(Ok(1)) && result.is_error(Error(1))
}
