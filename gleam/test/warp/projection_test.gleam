//// Projections of the engine, into both targets.

import gleam/dynamic/decode
import gleam/int
import gleam/list
import gleam/option.{None, Some}
import gleam/string
import testkit
import warp
import warp/aggregate.{type Aggregate}
import warp/context.{
  type Projections, type WarpOptions, Embedded, EmbeddedWith, Rqlite,
  WarpOptions,
}
import warp/error
import warp/event
import warp/json
import warp/projection as p
import warp/projector
import warp_testing.{with_accounts, with_context, with_options}

pub type OrderEvent {
  Placed(customer: String, total: Int)
  Paid
  Dropped
  /// Its projection crashes.
  Cursed
}

pub type Order {
  Order(customer: String, total: Int)
}

fn order() -> Aggregate(Order, OrderEvent, Nil) {
  aggregate.new("Order", initial: Order("", 0), apply: fn(order, event) {
    case event {
      Placed(customer:, total:) -> Order(customer:, total:)
      _ -> order
    }
  })
  |> aggregate.project(project)
}

fn project(id: String, order: Order, event: OrderEvent) -> List(p.Command) {
  case event {
    Placed(customer:, total:) -> [
      p.upsert("orders")
        |> p.id(id)
        |> p.set("customer", p.text(customer))
        |> p.set("total", p.int(total))
        |> p.set("paid", p.bool(False))
        |> p.set("share", p.float(0.5))
        |> p.set("note", p.null())
        |> p.set("tags", p.json(json.array(["new"], of: json.string)))
        |> p.build,
      p.increment("customers")
        |> p.id(customer)
        |> p.by("orders", p.int(1))
        |> p.by("spent", p.int(total))
        |> p.build,
    ]
    Paid -> [
      p.upsert("orders")
      |> p.id(id)
      |> p.set("paid", p.bool(order.total > 0))
      |> p.build,
    ]
    Dropped -> [p.delete("orders") |> p.id(id) |> p.build]
    Cursed -> panic as "the curse"
  }
}

fn projecting(projections: Projections, run: fn(WarpOptions) -> a) -> a {
  use options <- with_options([aggregate.definition(order())])
  run(WarpOptions(..options, projections:))
}

fn place(
  ctx: warp.Context,
  id: String,
  events: List(OrderEvent),
) -> warp.Entity {
  let entity = warp.entity(ctx, id)
  let assert Ok(_) = aggregate.append_batch(entity, order(), events)
  entity
}

fn placed(ctx: warp.Context, id: String, events: List(OrderEvent)) -> Nil {
  assert place(ctx, id, events) |> p.await(within: 60_000) == Ok(Nil)
}

/// The first column of each row, as text.
///
fn column(ctx: warp.Context, sql: String, parameters: List(p.Value)) {
  let assert Ok(rows) = warp.query(ctx, sql, parameters)
  list.map(rows.rows, fn(row) {
    let assert [value, ..] = row
    let text =
      decode.one_of(decode.string, or: [decode.int |> decode.map(int.to_string)])
    let assert Ok(text) = decode.run(value, text)
    text
  })
}

fn reads_and_writes(ctx: warp.Context) -> Nil {
  placed(ctx, "o1", [Placed("alice", 12), Paid])
  placed(ctx, "o2", [Placed("bob", 30)])
  placed(ctx, "o3", [Placed("alice", 8), Dropped])

  let assert Ok(rows) =
    ctx
    |> warp.query(
      "SELECT id, customer, total, paid, share, note, tags FROM orders WHERE total > ? AND customer = ?",
      [p.int(5), p.text("alice")],
    )
  assert rows.columns
    == ["id", "customer", "total", "paid", "share", "note", "tags"]
  let assert [[id, customer, total, paid, share, note, tags]] = rows.rows
  assert decode.run(id, decode.string) == Ok("o1")
  assert decode.run(customer, decode.string) == Ok("alice")
  assert decode.run(total, decode.int) == Ok(12)
  assert decode.run(paid, decode.bool) == Ok(True)
  assert decode.run(share, decode.float) == Ok(0.5)
  assert decode.run(note, decode.optional(decode.int)) == Ok(None)
  assert decode.run(tags, decode.string) == Ok("[\"new\"]")

  assert column(ctx, "SELECT spent FROM customers ORDER BY id", [])
    == ["20", "30"]

  // A deletion removes the entity's rows, and the numbers that it added.
  assert warp.delete(warp.entity(ctx, "o1")) == Ok(Nil)
  assert column(ctx, "SELECT id FROM orders", []) == ["o2"]
  assert column(ctx, "SELECT spent FROM customers WHERE id = ?", [
      p.text("alice"),
    ])
    == ["8"]
}

