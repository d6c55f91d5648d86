//// Helpers of Kuma's tests: a bank account, stored in either of the two
//// ways, and logs that Kuma did not write.

import gleam/dynamic/decode
import gleam/erlang/process.{type Pid}
import gleam/int
import gleam/list
import kuma.{type Context, type Kuma, Config}
import kuma/codec.{type Codec}
import kuma/entity.{type Entity}
import testkit.{with_dir}
import warp
import warp/json

pub type Account {
  Account(id: String, balance: Int, name: String)
}

pub type AccountEvent {
  Deposited(amount: Int)
  Withdrawn(amount: Int)
  Renamed(name: String)
}

pub fn apply(account: Account, event: AccountEvent) -> Account {
  case event {
    Deposited(amount:) -> Account(..account, balance: account.balance + amount)
    Withdrawn(amount:) if amount > 1_000_000 -> panic as "too much"
    Withdrawn(amount:) -> Account(..account, balance: account.balance - amount)
    Renamed(name:) -> Account(..account, name:)
  }
}

pub const savings = Account(id: "acc_001", balance: 0, name: "Savings")

pub fn account_codec() -> Codec(Account, AccountEvent) {
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

pub fn start(dir: String) -> Kuma(Account, AccountEvent) {
  let assert Ok(kuma) = kuma.start(Config(path: dir, shards: 4))
  kuma
}

pub fn with_terms(kuma: Kuma(Account, AccountEvent)) {
  kuma.fold(kuma, apply)
}

pub fn with_json(kuma: Kuma(Account, AccountEvent)) {
  kuma.fold_with(kuma, account_codec(), apply)
}

pub type Case =
  fn(String, fn(Kuma(Account, AccountEvent)) -> Context(Account, AccountEvent)) ->
    Nil

pub fn both(run: Case) -> Nil {
  with_dir(run(_, with_terms))
  with_dir(run(_, with_json))
}

pub fn spawn(ctx: Context(Account, AccountEvent)) {
  let assert Ok(account) = kuma.spawn(ctx, "acc_001", savings)
  account
}

pub fn balance(account: Entity(Account, AccountEvent)) -> Int {
  let assert Ok(Account(balance:, ..)) = kuma.read(account)
  balance
}

pub fn deposit_many(account: Entity(Account, AccountEvent), times: Int) -> Nil {
  let done =
    testkit.parallel(times, fn() {
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

/// Kills an entity's process, and waits until it is gone.
///
pub fn kill_entity(entity: Entity(state, event)) -> Nil {
  testkit.kill(pid(entity.warp(entity)))
}

@external(erlang, "kuma_test_ffi", "pid")
fn pid(entity: warp.Entity) -> Pid

// Files.

/// The lines that any sqlite3 shell prints for a query on each shard.
///
pub fn sql(dir: String, query: String) -> List(String) {
  list.flat_map(testkit.shard_files(dir), testkit.sqlite(_, query))
}

/// The sum of one number per line.
///
pub fn sum(lines: List(String)) -> Int {
  list.fold(lines, 0, fn(sum, line) {
    let assert Ok(number) = int.parse(line)
    sum + number
  })
}

/// Writes logs as another program would, in a folder with one shard: for each
/// entity's id, the types and payloads (JSON text) of its events.
///
@external(erlang, "kuma_test_ffi", "foreign_logs")
pub fn foreign_logs(
  dir: String,
  logs: List(#(String, List(#(String, String)))),
) -> Nil

/// Payloads that claim to be terms, and that must not be read as terms.
///
@external(erlang, "kuma_test_ffi", "hostile")
pub fn hostile() -> List(String)

/// The payload of an event whose constructor is in no loaded module, but in a
/// module in this folder, which is added to the code path.
///
@external(erlang, "kuma_test_ffi", "late_constructor")
pub fn late_constructor(dir: String) -> String
