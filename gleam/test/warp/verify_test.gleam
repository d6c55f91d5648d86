//// Checking all files of a context.

import gleam/erlang/process
import gleam/list
import gleam/option.{None, Some}
import gleam/string
import testkit.{shard_files, sqlite}
import warp
import warp/aggregate
import warp/error
import warp/verify.{type Progress, Journal, Progress, Report}
import warp_testing.{Credited, account, with_context, with_options}

fn silent(_progress: Progress) -> Nil {
  Nil
}

pub fn a_running_context_is_checked_test() {
  use options <- with_options([aggregate.definition(account())])
  use ctx <- with_context(options)
  let alice = warp.entity(ctx, "alice")
  let assert Ok(1) = aggregate.append(alice, account(), Credited(1))
  let assert Ok(2) = aggregate.append(alice, account(), Credited(2))
  // What is not in the shards' files yet is checked as a part of the journal.
  testkit.wait_until(fn() {
    let assert Ok(report) = verify.context(ctx, silent)
    report.events == 2
  })
  let told = process.new_subject()
  let assert Ok(Report(shards: 2, entities: 1, rows: 2, ..)) =
    verify.context(ctx, process.send(told, _))
  let progress = received(told)
  assert progress |> list.map(fn(at) { at.shard }) |> list.unique
    == [Some(0), Some(1), None]
  let assert [last, ..] = list.reverse(progress)
  assert last
    == Progress(shard: None, shards: 2, part: Journal, done: 0, total: 1)
  assert verify.folder(options.data_dir <> "/test", silent)
    == Error(error.DataDirInUse(options.data_dir <> "/test"))
}

pub fn a_folder_is_checked_test() {
  use options <- with_options([aggregate.definition(account())])
  with_context(options, fn(ctx) {
    let alice = warp.entity(ctx, "alice")
    let assert Ok(1) = aggregate.append(alice, account(), Credited(1))
    Nil
  })
  let folder = options.data_dir <> "/test"
  let assert Ok(Report(events: 1, records: 0, ..)) =
    verify.folder(folder, silent)
  let assert [first, ..] = shard_files(options.data_dir)
  assert sqlite(first, "DELETE FROM entities; DELETE FROM meta") == []
  let assert Error(error.Corrupt(message)) = verify.folder(folder, silent)
  assert string.contains(message, "shard-0000.db")
  let assert Error(error.IoError(_)) = verify.folder(options.data_dir, silent)
}

fn received(told: process.Subject(Progress)) -> List(Progress) {
  case process.receive(told, 0) {
    Ok(progress) -> [progress, ..received(told)]
    Error(Nil) -> []
  }
}
