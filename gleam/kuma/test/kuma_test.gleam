//// Runs the tests of this package: see `testkit`.

import testkit

pub fn main() -> Nil {
  testkit.main()
}