pub fn events_are_projected_into_the_embedded_target_test() {
  use options <- projecting(Embedded)
  use ctx <- with_context(options)
  reads_and_writes(ctx)
}

pub fn events_are_projected_into_rqlite_test() {
  use url <- with_rqlite
  use options <- projecting(Rqlite(p.rqlite([url])))
  use ctx <- with_context(options)
  reads_and_writes(ctx)
  let fresh = p.query_options() |> p.query_level(p.Strong)
  let assert Ok(rows) = p.query_with(ctx, "SELECT id FROM orders", [], fresh)
  assert list.length(rows.rows) == 1
}

/// Runs a test with an rqlited of its own. Where there is no rqlited, it prints
/// that and runs nothing.
///
@external(erlang, "warp_testing_ffi", "with_rqlite")
fn with_rqlite(run: fn(String) -> Nil) -> Nil

pub fn tables_can_be_declared_test() {
  let orders =
    p.table("orders")
    |> p.column("customer", p.Text)
    |> p.column("total", p.Integer)
    |> p.index(on: ["customer"])
  use options <- projecting(EmbeddedWith([orders]))
  use ctx <- with_context(options)
  // The declared table exists before the first event.
  testkit.wait_until(fn() {
    warp.query(ctx, "SELECT customer, total FROM orders", [])
    == Ok(p.Rows(["customer", "total"], []))
  })
  let undeclared = p.table("t") |> p.index(on: ["nothing"])
  let assert Error(error.BadOption("projections", error.Because(why))) =
    warp.start(
      WarpOptions(
        ..options,
        context: "other",
        projections: EmbeddedWith([undeclared]),
      ),
    )
  assert why == "index nothing: not_declared"
}

pub fn what_is_wrong_with_a_query_is_said_test() {
  use options <- projecting(Embedded)
  use ctx <- with_context(options)
  placed(ctx, "o1", [Placed("alice", 12)])
  placed(ctx, "o2", [Placed("bob", 12)])
  let query = fn(sql, parameters) { warp.query(ctx, sql, parameters) }
  let assert Error(error.SqlError(message)) = query("SELECT FROM", [])
  assert string.contains(message, "FROM")
  assert query("DELETE FROM orders", []) == Error(error.ReadOnly)
  assert query("SELECT ?", [])
    == Error(
      error.BadParameters(error.Because("the statement has 1 parameters")),
    )
  let assert Error(error.BadParameter(2, _)) =
    query("SELECT ?, ?", [p.int(1), p.int(99_999_999_999_999_999_999)])
  let one = p.query_options() |> p.max_rows(1)
  assert p.query_with(ctx, "SELECT id FROM orders", [], one)
    == Error(error.TooManyRows(1))
  let endless =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
  let soon = p.query_options() |> p.query_timeout(100)
  assert p.query_with(ctx, endless, [], soon) == Error(error.Timeout)
  assert p.query_with(ctx, "SELECT 1", [], p.query_options() |> p.max_rows(0))
    == Error(error.BadOption(
      "max_rows",
      error.NotAnIntegerBetween(1, 4_611_686_018_427_387_903),
    ))
}

