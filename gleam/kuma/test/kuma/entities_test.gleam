//// The life of an entity: the same cases with either way of storing.

import gleam/list
import kuma
import kuma/entity.{NotSpawned}
import kuma/event
import kuma_support.{
  Account, Deposited, Renamed, Withdrawn, balance, both, kill_entity, savings,
  spawn, sql, start, sum,
}
import testkit
import warp/error.{Refused}
import warp/history

pub fn append_and_read_test() {
  use dir, fold <- both
  let ctx = fold(start(dir))
  let account = spawn(ctx)
  assert kuma.read(account) == Ok(savings)
  assert kuma.append(account, Deposited(amount: 1000)) == Ok(2)
  assert kuma.append(account, Deposited(amount: 500)) == Ok(3)
  assert kuma.append(account, Withdrawn(amount: 200)) == Ok(4)
  assert kuma.append(account, Renamed(name: "Zażółć 🐻")) == Ok(5)
  assert kuma.read(account)
    == Ok(Account(id: "acc_001", balance: 1300, name: "Zażółć 🐻"))
  assert account.id == "acc_001"
  kuma.stop(ctx)
}

pub fn spawning_again_keeps_the_state_test() {
  use dir, fold <- both
  let ctx = fold(start(dir))
  let account = spawn(ctx)
  let assert Ok(_) = kuma.append(account, Deposited(amount: 7))
  let assert Ok(again) =
    kuma.spawn(ctx, "acc_001", Account(..savings, balance: 1000))
  assert balance(again) == 7
  assert kuma.append(again, Deposited(amount: 1)) == Ok(3)
  assert balance(account) == 8
  kuma.stop(ctx)
}

pub fn many_spawn_at_once_test() {
  use dir, fold <- both
  let ctx = fold(start(dir))
  let spawned =
    testkit.parallel(50, fn() {
      let assert Ok(account) = kuma.spawn(ctx, "acc_001", savings)
      kuma.append(account, Deposited(amount: 1))
    })
  assert list.length(spawned) == 50
  let account = spawn(ctx)
  assert balance(account) == 50
  let assert Ok(export) = kuma.export(account)
  assert list.map(export.events, fn(event) { event.seq }) == int_range(2, 51)
  kuma.stop(ctx)
}

pub fn restart_test() {
  use dir, fold <- both
  let ctx = fold(start(dir))
  let account = spawn(ctx)
  let assert Ok(_) = kuma.append(account, Deposited(amount: 1000))
  kuma.stop(ctx)
  assert kuma.read(account) == Error(error.ContextStopped)

  let ctx = fold(start(dir))
  let account = spawn(ctx)
  assert balance(account) == 1000
  assert kuma.append(account, Withdrawn(amount: 1)) == Ok(3)
  kuma.stop(ctx)
}

pub fn a_killed_entity_comes_back_test() {
  use dir, fold <- both
  let ctx = fold(start(dir))
  let account = spawn(ctx)
  let assert Ok(_) = kuma.append(account, Deposited(amount: 5))
  kill_entity(account)
  assert balance(account) == 5
  assert kuma.append(account, Deposited(amount: 5)) == Ok(3)
  kill_entity(account)
  assert balance(account) == 10
  kuma.stop(ctx)
}

pub fn deleted_test() {
  use dir, fold <- both
  let ctx = fold(start(dir))
  let account = spawn(ctx)
  let assert Ok(_) = kuma.append(account, Deposited(amount: 5))
  assert kuma.delete(account) == Ok(Nil)
  assert kuma.delete(account) == Ok(Nil)

  assert kuma.read(account) == Error(Refused(NotSpawned))
  assert kuma.read_at(account, history.Seq(2)) == Error(Refused(NotSpawned))
  assert kuma.export(account) == Error(Refused(NotSpawned))
  assert kuma.append(account, Deposited(amount: 5))
    == Error(Refused(NotSpawned))
  assert sql(dir, "SELECT count(*) FROM events") |> sum == 0

  let account = spawn(ctx)
  assert balance(account) == 0
  assert kuma.append(account, Deposited(amount: 6)) == Ok(2)
  assert balance(account) == 6
  kuma.stop(ctx)
}

pub fn export_test() {
  use dir, fold <- both
  let ctx = fold(start(dir))
  let account = spawn(ctx)
  let assert Ok(_) = kuma.append(account, Deposited(amount: 5))
  let assert Ok(_) = kuma.append(account, Renamed(name: "Holiday"))
  let assert Ok(kuma.Export(id:, initial:, spawned_at:, events:)) =
    kuma.export(account)
  assert id == "acc_001"
  assert initial == savings
  let assert [
    event.Event(seq: 2, event: Deposited(amount: 5), recorded_at: first),
    event.Event(seq: 3, event: Renamed(name: "Holiday"), recorded_at: second),
  ] = events
  assert spawned_at > 1_600_000_000_000_000
  assert spawned_at <= first && first <= second
  kuma.stop(ctx)
}

pub fn the_past_test() {
  use dir, fold <- both
  let ctx = fold(start(dir))
  let account = spawn(ctx)
  let assert Ok(_) = kuma.append(account, Deposited(amount: 5))
  let assert Ok(_) = kuma.append(account, Deposited(amount: 6))
  assert kuma.read_at(account, history.Seq(1)) == Ok(savings)
  assert kuma.read_at(account, history.Seq(2))
    == Ok(Account(..savings, balance: 5))
  assert kuma.read_at(account, history.Seq(99))
    == Ok(Account(..savings, balance: 11))
  assert kuma.read_at(account, history.Time(0)) == Error(Refused(NotSpawned))
  kuma.stop(ctx)
}

pub fn an_event_that_crashes_apply_is_refused_test() {
  use dir, fold <- both
  let ctx = fold(start(dir))
  let account = spawn(ctx)
  let assert Error(error.ApplyFailed(_)) =
    kuma.append(account, Withdrawn(amount: 2_000_000))
  assert kuma.append(account, Deposited(amount: 3)) == Ok(2)
  assert balance(account) == 3
  kuma.stop(ctx)
}

pub fn bad_ids_test() {
  use dir, fold <- both
  let ctx = fold(start(dir))
  assert kuma.spawn(ctx, "", savings) == Error(error.BadEntityId(error.Empty))
  assert kuma.spawn(ctx, "$warp/saga/x", savings)
    == Error(error.BadEntityId(error.Reserved))
  kuma.stop(ctx)
}

fn int_range(from: Int, to: Int) -> List(Int) {
  case from > to {
    True -> []
    False -> [from, ..int_range(from + 1, to)]
  }
}
