//// A small bank on Warp, in Gleam. An account is an entity: events change its
//// balance, and Warp checks that it is not overdrawn before it stores an event.
//// Run it in the folder of Warp, after `make build`:
////
////     scripts/gleam run examples/bank_gleam DATA_DIR
////
//// DATA_DIR is the absolute path of a folder that does not exist yet, or that
//// holds no bank.

import bank/account.{
  type Event, type Refusal, Account, AlreadyOpen, Deposited, NoAccount,
  NotAnAmount, NotOpen, Opened, Overdrawn, Withdrawn,
}
import gleam/int
import gleam/io
import gleam/list
import gleam/string
import warp.{type Context, type Entity}
import warp/aggregate
import warp/context.{WarpOptions, defaults}
import warp/error.{type Error, Refused}
import warp/event
import warp/history
import warp/saga.{type Saga, Committed, Compensated, StepRefused}

pub fn main() -> Nil {
  case arguments() {
    [dir] -> run(dir)
    _ -> stop_with("usage: scripts/gleam run examples/bank_gleam DATA_DIR")
  }
}

fn run(dir: String) -> Nil {
  let bank = start(dir)
  let alice = warp.entity(bank, "alice")
  let bob = warp.entity(bank, "bob")
  let carol = warp.entity(bank, "carol")

  say("open alice, overdraft 200", opened(alice, "Alice Liddell", 200))
  say("open bob, overdraft 0", opened(bob, "Bob Cratchit", 0))
  say("open alice again", opened(alice, "Alice Liddell", 200))
  say("deposit 1000 to alice", deposited(alice, 1000))
  say("deposit -5 to alice", deposited(alice, -5))
  let events = [Deposited(500), Deposited(250)]
  say(
    "deposit 500 and 250 to alice as a batch",
    alice |> aggregate.append_batch(account.aggregate(), events) |> batch,
  )
  say("withdraw 900 from alice", withdrawn(alice, 900))
  say("withdraw 1051 from alice", withdrawn(alice, 1051))
  say("withdraw 1050 from alice", withdrawn(alice, 1050))
  say("balance of alice", balance(alice))
  say("deposit 500 to alice", deposited(alice, 500))
  say("deposit 10 to carol", deposited(carol, 10))
  let end_of_month = time_of_last_event(alice)

  say(
    "transfer t-1, 300 from alice to bob",
    transfer(bank, "t-1", "alice", "bob", 300),
  )
  say("transfer t-1 once more", transfer(bank, "t-1", "alice", "bob", 300))
  say(
    "transfer t-2, 900 from alice to bob",
    transfer(bank, "t-2", "alice", "bob", 900),
  )
  say(
    "transfer t-3, 100 from alice to carol",
    transfer(bank, "t-3", "alice", "carol", 100),
  )
  say("balance of alice", balance(alice))
  say("balance of bob", balance(bob))

  io.println("statement of alice at the end of the month")
  statement(alice, end_of_month)

  let assert Ok(exported) = bob |> warp.export
  io.println("export of bob")
  list.each(exported, movement)
  let assert Ok(Nil) = bob |> warp.delete
  say("delete bob", "ok")
  let assert Ok(left) = bob |> warp.export
  say("events of bob", int.to_string(list.length(left)))
  say("balance of bob", balance(bob))

  warp.stop(bank)
  let bank = start(dir)
  let alice = warp.entity(bank, "alice")
  let assert Ok(events) = alice |> warp.history
  say("after a restart, events of alice", int.to_string(list.length(events)))
  say("after a restart, balance of alice", balance(alice))
  warp.stop(bank)
}

fn start(dir: String) -> Context {
  let assert Ok(bank) =
    warp.start(
      WarpOptions(
        ..defaults(),
        context: "bank",
        data_dir: dir,
        shards: 4,
        aggregates: [aggregate.definition(account.aggregate())],
      ),
    )
  bank
}

// Commands of the bank.

fn append(entity: Entity, event: Event) -> Result(Int, Error(Refusal)) {
  entity |> aggregate.append(account.aggregate(), event)
}

fn opened(entity: Entity, owner: String, overdraft: Int) -> String {
  append(entity, Opened(owner:, overdraft:)) |> single
}

fn deposited(entity: Entity, amount: Int) -> String {
  append(entity, Deposited(amount:)) |> single
}

