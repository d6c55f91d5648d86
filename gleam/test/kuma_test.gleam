//// Kuma against the real engine: the same cases with either way of storing.

import gleam/dynamic/decode
import gleam/int
import gleam/list
import kuma.{type Context, type Kuma, Config}
import kuma/codec.{type Codec}
import kuma/entity.{type Entity, NotSpawned}
import kuma/event
import kuma_support.{type Dir, sql, with_dir}
import warp/error.{Refused}
import warp/history
import warp/json

pub type Account {
  Account(id: String, balance: Int, name: String)
}

pub type AccountEvent {
  Deposited(amount: Int)
  Withdrawn(amount: Int)
  Renamed(name: String)
}

fn apply(account: Account, event: AccountEvent) -> Account {
  case event {
    Deposited(amount:) -> Account(..account, balance: account.balance + amount)
    Withdrawn(amount:) if amount > 1_000_000 -> panic as "too much"
    Withdrawn(amount:) -> Account(..account, balance: account.balance - amount)
    Renamed(name:) -> Account(..account, name:)
  }
}

const savings = Account(id: "acc_001", balance: 0, name: "Savings")

fn account_codec() -> Codec(Account, AccountEvent) {
  codec.json(
    encode_state: fn(account: Account) {
      json.object([
        #("id", json.string(account.id)),
        #("balance", json.int(account.balance)),
        #("name", json.string(account.name)),
      ])
    },
    decode_state: {
      use id <- decode.field("id", decode.string)
      use balance <- decode.field("balance", decode.int)
      use name <- decode.field("name", decode.string)
      decode.success(Account(id:, balance:, name:))
    },
    encode_event: fn(event) {
      case event {
        Deposited(amount:) -> #(
          "Deposited",
          json.object([#("amount", json.int(amount))]),
        )
        Withdrawn(amount:) -> #(
          "Withdrawn",
          json.object([#("amount", json.int(amount))]),
        )
        // A bug: no decoder takes this.
        Renamed(name: "") -> #("Renamed", json.object([]))
        Renamed(name: "crash") -> panic as "an encoder that crashes"
        Renamed(name: "reserved") -> #("Kuma.Spawned", json.object([]))
        Renamed(name:) -> #(
          "Renamed",
          json.object([#("name", json.string(name))]),
        )
      }
    },
    decode_event: fn(type_) {
      case type_ {
        "Deposited" -> {
          use amount <- decode.field("amount", decode.int)
          decode.success(Deposited(amount:))
        }
        "Withdrawn" -> {
          use amount <- decode.field("amount", decode.int)
          decode.success(Withdrawn(amount:))
        }
        "Renamed" -> {
          use name <- decode.field("name", decode.string)
          decode.success(Renamed(name:))
        }
        _ -> decode.failure(Deposited(amount: 0), "AccountEvent")
      }
    },
  )
}

fn start(dir: Dir) -> Kuma(Account, AccountEvent) {
  let assert Ok(kuma) = kuma.start(Config(path: dir, shards: 4))
  kuma
}

fn with_terms(kuma: Kuma(Account, AccountEvent)) {
  kuma.fold(kuma, apply)
}

fn with_json(kuma: Kuma(Account, AccountEvent)) {
  kuma.fold_with(kuma, account_codec(), apply)
}

type Case =
  fn(Dir, fn(Kuma(Account, AccountEvent)) -> Context(Account, AccountEvent)) ->
    Nil

fn both(run: Case) -> Nil {
  with_dir(run(_, with_terms))
  with_dir(run(_, with_json))
}

fn spawn(ctx: Context(Account, AccountEvent)) {
  let assert Ok(account) = kuma.spawn(ctx, "acc_001", savings)
  account
}

fn balance(account: Entity(Account, AccountEvent)) -> Int {
  let assert Ok(Account(balance:, ..)) = kuma.read(account)
  balance
}

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
    kuma_support.parallel(50, fn() {
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
  kuma_support.kill(entity.warp(account))
  assert balance(account) == 5
  assert kuma.append(account, Deposited(amount: 5)) == Ok(3)
  kuma_support.kill(entity.warp(account))
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

// What lies in the files.

pub fn json_is_readable_in_the_file_test() {
  use dir <- with_dir
  let ctx = with_json(start(dir))
  let account = spawn(ctx)
  let assert Ok(_) = kuma.append(account, Deposited(amount: 5))
  assert sql(dir, "SELECT seq, type, payload FROM events ORDER BY seq")
    == "1|Kuma.Spawned|{\"balance\":0,\"id\":\"acc_001\",\"name\":\"Savings\"}\n"
    <> "2|Deposited|{\"amount\":5}"
  kuma.stop(ctx)
}

pub fn terms_have_the_names_of_their_constructors_test() {
  use dir <- with_dir
  let ctx = with_terms(start(dir))
  let account = spawn(ctx)
  let assert Ok(_) = kuma.append(account, Deposited(amount: 5))
  assert sql(
      dir,
      "SELECT seq, type, json_type(payload, '\\$.\\$term') FROM events ORDER BY seq",
    )
    == "1|Kuma.Spawned|text\n2|Deposited|text"
  kuma.stop(ctx)
}

pub fn a_codec_reads_the_terms_before_it_test() {
  use dir <- with_dir
  let ctx = with_terms(start(dir))
  let account = spawn(ctx)
  let assert Ok(_) = kuma.append(account, Deposited(amount: 5))
  kuma.stop(ctx)

  let ctx = with_json(start(dir))
  let account = spawn(ctx)
  assert balance(account) == 5
  let assert Ok(3) = kuma.append(account, Deposited(amount: 6))
  kuma_support.kill(entity.warp(account))
  assert balance(account) == 11
  kuma.stop(ctx)

  // The other way round it cannot be.
  let ctx = with_terms(start(dir))
  let assert Error(error.UndecodableEvent("Deposited", _)) =
    kuma.spawn(ctx, "acc_001", savings)
  kuma.stop(ctx)
}

pub fn a_codec_that_does_not_fit_itself_test() {
  use dir <- with_dir
  let ctx = with_json(start(dir))
  let account = spawn(ctx)
  let assert Error(error.UndecodableEvent("Renamed", [_])) =
    kuma.append(account, Renamed(name: ""))
  let assert Error(error.EncodeFailed(_)) =
    kuma.append(account, Renamed(name: "crash"))
  let assert Error(error.EncodeFailed(_)) =
    kuma.append(account, Renamed(name: "reserved"))
  assert kuma.append(account, Renamed(name: "good")) == Ok(2)
  kuma.stop(ctx)
}

// Starting.

pub fn a_folder_that_is_open_test() {
  use dir <- with_dir
  let ctx = with_terms(start(dir))
  let assert Error(error.DataDirInUse(_)) =
    kuma.start(Config(path: dir, shards: 4))
  kuma.stop(ctx)
}

pub fn another_number_of_shards_test() {
  use dir <- with_dir
  kuma.stop(with_terms(start(dir)))
  assert kuma.start(Config(path: dir, shards: 5))
    |> no_context
    == Error(error.ShardCountMismatch(stored: 4, given: 5))
}

pub fn bad_config_test() {
  assert kuma.start(Config(path: "/tmp/never", shards: 0)) |> no_context
    == Error(error.BadOption("shards", error.NotAnIntegerBetween(1, 4096)))
  assert kuma.start(Config(path: "", shards: 1)) |> no_context
    == Error(error.MissingOption("data_dir"))
}

fn no_context(
  result: Result(Kuma(Account, AccountEvent), e),
) -> Result(Nil, e) {
  case result {
    Ok(kuma) -> {
      kuma.stop(kuma.fold(kuma, apply))
      Ok(Nil)
    }
    Error(error) -> Error(error)
  }
}

fn doubled(account: Account, event: AccountEvent) -> Account {
  apply(apply(account, event), event)
}

pub fn another_apply_counts_from_the_first_event_on_test() {
  use dir <- with_dir
  let ctx = with_terms(start(dir))
  let account = spawn(ctx)
  deposit_many(account, 1100)
  assert balance(account) == 1100
  kuma.stop(ctx)

  let ctx = kuma.fold(start(dir), doubled)
  assert balance(spawn(ctx)) == 2200
  kuma.stop(ctx)
}

pub fn the_last_fold_counts_from_then_on_test() {
  use dir <- with_dir
  let kuma = start(dir)
  let account = spawn(kuma.fold(kuma, apply))
  let assert Ok(_) = kuma.append(account, Deposited(amount: 5))
  let ctx = kuma.fold(kuma, doubled)
  let assert Ok(_) = kuma.append(account, Deposited(amount: 5))
  assert balance(account) == 15
  kuma.stop(ctx)
}

pub fn snapshots_go_with_their_version_test() {
  use dir <- with_dir
  let start = fn(version, apply) {
    let assert Ok(kuma) =
      kuma.start_with_snapshots(Config(path: dir, shards: 4), version:)
    kuma.fold(kuma, apply)
  }
  let ctx = start(1, apply)
  let account = spawn(ctx)
  deposit_many(account, 1100)
  assert balance(account) == 1100
  // Written when the writer has nothing better to do.
  kuma_support.wait_until(fn() {
    sql(dir, "SELECT count(*) FROM snapshot_slots WHERE seq > 0") |> sum == 1
  })
  kuma.stop(ctx)

  // Not raised: what the snapshot covers stays as it was folded.
  let ctx = start(1, doubled)
  let folded = balance(spawn(ctx))
  assert folded >= 1100 && folded < 2200
  kuma.stop(ctx)

  let ctx = start(2, doubled)
  assert balance(spawn(ctx)) == 2200
  kuma.stop(ctx)
}

fn deposit_many(account: Entity(Account, AccountEvent), times: Int) -> Nil {
  let done =
    kuma_support.parallel(times, fn() {
      kuma.append(account, Deposited(amount: 1))
    })
  assert list.all(done, fn(result) {
    case result {
      Ok(_) -> True
      Error(_) -> False
    }
  })
  Nil
}

fn int_range(from: Int, to: Int) -> List(Int) {
  case from > to {
    True -> []
    False -> [from, ..int_range(from + 1, to)]
  }
}

/// The sum of one number per line.
fn sum(lines: String) -> Int {
  kuma_support.lines(lines)
  |> list.fold(0, fn(sum, line) {
    let assert Ok(number) = int.parse(line)
    sum + number
  })
}
