//// Functions.

pub fn identity(x: a) -> a {
  x
}
