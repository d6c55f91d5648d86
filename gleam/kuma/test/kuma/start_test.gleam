//// Starting, and what another start does to folds and snapshots.

import kuma.{type Kuma, Config}
import kuma_support.{
  type Account, type AccountEvent, Deposited, apply, balance, deposit_many,
  spawn, sql, start, sum, with_terms,
}
import testkit.{with_dir}
import warp/error

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
  testkit.wait_until(fn() {
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
