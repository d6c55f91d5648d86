//// A context of Warp's server, the Erlang application `warp_server`, which
//// programs in any language reach by HTTP and WebSocket.
////
//// The server calls the function `context` of a module of yours with the name
//// of the context:
////
//// ```gleam
//// pub fn context(_name: String) -> server.Context {
////   server.context(
////     WarpOptions(..defaults(), aggregates: [aggregate.definition(account())]),
////     commands: [server.command("withdraw", account(), amount(), withdraw)],
////     views: [server.view(account(), json.int)],
////   )
//// }
////
//// fn amount() -> Decoder(Int) {
////   decode.field("amount", decode.int, decode.success)
//// }
////
//// // The account's process runs it, so nobody spends the same money twice.
//// fn withdraw(balance: Int, amount: Int) -> Result(List(AccountEvent), Overdraft) {
////   case amount <= balance {
////     True -> Ok([Debited(amount)])
////     False -> Error(Overdraft(by: amount - balance))
////   }
//// }
//// ```
////
//// Its file names the module, and the folders of its code:
////
//// ```toml
//// [[contexts]]
//// name = "bank"
//// module = "my_app/bank"
//// code = ["my_app/build/dev/erlang/*/ebin"]
//// ```

import gleam/dynamic.{type Dynamic}
import gleam/dynamic/decode.{type DecodeError, type Decoder}
import gleam/list
import gleam/string
import warp/aggregate.{type Aggregate}
import warp/context.{type WarpOptions}
import warp/internal/engine.{type Decision}
import warp/internal/settings.{type Settings}
import warp/json.{type Json}

/// A context in the form in which the server takes it.
///
pub type Context

/// What clients may have decided in an entity's process. See `command`.
///
pub opaque type Command {
  Command(
    name: String,
    aggregate: String,
    decide: fn(Dynamic, Dynamic) -> Decision,
  )
}

/// What clients see of an aggregate's states. See `view`.
///
pub opaque type View {
  View(aggregate: String, show: fn(Dynamic) -> Json)
}

/// A context with these options, commands and views. Its name and its folder are
/// those that the server's file has: `context` and `data_dir` of the options do
/// not count.
///
pub fn context(
  options: WarpOptions,
  commands commands: List(Command),
  views views: List(View),
) -> Context {
  engine_context(
    settings.from_options(options),
    list.map(commands, fn(command) {
      #(command.name, #(command.aggregate, command.decide))
    }),
    list.map(views, fn(view) { #(view.aggregate, view.show) }),
  )
}

/// A command with this name: clients send an input, a JSON object that the
/// decoder reads, and the function decides with the state and that input, as the
/// function of `aggregate.decide` does.
///
/// A client gets the reason of an `Error` as JSON: a record as a list that begins
/// with its name, `Overdraft(by: 5)` as `["overdraft", 5]`. An input that does not
/// fit is refused with a text that says where.
///
pub fn command(
  name: String,
  aggregate: Aggregate(state, event, reason),
  input: Decoder(input),
  decide: fn(state, input) -> Result(List(event), reason),
) -> Command {
  Command(name, aggregate.name(aggregate), fn(state, given) {
    case decode.run(given, input) {
      Ok(input) ->
        aggregate.decision(aggregate, decide(from_dynamic(state), input))
        |> engine_decision
      Error(errors) -> engine_refusal(unfit(errors))
    }
  })
}

fn unfit(errors: List(DecodeError)) -> String {
  let texts =
    list.map(errors, fn(error) {
      string.join(["input", ..error.path], ".")
      <> ": expected "
      <> error.expected
      <> ", found "
      <> error.found
    })
  string.join(texts, "; ")
}

/// What clients see of the states of an aggregate. Without one they see a state
/// only if it has a form in JSON, such as a number or a dictionary.
///
pub fn view(
  aggregate: Aggregate(state, event, reason),
  show: fn(state) -> Json,
) -> View {
  View(aggregate.name(aggregate), fn(state) { show(from_dynamic(state)) })
}

@external(erlang, "warp_ffi", "identity")
fn from_dynamic(state: Dynamic) -> state

@external(erlang, "warp_server_ffi", "context")
fn engine_context(
  settings: Settings,
  commands: List(#(String, #(String, fn(Dynamic, Dynamic) -> Decision))),
  views: List(#(String, fn(Dynamic) -> Json)),
) -> Context

@external(erlang, "warp_server_ffi", "decision")
fn engine_decision(decision: Decision) -> Decision

@external(erlang, "warp_server_ffi", "refusal")
fn engine_refusal(why: String) -> Decision
