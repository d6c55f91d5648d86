//// How one value compares to another.

pub type Order {
  Lt
  Eq
  Gt
}

pub fn negate(order: Order) -> Order {
  case order {
    Lt -> Gt
    Eq -> Eq
    Gt -> Lt
  }
}

pub fn to_int(order: Order) -> Int {
  case order {
    Lt -> -1
    Eq -> 0
    Gt -> 1
  }
}

pub fn compare(a: Order, with b: Order) -> Order {
  case to_int(a) - to_int(b) {
    0 -> Eq
    difference if difference < 0 -> Lt
    _ -> Gt
  }
}

pub fn reverse(orderer: fn(a, a) -> Order) -> fn(a, a) -> Order {
  fn(a, b) { negate(orderer(a, b)) }
}

pub fn break_tie(in order: Order, with other: Order) -> Order {
  lazy_break_tie(order, fn() { other })
}

pub fn lazy_break_tie(
  in order: Order,
  with comparison: fn() -> Order,
) -> Order {
  case order {
    Eq -> comparison()
    _ -> order
  }
}
