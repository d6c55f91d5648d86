//// Clusters: what the nodes say of each other and of what moves.

import gleam/dict
import gleam/list
import gleam/option.{None, Some}
import testkit.{wait_until, with_dir}
import warp
import warp/aggregate
import warp/call
import warp/cluster.{
  Joined, Leaving, Left, Member, Pauses, Progress, Status, Up,
}
import warp/context.{type Cluster, Bootstrap, Clustered, WarpOptions, defaults}
import warp/error
import warp_testing.{
  type Node, Credited, account, on_node, with_accounts, with_nodes,
}

const one = "one@127.0.0.1"

const two = "two@127.0.0.1"

pub fn a_context_of_a_single_node_is_no_cluster_test() {
  use ctx <- with_accounts
  assert cluster.members(ctx) == Error(error.NotClustered)
  assert cluster.ring(ctx) == Error(error.NotClustered)
  assert cluster.status(ctx) == Error(error.NotClustered)
  assert cluster.progress(ctx) == Error(error.NotClustered)
  assert warp.migrate(ctx) == Error(error.NotClustered)
  assert cluster.pause(ctx) == Error(error.NotClustered)
  assert cluster.resume(ctx) == Error(error.NotClustered)
  assert cluster.leave(ctx) == Error(error.NotClustered)
  assert cluster.forget(ctx, ["x@y"]) == Error(error.NotClustered)
  assert cluster.adopt("nothing") == Error(error.ContextStopped)
  assert cluster.owner(warp.entity(ctx, "alice")) == Ok(Some("nonode@nohost"))
  assert cluster.owner(warp.entity(ctx, ""))
    == Error(error.BadEntityId(error.Empty))
  warp.stop(ctx)
  assert cluster.members(ctx) == Error(error.ContextStopped)
}

fn start(node: Node, dir: String, cluster: Cluster) -> warp.Context {
  use <- on_node(node)
  let assert Ok(ctx) =
    warp.start(
      WarpOptions(
        ..defaults(),
        context: "bank",
        data_dir: dir,
        aggregates: [aggregate.definition(account())],
        shards: 4,
        cluster:,
      ),
    )
  ctx
}

pub fn shards_move_to_a_node_that_joins_and_back_test() {
  use dir <- with_dir
  use nodes <- with_nodes([one, two])
  let assert [first, second] = nodes
  let all = [0, 1, 2, 3]

  // A cluster of one.
  let ctx = start(first, dir <> "/1", Bootstrap(seed_nodes: []))
  let alice = warp.entity(ctx, "alice")
  let assert Ok(1) =
    on_node(first, fn() { alice |> aggregate.append(account(), Credited(7)) })
  assert on_node(first, fn() { cluster.status(ctx) })
    == Ok(Status(
      node: one,
      phase: Joined,
      members: [Member(one, Up, is_linked: True, incarnation: 1, shards: 4)],
      shards: dict.from_list([#(one, all)]),
      unknown: [],
    ))
  assert on_node(first, fn() { cluster.leave(ctx) }) == Error(error.LastMember)
  assert on_node(first, fn() { cluster.adopt("bank") })
    == Error(error.NotInDoubt)
  assert on_node(first, fn() { cluster.forget(ctx, [one]) })
    == Error(error.NodeUp(one))
  assert on_node(first, fn() { cluster.forget(ctx, ["x@y"]) })
    == Error(error.NotAMember("x@y"))
  assert on_node(first, fn() { cluster.pause(ctx) }) == Ok(Nil)

  // Another node joins, and nothing moves.
  let assert True =
    ctx == start(second, dir <> "/2", Clustered(seed_nodes: [one]))
  let assert Ok(ring) = on_node(second, fn() { cluster.ring(ctx) })
  assert dict.keys(ring) |> list.length == 4
  assert dict.values(ring) |> list.filter(fn(node) { node == two }) == [two, two]
  wait_until(fn() {
    case on_node(second, fn() { cluster.progress(ctx) }) {
      Ok(Progress(
        is_paused: True,
        to_move: 2,
        entities_to_move: None,
        moved: 0,
        entities: 0,
        bytes: 0,
        entities_per_second: 0,
        seconds_left: None,
        pauses: Pauses(count: 0, ..),
        under_way: [],
        alarms: [],
        unreachable: [],
        ..,
      )) -> True
      _ -> False
    }
  })

  // Two shards move.
  assert on_node(first, fn() { cluster.resume(ctx) }) == Ok(Nil)
  assert on_node(second, fn() { warp.migrate(ctx) }) == Ok(Nil)
  let assert Ok(Progress(
    is_paused: False,
    to_move: 0,
    entities_to_move: Some(0),
    moved: 2,
    entities:,
    bytes:,
    ..,
  )) = on_node(second, fn() { cluster.progress(ctx) })
  assert bytes > 0
  let assert Ok(Status(shards: placed, ..)) =
    on_node(second, fn() { cluster.status(ctx) })
  let assert Ok([_, _]) = dict.get(placed, two)
  let assert Ok(Some(node)) = on_node(second, fn() { cluster.owner(alice) })
  assert #(node, entities) == #(two, 1) || #(node, entities) == #(one, 0)
  let assert Ok(shard) = on_node(first, fn() { warp.shard_of(alice) })
  assert dict.get(ring, shard) == Ok(node)

  // All come back.
  let short = call.options() |> call.timeout(0)
  assert on_node(second, fn() { cluster.leave_with(ctx, short) })
    == Error(error.Timeout)
  let assert Ok([_, Member(state: Leaving, ..)]) =
    on_node(second, fn() { cluster.members(ctx) })
  assert on_node(second, fn() { cluster.leave(ctx) }) == Ok(Nil)
  wait_until(fn() {
    case on_node(first, fn() { cluster.members(ctx) }) {
      Ok([_, Member(state: Left, shards: 0, ..)]) -> True
      _ -> False
    }
  })
  assert on_node(first, fn() { cluster.owner(alice) }) == Ok(Some(one))
  assert on_node(first, fn() { alice |> aggregate.get(account()) }) == Ok(7)
}
