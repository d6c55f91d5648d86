//// An account is an entity: its events say what was paid in and out, and its
//// state is the balance that follows.

import gleam/dynamic/decode.{type Decoder}
import warp/aggregate.{type Aggregate}
import warp/json.{type Json}

pub type Event {
  Deposited(amount: Int)
  Withdrawn(amount: Int)
}

pub type Refusal {
  Missing(amount: Int)
}

pub fn aggregate() -> Aggregate(Int, Event, Refusal) {
  aggregate.new("Account", initial: 0, apply:)
  |> aggregate.codec(encode:, decode:)
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

/// The event as it stands in the file: its type, and its payload in JSON.
fn encode(event: Event) -> #(String, Json) {
  let amount = json.object([#("amount", json.int(event.amount))])
  case event {
    Deposited(..) -> #("Deposited", amount)
    Withdrawn(..) -> #("Withdrawn", amount)
  }
}

fn decode(type_: String) -> Decoder(Event) {
  use amount <- decode.field("amount", decode.int)
  case type_ {
    "Deposited" -> decode.success(Deposited(amount:))
    "Withdrawn" -> decode.success(Withdrawn(amount:))
    _ -> decode.failure(Deposited(0), "Account.Event")
  }
}
