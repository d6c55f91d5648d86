//// Uses Warp and Kuma as another package would. Each part asserts its results,
//// and prints a line when it succeeds.
////
////     scripts/gleam run gleam/consumer DATA_DIR

import gleam/io
import kuma_page
import pages
import shop

pub fn main() -> Nil {
  let assert [dir] = plain_arguments()
  let dir = to_string(dir)
  pages.banking(dir <> "/banking")
  pages.cluster(dir <> "/cluster")
  pages.transfer(dir <> "/transfer")
  pages.orders(dir <> "/orders")
  pages.todos(dir <> "/todos")
  io.println("ok Warp's pages in a package of its own")
  kuma_page.main(dir <> "/accounts")
  io.println("ok Kuma's page in a package of its own")
  let assert Ok(Nil) = shop.main(dir <> "/shop")
  io.println("ok Warp with types in a package of its own")
}

type Charlist

@external(erlang, "init", "get_plain_arguments")
fn plain_arguments() -> List(Charlist)

@external(erlang, "unicode", "characters_to_binary")
fn to_string(characters: Charlist) -> String
