//// Runs the tests of a package.

/// Runs every function `*_test` of every module below `test`, and ends the VM,
/// with status 1 when a test failed.
@external(erlang, "gleeunit_standin", "main")
pub fn main() -> Nil
