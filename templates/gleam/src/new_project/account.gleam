//// An account is an entity: its events say what was paid in and out, and its
//// state is the balance that follows.

import warp/aggregate.{type Aggregate}
import warp/codec.{type Codec}

pub type Event {
  Deposited(amount: Int)
  Withdrawn(amount: Int)
}

pub type Refusal {
  Missing(amount: Int)
}

pub fn aggregate() -> Aggregate(Int, Event, Refusal) {
  aggregate.new("Account", initial: 0, apply:)
  |> aggregate.with_codec(events())
  |> aggregate.validate(validate)
}

/// The balance after an event.
fn apply(balance: Int, event: Event) -> Int {
  case event {
    Deposited(amount:) -> balance + amount
    Withdrawn(amount:) -> balance - amount
  }
}

/// Whether an event may be stored.
fn validate(balance: Int, event: Event) -> Result(Nil, Refusal) {
  case event {
    Withdrawn(amount:) if amount > balance -> Error(Missing(amount - balance))
    _ -> Ok(Nil)
  }
}

/// How the events stand in the file: a type, and the names of the fields in
/// JSON. A new constructor needs a line here.
fn events() -> Codec(Event) {
  codec.new()
  |> codec.event1("Deposited", Deposited, codec.int("amount"))
  |> codec.event1("Withdrawn", Withdrawn, codec.int("amount"))
}
