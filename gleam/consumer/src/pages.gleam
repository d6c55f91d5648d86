//// The examples of Warp's pages, with the record spread in front, where Gleam
//// requires it, and with folders of their own.

import banking/account.{Credited, account_aggregate}
import gleam/dynamic.{type Dynamic}
import gleam/dynamic/decode
import gleam/list
import warp
import warp/aggregate.{type AggregateDefinition, AggregateDefinition}
import warp/context.{
  ActorMode, Clustered, Embedded, SingleNode, WarpOptions, defaults,
}
import warp/error
import warp/event.{type Event}
import warp/history
import warp/projection.{type Command} as p
import warp/saga.{Committed, StepEvent}

pub fn banking(dir: String) -> Nil {
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
  assert alice |> account.append(Credited(5000)) == Ok(1)
  assert account.balance(alice) == Ok(5000)
  let assert Ok(before) = alice |> warp.state_at("Account", history.Seq(0))
  assert decode.run(before, decode.int) == Ok(0)

  let assert Ok(export) = alice |> warp.export()
  assert list.length(export) == 1
  let assert Ok(Nil) = alice |> warp.delete()
  assert alice |> warp.export() == Ok([])
  warp.stop(ctx)
}

/// Nodes that know of each other. This VM has no name, and so it cannot be one.
pub fn cluster(dir: String) -> Nil {
  let assert Error(error.BadOption("cluster", _)) =
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
  Nil
}

pub fn transfer(dir: String) -> Nil {
  let assert Ok(ctx) =
    warp.start(
      WarpOptions(
        ..defaults(),
        context: "banking",
        aggregates: [account_aggregate()],
        data_dir: dir,
      ),
    )
  let assert Ok(Committed(..)) =
    saga.new("xfr-001")
    |> saga.step(
      entity: "alice",
      aggregate: "Account",
      schema_vsn: 1,
      forward: StepEvent("Debited", "{\"amount\":500}"),
      compensate: StepEvent("Credited", "{\"amount\":500}"),
    )
    |> saga.step(
      entity: "bob",
      aggregate: "Account",
      schema_vsn: 1,
      forward: StepEvent("Credited", "{\"amount\":500}"),
      compensate: StepEvent("Debited", "{\"amount\":500}"),
    )
    |> saga.commit(ctx)
  assert account.balance(warp.entity(ctx, "alice")) == Ok(-500)
  assert account.balance(warp.entity(ctx, "bob")) == Ok(500)
  let assert Ok(_) = saga.recover_pending(ctx)
  warp.stop(ctx)
}

// References in event payloads, and a projection for queries.

pub type Item {
  Item(sku: String, qty: Int)
}

pub type OrderEvent {
  OrderPlaced(customer_id: String, items: List(Item), total: Int)
  OrderShipped(tracking: String)
  OrderRefunded(reason: String)
}

fn order_project(
  order_id: String,
  _state: Nil,
  event: OrderEvent,
) -> List(Command) {
  case event {
    OrderPlaced(customer_id:, total:, ..) -> [
      p.upsert("orders")
      |> p.id(order_id)
      |> p.set("customer", p.text(customer_id))
      |> p.set("total", p.int(total))
      |> p.build,
    ]
    OrderShipped(..) | OrderRefunded(..) -> []
  }
}

pub fn orders(dir: String) -> Nil {
  let order =
    aggregate.new("Order", initial: Nil, apply: fn(state, _event) { state })
    |> aggregate.project(order_project)
  let assert Ok(ctx) =
    warp.start(
      WarpOptions(
        ..defaults(),
        context: "orders",
        aggregates: [aggregate.definition(order)],
        data_dir: dir,
        projections: Embedded,
      ),
    )
  let order_1 = warp.entity(ctx, "order/1")
  let placed = OrderPlaced("alice", [Item("tea", 2)], 1200)
  assert order_1 |> aggregate.append(order, placed) == Ok(1)
  assert order_1 |> p.await(within: 60_000) == Ok(Nil)
  let assert Ok(p.Rows(columns: ["id", "total"], rows: [[id, total]])) =
    ctx
    |> warp.query("SELECT id, total FROM orders WHERE customer = ?", [
      p.text("alice"),
    ])
  assert decode.run(id, decode.string) == Ok("order/1")
  assert decode.run(total, decode.int) == Ok(1200)
  assert order_1 |> warp.delete == Ok(Nil)
  let assert Ok(p.Rows(rows: [], ..)) =
    ctx |> warp.query("SELECT id FROM orders", [])
  warp.stop(ctx)
}

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
  let assert Ok(items) = decode.run(state, decode.list(decode.dynamic))
  let assert Ok(item) = event.decode(event, decode.at(["item"], decode.dynamic))
  dynamic.list([item, ..items])
}

fn todo_project(id: String, state: Dynamic, _event: Event) -> List(Command) {
  let assert Ok(items) = decode.run(state, decode.list(decode.dynamic))
  [
    p.upsert("todos")
    |> p.id(id)
    |> p.set("items", p.int(list.length(items)))
    |> p.build,
  ]
}

pub fn todos(dir: String) -> Nil {
  let assert Ok(ctx) =
    warp.start(
      WarpOptions(
        ..defaults(),
        context: "todos",
        aggregates: [todo_aggregate()],
        data_dir: dir,
        projections: Embedded,
      ),
    )
  let today = warp.entity(ctx, "today")
  assert today
    |> warp.append(event.from_json("Added", "{\"item\":\"tea\"}"))
    == Ok(1)
  assert today |> warp.get_as("Todo", decode.list(decode.string)) == Ok(["tea"])
  assert today |> p.await(within: 60_000) == Ok(Nil)
  let assert Ok(p.Rows(rows: [[items]], ..)) =
    ctx |> warp.query("SELECT items FROM todos WHERE id = ?", [p.text("today")])
  assert decode.run(items, decode.int) == Ok(1)
  warp.stop(ctx)
}
