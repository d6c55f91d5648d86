//// A server of this VM, with a context of this module, and a client that knows
//// HTTP and JSON only.

import gleam/dynamic/decode.{type Decoder}
import gleam/string
import warp/aggregate.{type Aggregate}
import warp/context.{WarpOptions, defaults}
import warp/json
import warp/server
import warp_testing.{type AccountEvent, type Overdraft, Debited, Overdraft}

pub type Note {
  Noted(text: String)
}

pub type Lines {
  Lines(lines: List(String))
}

pub fn context(_name: String) -> server.Context {
  server.context(
    WarpOptions(..defaults(), aggregates: [
      aggregate.definition(warp_testing.account()),
      aggregate.definition(notes()),
    ]),
    commands: [
      server.command("withdraw", warp_testing.account(), amount(), withdraw),
      server.command("note", notes(), decode.success("one"), fn(_, text) {
        Ok([Noted(text:)])
      }),
    ],
    views: [
      server.view(notes(), fn(state: Lines) {
        json.array(state.lines, json.string)
      }),
    ],
  )
}

fn notes() -> Aggregate(Lines, Note, Nil) {
  aggregate.new("Notes", initial: Lines([]), apply: fn(state: Lines, note: Note) {
    Lines([note.text, ..state.lines])
  })
}

fn amount() -> Decoder(Int) {
  decode.field("amount", decode.int, decode.success)
}

fn withdraw(
  balance: Int,
  amount: Int,
) -> Result(List(AccountEvent), Overdraft) {
  case amount <= balance {
    True -> Ok([Debited(amount:)])
    False -> Error(Overdraft(by: amount - balance))
  }
}

pub fn commands_and_views_test() {
  use ask <- with_server("warp@server_test")
  let credited =
    "{\"type\":\"Credited\",\"aggregate\":\"Account\",\"payload\":{\"amount\":50}}"
  let assert #(200, "{\"seq\":1}") = ask("POST", "alice/events", credited)
  let assert #(200, "{\"seqs\":[2]}") =
    ask("POST", "alice/commands/withdraw", "{\"input\":{\"amount\":20}}")
  let assert #(200, "{\"state\":30" <> _) =
    ask("GET", "alice/states/Account", "")
  let assert #(422, refused) =
    ask("POST", "alice/commands/withdraw", "{\"input\":{\"amount\":100}}")
  assert string.contains(refused, "\"refusal\":[\"overdraft\",70]")
  let assert #(422, unfit) =
    ask("POST", "alice/commands/withdraw", "{\"input\":{\"amount\":\"all\"}}")
  assert string.contains(unfit, "input.amount: expected Int, found String")
  let assert #(200, _) = ask("POST", "notes/commands/note", "{\"input\":{}}")
  let assert #(200, "{\"state\":[\"one\"]" <> _) =
    ask("GET", "notes/states/Notes", "")
}

/// Runs a test with a server, whose one context is of this module, and with a
/// function that sends a request to an entity's path.
///
@external(erlang, "warp_testing_ffi", "with_server")
fn with_server(
  module: String,
  run: fn(fn(String, String, String) -> #(Int, String)) -> a,
) -> a
