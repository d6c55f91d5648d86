//// Runs the tests of this package: every function `*_test` of every module
//// `test/**/*_test.gleam`. Given names of modules as arguments, only those.

@external(erlang, "warp_eunit_ffi", "main")
pub fn main() -> Nil
