//// How states and events lie in the files.

import kuma
import kuma_support.{
  Deposited, Renamed, balance, kill_entity, savings, spawn, sql, start,
  with_json, with_terms,
}
import testkit.{wait_until, with_dir}
import warp/error

pub fn json_is_readable_in_the_file_test() {
  use dir <- with_dir
  let ctx = with_json(start(dir))
  let account = spawn(ctx)
  let assert Ok(_) = kuma.append(account, Deposited(amount: 5))
  // The file follows the journal.
  wait_until(fn() {
    sql(dir, "SELECT seq, type, payload FROM events ORDER BY seq")
    == [
      "1|Kuma.Spawned|{\"balance\":0,\"id\":\"acc_001\",\"name\":\"Savings\"}",
      "2|Deposited|{\"amount\":5}",
    ]
  })
  kuma.stop(ctx)
}

pub fn terms_have_the_names_of_their_constructors_test() {
  use dir <- with_dir
  let ctx = with_terms(start(dir))
  let account = spawn(ctx)
  let assert Ok(_) = kuma.append(account, Deposited(amount: 5))
  wait_until(fn() {
    sql(
      dir,
      "SELECT seq, type, json_type(payload, '$.$term') FROM events ORDER BY seq",
    )
    == ["1|Kuma.Spawned|text", "2|Deposited|text"]
  })
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
  kill_entity(account)
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
