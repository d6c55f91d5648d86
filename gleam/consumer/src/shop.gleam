//// A cart over its own types: appended to, read, decided on, as an actor.

import gleam/dict.{type Dict}
import gleam/dynamic/decode.{type Decoder}
import gleam/erlang/process.{type Subject}
import gleam/result
import warp
import warp/actor
import warp/aggregate.{type Aggregate}
import warp/context.{WarpOptions, defaults}
import warp/error.{type Error, Refused}
import warp/history
import warp/json.{type Json}

pub type Cart =
  Dict(String, Int)

pub type CartEvent {
  Added(sku: String, quantity: Int)
  Removed(sku: String)
}

pub type NotInCart {
  NotInCart(sku: String)
}

pub type Command {
  Add(sku: String, quantity: Int, reply_to: Subject(Int))
}

pub fn cart() -> Aggregate(Cart, CartEvent, NotInCart) {
  aggregate.new("Cart", initial: dict.new(), apply:)
  |> aggregate.codec(encode:, decode:)
  |> aggregate.validate(validate)
}

fn apply(cart: Cart, event: CartEvent) -> Cart {
  case event {
    Added(sku:, quantity:) ->
      dict.insert(cart, sku, quantity_of(cart, sku) + quantity)
    Removed(sku:) -> dict.delete(cart, sku)
  }
}

fn validate(cart: Cart, event: CartEvent) -> Result(Nil, NotInCart) {
  case event {
    Removed(sku:) ->
      dict.get(cart, sku)
      |> result.replace(Nil)
      |> result.replace_error(NotInCart(sku:))
    Added(..) -> Ok(Nil)
  }
}

fn quantity_of(cart: Cart, sku: String) -> Int {
  dict.get(cart, sku) |> result.unwrap(0)
}

fn encode(event: CartEvent) -> #(String, Json) {
  case event {
    Added(sku:, quantity:) -> #(
      "Added",
      json.object([
        #("sku", json.string(sku)),
        #("quantity", json.int(quantity)),
      ]),
    )
    Removed(sku:) -> #("Removed", json.object([#("sku", json.string(sku))]))
  }
}

fn decode(type_: String) -> Decoder(CartEvent) {
  use sku <- decode.field("sku", decode.string)
  case type_ {
    "Added" -> {
      use quantity <- decode.field("quantity", decode.int)
      decode.success(Added(sku:, quantity:))
    }
    "Removed" -> decode.success(Removed(sku:))
    _ -> decode.failure(Removed(sku:), "CartEvent")
  }
}

fn on_command(
  cart: Cart,
  command: Command,
) -> actor.Next(CartEvent, NotInCart) {
  let Add(sku:, quantity:, reply_to:) = command
  actor.append([Added(sku:, quantity:)])
  |> actor.reply(to: reply_to, with: quantity_of(cart, sku) + quantity)
}

pub fn main(dir: String) -> Result(Nil, Error(NotInCart)) {
  use ctx <- result.try(warp.start(
    WarpOptions(
      ..defaults(),
      context: "shop",
      data_dir: dir,
      shards: 2,
      aggregates: [aggregate.definition(cart())],
    ),
  ))
  let cart_7 = warp.entity(ctx, "cart/7")

  assert cart_7 |> aggregate.append(cart(), Added("tea", 2)) == Ok(1)
  assert cart_7 |> aggregate.append(cart(), Removed("milk"))
    == Error(Refused(NotInCart("milk")))
  assert cart_7
    |> aggregate.append_batch(cart(), [Added("tea", 1), Added("milk", 1)])
    == Ok(#(2, 3))
  assert cart_7
    |> aggregate.decide(cart(), fn(cart) {
      Ok([Added("tea", quantity_of(cart, "tea"))])
    })
    == Ok([4])

  let buyer = cart_7 |> actor.of(actor.new(cart(), on_command))
  assert buyer |> actor.call(5000, Add("tea", 4, _)) == Ok(10)

  assert cart_7 |> aggregate.get(cart())
    == Ok(dict.from_list([#("tea", 10), #("milk", 1)]))
  assert cart_7 |> aggregate.state_at(cart(), history.Seq(1))
    == Ok(dict.from_list([#("tea", 2)]))

  use export <- result.try(cart_7 |> warp.export())
  use imported <- result.try(
    warp.entity(ctx, "cart/8") |> warp.append_batch(export),
  )
  assert imported == #(1, 5)
  use Nil <- result.try(cart_7 |> warp.delete())
  assert cart_7 |> warp.export() == Ok([])
  assert warp.entity(ctx, "cart/8") |> aggregate.get(cart())
    == Ok(dict.from_list([#("tea", 10), #("milk", 1)]))
  Ok(warp.stop(ctx))
}