pub fn a_context_without_projections_says_so_test() {
  use ctx <- with_accounts
  assert warp.query(ctx, "SELECT 1", []) == Error(error.NoProjections)
  assert p.await(warp.entity(ctx, "alice"), within: 10)
    == Error(error.NoProjections)
  assert projector.status(ctx) == Error(error.NoProjections)
  assert projector.rebuild(ctx) == Error(error.NoProjections)
  warp.stop(ctx)
  assert warp.query(ctx, "SELECT 1", []) == Error(error.ContextStopped)
}

pub fn a_target_that_is_not_there_is_away_test() {
  // No server listens at this address.
  use options <- projecting(Rqlite(p.rqlite(["http://127.0.0.1:9"])))
  use ctx <- with_context(options)
  let o1 = place(ctx, "o1", [Placed("alice", 12)])
  let assert Error(error.TargetAway(_)) = warp.query(ctx, "SELECT 1", [])
  assert p.await(o1, within: 100) == Error(error.Timeout)
  let assert Ok(projector.Status(target: projector.Away(_), ..)) =
    projector.status(ctx)
  // Appends do not wait for the target.
  assert aggregate.get(o1, order()) == Ok(Order("alice", 12))
  let assert Error(error.StillToErase(why:, ..)) = warp.delete(o1)
  assert why != ""
  assert warp.export(o1) == Ok([])
}

pub fn what_cannot_be_projected_is_set_aside_test() {
  use options <- projecting(Embedded)
  use ctx <- with_context(options)
  let o1 = place(ctx, "o1", [Placed("alice", 12), Cursed, Paid])
  assert p.await(o1, within: 60_000) == Error(error.SetAside(seq: 2))
  let assert Ok([aside]) = projector.set_aside(ctx, 10)
  assert aside.entity == "o1"
  assert aside.seq == 2
  assert aside.aggregate == "Order"
  assert aside.type_ == "Cursed"
  assert string.contains(aside.reason, "the curse")
  let assert Some(event) = aside.event
  assert event.seq(event) == 2
  let assert Ok(projector.Status(set_aside: 1, target: projector.Up, ..)) =
    projector.status(ctx)
  // Other entities are projected.
  placed(ctx, "o2", [Placed("bob", 30)])

  assert projector.retry(ctx, "o1") == Error(error.SetAside(2))
  let assert Error(_) = projector.retry_all(ctx)
  assert projector.skip(ctx, "o1") == Ok(Nil)
  assert p.await(o1, within: 60_000) == Ok(Nil)
  assert column(ctx, "SELECT id FROM orders WHERE paid ORDER BY id", [])
    == ["o1"]
  assert projector.set_aside(ctx, 10) == Ok([])
  assert projector.skip(ctx, "o1") == Error(error.NotSetAside)
  assert projector.retry(ctx, "o1") == Error(error.NotSetAside)
}

pub fn tables_are_built_anew_test() {
  use options <- projecting(Embedded)
  use ctx <- with_context(options)
  placed(ctx, "o1", [Placed("alice", 12), Paid])
  assert projector.cancel_rebuild(ctx) == Error(error.NotRunning)
  assert projector.rebuild(ctx) == Ok(Nil)
  assert projector.await_rebuild(ctx, within: 60_000) == Ok(Nil)
  assert column(ctx, "SELECT total FROM orders", []) == ["12"]
  let assert Ok(progress) = projector.rebuild_progress(ctx)
  assert progress.state == projector.Idle
  assert !progress.due
  let assert Ok(status) = projector.status(ctx)
  assert status.behind_positions == 0
  assert status.events >= 2
  assert list.map(status.shards, fn(shard) { shard.shard }) == [0, 1]
  list.each(status.shards, fn(shard) {
    assert shard.state == projector.Live
    assert shard.behind_positions == 0 && shard.set_aside == 0
    assert shard.since > 1_600_000_000_000_000
  })
  assert list.fold(status.shards, 0, fn(sum, shard) { sum + shard.events })
    == status.events
}
