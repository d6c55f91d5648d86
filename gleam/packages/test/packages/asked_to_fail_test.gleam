//// A test that fails when it is asked to, so that the script which runs these tests sees that a failure is reported.

import gleam/erlang/charlist.{type Charlist}
import gleeunit/should

@external(erlang, "os", "getenv")
fn getenv(name: Charlist, default: Charlist) -> Charlist

pub fn nobody_asks_it_to_fail_test() {
  getenv(charlist.from_string("WARP_FAIL"), charlist.from_string(""))
  |> charlist.to_string
  |> should.equal("")
}