fn withdrawn(entity: Entity, amount: Int) -> String {
  append(entity, Withdrawn(amount:)) |> single
}

/// Two accounts are two entities, and no lock spans both, so a transfer is a
/// saga. Its id makes the transfer happen once, however often it is requested,
/// and the saga reverses the debit if the credit is refused.
fn transfer(
  bank: Context,
  id: String,
  from: String,
  to: String,
  amount: Int,
) -> String {
  let outcome =
    saga.new(id)
    |> step(from, Withdrawn(amount:), Deposited(amount:))
    |> step(to, Deposited(amount:), Withdrawn(amount:))
    |> saga.commit(bank)
  case outcome {
    Ok(Committed(..)) -> "committed"
    Ok(Compensated(failed: StepRefused(step:, reason:, ..), ..)) ->
      "compensated, since step "
      <> int.to_string(step)
      <> " was "
      <> refused(aggregate.refusal(account.aggregate(), reason))
    Ok(outcome) -> string.inspect(outcome)
    Error(error) -> error.to_string(error)
  }
}

fn step(saga: Saga, account: String, forward: Event, back: Event) -> Saga {
  let assert Ok(forward) = aggregate.encode(account.aggregate(), forward)
  let assert Ok(back) = aggregate.encode(account.aggregate(), back)
  saga
  |> saga.step(
    entity: account,
    aggregate: "Account",
    schema_vsn: 1,
    forward: saga.Append(forward),
    compensate: saga.Append(back),
  )
}

// Answers of the bank.

fn statement(entity: Entity, time: Int) -> Nil {
  let assert Ok(Account(owner:, balance:, ..)) =
    entity |> aggregate.state_at(account.aggregate(), history.Time(time))
  let assert Ok(events) = entity |> warp.history
  events
  |> list.filter(fn(event) { event.recorded_at(event) <= time })
  |> list.each(movement)
  io.println("  " <> owner <> " has " <> int.to_string(balance))
}

fn movement(event: event.Event) -> Nil {
  let assert Ok(decoded) = aggregate.decode(account.aggregate(), event)
  let detail = case decoded {
    Opened(owner:, ..) -> owner
    Deposited(amount:) | Withdrawn(amount:) -> int.to_string(amount)
  }
  io.println(
    "  "
    <> int.to_string(event.seq(event))
    <> " "
    <> event.type_(event)
    <> " "
    <> detail,
  )
}

fn time_of_last_event(entity: Entity) -> Int {
  let assert Ok([event]) =
    entity
    |> warp.history_with(
      history.options() |> history.backward |> history.limit(1),
    )
  event.recorded_at(event)
}

fn balance(entity: Entity) -> String {
  case aggregate.get(entity, account.aggregate()) {
    Ok(Account(balance:, ..)) -> int.to_string(balance)
    Ok(NoAccount) -> reason(NotOpen)
    Error(error) -> error.to_string(error)
  }
}

fn single(result: Result(Int, Error(Refusal))) -> String {
  case result {
    Ok(seq) -> "event " <> int.to_string(seq)
    Error(error) -> refused(error)
  }
}

fn batch(result: Result(#(Int, Int), Error(Refusal))) -> String {
  case result {
    Ok(#(first, last)) ->
      "events " <> int.to_string(first) <> " to " <> int.to_string(last)
    Error(error) -> refused(error)
  }
}

fn refused(error: Error(Refusal)) -> String {
  case error {
    Refused(refusal) -> "refused: " <> reason(refusal)
    _ -> error.to_string(error)
  }
}

fn reason(refusal: Refusal) -> String {
  case refusal {
    NotOpen -> "no account"
    AlreadyOpen -> "already open"
    NotAnAmount -> "not an amount"
    Overdrawn(available:) -> "only " <> int.to_string(available) <> " available"
  }
}

fn say(what: String, result: String) -> Nil {
  io.println(what <> ": " <> result)
}

// The command line.

fn arguments() -> List(String) {
  list.map(plain_arguments(), to_string)
}

fn stop_with(message: String) -> Nil {
  io.println_error(message)
  halt(2)
}

type Charlist

@external(erlang, "init", "get_plain_arguments")
fn plain_arguments() -> List(Charlist)

@external(erlang, "unicode", "characters_to_binary")
fn to_string(characters: Charlist) -> String

@external(erlang, "erlang", "halt")
fn halt(status: Int) -> Nil
