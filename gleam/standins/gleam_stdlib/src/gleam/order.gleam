//// How two values compare.

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
