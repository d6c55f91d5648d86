//// The examples of the documents, with the parts that the documents leave out.

import gleam/dynamic.{type Dynamic}
import gleam/dynamic/decode
import gleam/list
import testkit.{with_dir}
import warp
import warp/aggregate.{
  type Aggregate, type AggregateDefinition, AggregateDefinition,
}
import warp/cluster
import warp/context.{ActorMode, Clustered, SingleNode, WarpOptions, defaults}
import warp/error.{type Error}
import warp/event.{type Event}
import warp/json.{type Json}
import warp/projection as p
import warp_testing.{
  type AccountEvent, type Overdraft, Credited, Debited, on_node, with_nodes,
}

// `account.append(Credited(5000))`: a module as a user writes it.

fn account() -> Aggregate(Int, AccountEvent, Overdraft) {
  warp_testing.account()
}

fn account_aggregate() -> AggregateDefinition {
  aggregate.definition(account())
}

fn append(alice: warp.Entity, event: AccountEvent) {
  aggregate.append(alice, account(), event)
}

pub fn a_context_and_its_first_entity_test() {
  use dir <- with_dir
  let assert Ok(ctx) =
    warp.start(
      WarpOptions(
        ..defaults(),
        context: "banking",
        aggregates: [account_aggregate()],
        shards: 16,
        data_dir: dir,
        mode: ActorMode,
        cluster: SingleNode,
      ),
    )
  let alice = warp.entity(ctx, "alice")
  let assert Ok(1) = alice |> append(Credited(5000))
  let assert Ok(2) = alice |> append(Debited(1000))
  assert alice |> aggregate.get(account()) == Ok(4000)

  // Data portability, and then the right to erasure.
  let assert Ok(export) = alice |> warp.export()
  assert list.length(export) == 2
  let assert Ok(Nil) = alice |> warp.delete()
  assert alice |> aggregate.get(account()) == Ok(0)
  warp.stop(ctx)
}

fn payments(dir: String) -> Result(warp.Context, Error(Nil)) {
  warp.start(
    WarpOptions(
      ..defaults(),
      context: "payments",
      aggregates: [account_aggregate()],
      shards: 16,
      data_dir: dir,
      mode: ActorMode,
      cluster: Clustered(seed_nodes: ["warp@10.0.0.1"]),
    ),
  )
}

pub fn a_node_joins_by_its_seed_node_test() {
  use dir <- with_dir
  use nodes <- with_nodes(["warp@10.0.0.1", "warp@10.0.0.4"])
  let assert [seed, joiner] = nodes
  let assert Ok(ctx) = on_node(seed, fn() { payments(dir <> "/seed") })
  let alice = warp.entity(ctx, "alice")
  let assert Ok(1) = on_node(seed, fn() { alice |> append(Credited(5000)) })

  let assert Ok(joined) = on_node(joiner, fn() { payments(dir <> "/joiner") })
  assert warp.entity(joined, "alice") == alice
  // Half of the shards move.
  assert on_node(joiner, fn() { warp.migrate(joined) }) == Ok(Nil)
  let assert Ok([a, b]) = on_node(seed, fn() { cluster.members(ctx) })
  assert #(a.node, a.shards) == #("warp@10.0.0.1", 8)
  assert #(b.node, b.shards) == #("warp@10.0.0.4", 8)

  // Each node can be asked about each entity.
  assert on_node(joiner, fn() { alice |> append(Debited(1000)) }) == Ok(2)
  let balance = fn() { alice |> aggregate.get(account()) }
  assert on_node(seed, balance) == Ok(4000)
  assert on_node(joiner, balance) == Ok(4000)
}

// The read model's aggregate.

pub fn todo_aggregate() -> AggregateDefinition {
  AggregateDefinition(
    name: "Todo",
    initial_state: dynamic.list([]),
    apply: todo_apply,
    project: todo_project,
    migrate: fn(evt, _vsn) { evt },
  )
}

fn todo_apply(state: Dynamic, event: Event) -> Dynamic {
  let assert Ok(titles) = decode.run(state, decode.list(decode.string))
  let assert Ok(title) =
    event.decode(event, decode.at(["title"], decode.string))
  let titles = case event.type_(event) {
    "Added" -> [title, ..titles]
    _ -> list.filter(titles, fn(other) { other != title })
  }
  dynamic.list(list.map(titles, dynamic.string))
}

fn todo_project(id: String, _state: Dynamic, event: Event) -> List(p.Command) {
  let assert Ok(title) =
    event.decode(event, decode.at(["title"], decode.string))
  case event.type_(event) {
    "Added" -> [
      p.upsert("todos")
      |> p.id(id <> "/" <> title)
      |> p.set("title", p.text(title))
      |> p.build,
    ]
    _ -> [p.delete("todos") |> p.id(id <> "/" <> title) |> p.build]
  }
}

