//// An account: its events, the rule that it keeps, and how events change it.

import gleam/dynamic/decode.{type Decoder}
import warp/aggregate.{type Aggregate}
import warp/json.{type Json}

pub type Account {
  NoAccount
  Account(owner: String, balance: Int, overdraft: Int)
}

pub type Event {
  Opened(owner: String, overdraft: Int)
  Deposited(amount: Int)
  Withdrawn(amount: Int)
}

pub type Refusal {
  NotOpen
  AlreadyOpen
  NotAnAmount
  Overdrawn(available: Int)
}

pub fn aggregate() -> Aggregate(Account, Event, Refusal) {
  aggregate.new("Account", initial: NoAccount, apply:)
  |> aggregate.codec(encode:, decode:)
  |> aggregate.validate(validate)
}

fn validate(account: Account, event: Event) -> Result(Nil, Refusal) {
  case account, event {
    NoAccount, Opened(..) -> Ok(Nil)
    NoAccount, _ -> Error(NotOpen)
    Account(..), Opened(..) -> Error(AlreadyOpen)
    Account(..), Deposited(amount:)
    | Account(..), Withdrawn(amount:)
      if amount <= 0
    -> Error(NotAnAmount)
    Account(balance:, overdraft:, ..), Withdrawn(amount:)
      if amount > balance + overdraft
    -> Error(Overdrawn(available: balance + overdraft))
    Account(..), _ -> Ok(Nil)
  }
}

fn apply(account: Account, event: Event) -> Account {
  case account, event {
    NoAccount, Opened(owner:, overdraft:) ->
      Account(owner:, overdraft:, balance: 0)
    Account(balance:, ..), Deposited(amount:) ->
      Account(..account, balance: balance + amount)
    Account(balance:, ..), Withdrawn(amount:) ->
      Account(..account, balance: balance - amount)
    // validate refuses every other event.
    _, _ -> account
  }
}

fn encode(event: Event) -> #(String, Json) {
  case event {
    Opened(owner:, overdraft:) -> #(
      "Opened",
      json.object([
        #("owner", json.string(owner)),
        #("overdraft", json.int(overdraft)),
      ]),
    )
    Deposited(amount:) -> #(
      "Deposited",
      json.object([#("amount", json.int(amount))]),
    )
    Withdrawn(amount:) -> #(
      "Withdrawn",
      json.object([#("amount", json.int(amount))]),
    )
  }
}

fn decode(type_: String) -> Decoder(Event) {
  case type_ {
    "Opened" -> {
      use owner <- decode.field("owner", decode.string)
      use overdraft <- decode.field("overdraft", decode.int)
      decode.success(Opened(owner:, overdraft:))
    }
    "Deposited" -> {
      use amount <- decode.field("amount", decode.int)
      decode.success(Deposited(amount:))
    }
    "Withdrawn" -> {
      use amount <- decode.field("amount", decode.int)
      decode.success(Withdrawn(amount:))
    }
    _ -> decode.failure(Deposited(amount: 0), "Account event")
  }
}
