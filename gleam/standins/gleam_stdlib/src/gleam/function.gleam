//// Functions of functions.

pub fn identity(x: a) -> a {
  x
}