pub fn a_dynamic_aggregate_test() {
  use dir <- with_dir
  let assert Ok(ctx) =
    warp.start(
      WarpOptions(
        ..defaults(),
        context: "todos",
        aggregates: [todo_aggregate()],
        data_dir: dir,
      ),
    )
  let list = warp.entity(ctx, "list")
  let titled = fn(type_, title) {
    event.new(type_, json.object([#("title", json.string(title))]))
  }
  let assert Ok(1) = list |> warp.append(titled("Added", "tea"))
  let assert Ok(2) = list |> warp.append(titled("Added", "milk"))
  let assert Ok(3) = list |> warp.append(titled("Done", "tea"))
  assert list |> warp.get_as("Todo", decode.list(decode.string)) == Ok(["milk"])
  warp.stop(ctx)
}

// References in event payloads.

pub type Item {
  Item(sku: String, quantity: Int)
}

pub type OrderEvent {
  OrderPlaced(customer_id: String, items: List(Item), total: Int)
  OrderShipped(tracking: String)
  OrderRefunded(reason: String)
}

pub type Order {
  Order(total: Int, shipped: Bool, refunded: Bool)
}

fn order() -> Aggregate(Order, OrderEvent, Nil) {
  aggregate.new(
    "Order",
    initial: Order(0, False, False),
    apply: fn(order, event) {
      case event {
        OrderPlaced(total:, ..) -> Order(..order, total:)
        OrderShipped(..) -> Order(..order, shipped: True)
        OrderRefunded(..) -> Order(..order, refunded: True)
      }
    },
  )
  |> aggregate.codec(encode: encode_order, decode: decode_order)
  |> aggregate.project(fn(order_id, _order, event) {
    case event {
      OrderPlaced(customer_id:, total:, ..) -> [
        p.upsert("orders")
        |> p.id(order_id)
        |> p.set("customer", p.text(customer_id))
        |> p.set("total", p.int(total))
        |> p.build,
      ]
      _ -> []
    }
  })
}

fn encode_order(event: OrderEvent) -> #(String, Json) {
  case event {
    OrderPlaced(customer_id:, items:, total:) -> #(
      "OrderPlaced",
      json.object([
        #("customer_id", json.string(customer_id)),
        #(
          "items",
          json.array(items, of: fn(item: Item) {
            json.object([
              #("sku", json.string(item.sku)),
              #("quantity", json.int(item.quantity)),
            ])
          }),
        ),
        #("total", json.int(total)),
      ]),
    )
    OrderShipped(tracking:) -> #(
      "OrderShipped",
      json.object([#("tracking", json.string(tracking))]),
    )
    OrderRefunded(reason:) -> #(
      "OrderRefunded",
      json.object([#("reason", json.string(reason))]),
    )
  }
}

fn decode_order(type_: String) -> decode.Decoder(OrderEvent) {
  case type_ {
    "OrderPlaced" -> {
      use customer_id <- decode.field("customer_id", decode.string)
      use items <- decode.field(
        "items",
        decode.list({
          use sku <- decode.field("sku", decode.string)
          use quantity <- decode.field("quantity", decode.int)
          decode.success(Item(sku:, quantity:))
        }),
      )
      use total <- decode.field("total", decode.int)
      decode.success(OrderPlaced(customer_id:, items:, total:))
    }
    "OrderShipped" -> {
      use tracking <- decode.field("tracking", decode.string)
      decode.success(OrderShipped(tracking:))
    }
    "OrderRefunded" -> {
      use reason <- decode.field("reason", decode.string)
      decode.success(OrderRefunded(reason:))
    }
    _ -> decode.failure(OrderShipped(""), "OrderEvent")
  }
}

pub fn events_with_lists_of_records_test() {
  use dir <- with_dir
  let assert Ok(ctx) =
    warp.start(
      WarpOptions(
        ..defaults(),
        context: "shop",
        aggregates: [aggregate.definition(order())],
        data_dir: dir,
      ),
    )
  let placed = OrderPlaced("alice", [Item("tea", 2), Item("cup", 1)], 1200)
  let order7 = warp.entity(ctx, "order/7")
  assert order7
    |> aggregate.append_batch(order(), [placed, OrderShipped("XY1")])
    == Ok(#(1, 2))
  assert order7 |> aggregate.get(order()) == Ok(Order(1200, True, False))
  let assert Ok([first, ..]) = order7 |> warp.history()
  assert aggregate.decode(order(), first) == Ok(placed)
  warp.stop(ctx)
}
