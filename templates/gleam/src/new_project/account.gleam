//// An account is an entity: its events say what was paid in and out, and its
//// state is the balance that follows.

import warp/aggregate.{type Aggregate}
import warp/codec.{type Codec}

pub type AccountEvent {
  Credited(amount: Int)
  Debited(amount: Int)
}

pub type Refusal {
  InsufficientFunds(missing: Int)
}

pub fn account() -> Aggregate(Int, AccountEvent, Refusal) {
  aggregate.new("Account", initial: 0, apply:)
  |> aggregate.with_codec(events())
  |> aggregate.validate(validate)
}

/// The balance after an event.
fn apply(balance: Int, event: AccountEvent) -> Int {
  case event {
    Credited(amount:) -> balance + amount
    Debited(amount:) -> balance - amount
  }
}

/// Whether an event may be stored.
fn validate(balance: Int, event: AccountEvent) -> Result(Nil, Refusal) {
  case event {
    Debited(amount:) if amount > balance ->
      Error(InsufficientFunds(missing: amount - balance))
    _ -> Ok(Nil)
  }
}

/// How the events stand in the file: a type, and the names of the fields in
/// JSON. A new constructor needs a line here.
fn events() -> Codec(AccountEvent) {
  codec.new()
  |> codec.event1("Credited", Credited, codec.int("amount"))
  |> codec.event1("Debited", Debited, codec.int("amount"))
}
