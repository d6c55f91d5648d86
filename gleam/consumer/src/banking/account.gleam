//// A bank account, as the pages' snippets import it.

import gleam/dynamic/decode.{type Decoder}
import warp.{type Entity}
import warp/aggregate.{type Aggregate, type AggregateDefinition}
import warp/error.{type Error}
import warp/json.{type Json}

pub type AccountEvent {
  Credited(amount: Int)
  Debited(amount: Int)
}

pub fn account_aggregate() -> AggregateDefinition {
  aggregate.definition(account())
}

pub fn append(entity: Entity, event: AccountEvent) -> Result(Int, Error(Nil)) {
  aggregate.append(entity, account(), event)
}

pub fn balance(entity: Entity) -> Result(Int, Error(Nil)) {
  aggregate.get(entity, account())
}

fn account() -> Aggregate(Int, AccountEvent, Nil) {
  aggregate.new("Account", initial: 0, apply: fn(balance, event) {
    case event {
      Credited(amount:) -> balance + amount
      Debited(amount:) -> balance - amount
    }
  })
  |> aggregate.codec(encode:, decode:)
}

fn encode(event: AccountEvent) -> #(String, Json) {
  let #(type_, amount) = case event {
    Credited(amount:) -> #("Credited", amount)
    Debited(amount:) -> #("Debited", amount)
  }
  #(type_, json.object([#("amount", json.int(amount))]))
}

fn decode(type_: String) -> Decoder(AccountEvent) {
  use amount <- decode.field("amount", decode.int)
  case type_ {
    "Credited" -> decode.success(Credited(amount:))
    "Debited" -> decode.success(Debited(amount:))
    _ -> decode.failure(Credited(0), "AccountEvent")
  }
}
