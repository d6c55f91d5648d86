//// Backups, and contexts that are restored from them.

import gleam/erlang/process
import gleam/list
import gleam/option.{None, Some}
import gleam/string
import testkit.{afterwards}
import warp.{ReceiptBackup}
import warp/aggregate
import warp/backup.{
  type Backup, AsBefore, Checked, Cut, End, Env, File, KeepAll, LastCuts,
  LastCutsAndAge, Opened, Point, Report, Restored, Service, Time, Verified,
}
import warp/context.{type WarpOptions, Umask, WarpOptions}
import warp/error
import warp/stats.{Every, Once}
import warp_testing.{
  Credited, account, coerce, remove, rename, set_variable, with_context,
  with_options, write_file, write_private_file,
}

const key = "7a1c5f0e93b2d84f6e1a07c95d3b8264f0ac19e7d52b6b38c4e0917fa26d5b83"

fn with_backup(run: fn(WarpOptions, Backup) -> a) -> a {
  use options <- with_options([aggregate.definition(account())])
  let path = options.data_dir <> "/master.key"
  write_private_file(path, <<key:utf8>>)
  run(
    options,
    backup.at(options.data_dir <> "/backup") |> backup.master_key(File(path)),
  )
}

fn credit(ctx: warp.Context, entity: String, amount: Int) -> Nil {
  let assert Ok(_) =
    warp.entity(ctx, entity) |> aggregate.append(account(), Credited(amount))
  Nil
}

fn balance(ctx: warp.Context, entity: String) -> Int {
  let assert Ok(balance) = warp.entity(ctx, entity) |> aggregate.get(account())
  balance
}

pub fn old_segments_are_merged_test() {
  use options, backup <- with_backup
  use ctx <- with_context(options)
  list.each([1, 2, 3, 4], fn(amount) {
    credit(ctx, "alice", amount)
    let assert Ok(Report(merged: 0, ..)) =
      backup |> backup.keep(LastCuts(4)) |> backup.run(ctx, _)
  })
  let merge = fn(keep) { backup |> backup.keep(keep) |> backup.merge(ctx, _) }
  assert merge(AsBefore) == Error(error.MissingOption("keep"))
  let assert Error(error.BadOption("keep", _)) = merge(LastCuts(0))
  let assert Ok(Report(cut: 4, merged: 0, ..)) = merge(KeepAll)
  let assert Ok(Report(merged: 2, ..)) = merge(LastCuts(3))
  let assert Ok(Report(merged: 0, ..)) =
    merge(LastCutsAndAge(1, 24 * 3_600_000))
  let assert Ok([Point(cut: 2, segments: 1, ..), Point(cut: 3, ..), _]) =
    backup.list(backup)
  Nil
}

pub fn each_cut_is_restored_without_what_was_deleted_test() {
  use options, backup <- with_backup
  let stored = process.new_subject()
  let telling = backup |> backup.on_stored(process.send(stored, _))
  with_context(options, fn(ctx) {
    credit(ctx, "alice", 10)
    credit(ctx, "bob", 7)
    let assert Ok(Report(
      cut: 1,
      segments: 1,
      rows: 2,
      events: 2,
      bytes:,
      at:,
      key_pages:,
      merged: 0,
    )) = backup.run(ctx, telling)
    assert key_pages > 0 && bytes > 0 && at > 1_700_000_000_000_000
    credit(ctx, "alice", 5)
    let assert Ok(Report(cut: 2, ..)) = backup.run(ctx, backup)
    let assert Ok(receipt) =
      warp.entity(ctx, "bob") |> warp.delete_with_receipt
    let assert [ReceiptBackup(to:, cut: 3)] = receipt.backups
    assert to == options.data_dir <> "/backup"
    Nil
  })
  let assert Ok(Report(key_pages: 0, segments: 1, ..)) =
    process.receive(stored, 0)

  let assert Ok([
    Point(cut: 1, segments: 1, at: first, ..),
    Point(cut: 2, ..),
    Point(cut: 3, segments: 3, at: last, bytes:),
  ]) = backup.list(backup)
  assert last > first && bytes > 0
  let restored = fn(name, cut) {
    let data_dir = options.data_dir <> "/" <> name
    let assert Ok(restored) =
      backup |> backup.until(cut) |> backup.restore(into: data_dir)
    let assert Restored(context: "test", shards: 2, contents:, ..) = restored
    assert contents.erased == 1
    with_context(WarpOptions(..options, data_dir:), fn(ctx) {
      assert balance(ctx, "bob") == 0
      #(restored.cut, balance(ctx, "alice"))
    })
  }
  assert restored("first", Cut(1)) == #(1, 10)
  assert restored("time", Time(first)) == #(1, 10)
  assert restored("last", End) == #(3, 15)

  let data_dir = options.data_dir <> "/alone"
  let assert Ok(Restored(contents: Opened(events: 2, ..), ..)) =
    backup |> backup.restore_entity("alice", into: data_dir)
  let assert Ok(Checked(cut: 3, older: [], keys_at:, ..)) =
    backup.check(backup)
  assert keys_at > first

  // The same without a key, and with it.
  let told = process.new_subject()
  let assert Ok(Verified(segments: 3, cuts: 3, opened: None)) =
    backup.at(options.data_dir <> "/backup") |> backup.verify
  let assert Ok(Verified(opened: Some(Opened(events: 2, erased: 1, ..)), ..)) =
    backup |> backup.on_progress(process.send(told, _)) |> backup.verify
  let assert Ok(progress) = process.receive(told, 0)
  assert progress.done == 1 && progress.of == 6 && progress.events == 0
}

pub fn backups_go_on_until_they_are_stopped_and_forgotten_test() {
  use options, backup <- with_backup
  use ctx <- with_context(options)
  credit(ctx, "alice", 10)
  assert backup.stop(ctx, backup) == Error(error.NotStarted)
  assert backup.forget(ctx, backup) == Error(error.NotStarted)
  let assert Ok(Report(cut: 1, ..)) =
    backup.start(ctx, backup |> backup.every(1000))
  let assert Ok(stats) = warp.stats(ctx)
  let assert [is] = stats.backups
  assert #(is.to, is.every, is.cut, is.failing)
    == #(options.data_dir <> "/backup", Every(1000), Some(1), None)
  credit(ctx, "alice", 5)
  testkit.wait_until(fn() {
    let assert Ok(points) = backup.list(backup)
    list.length(points) == 2
  })
  assert backup.stop(ctx, backup) == Ok(Nil)
  let assert Ok(stats.Stats(backups: [is], ..)) = warp.stats(ctx)
  assert is.every == Once

  // Its folder is away when an entity is deleted.
  let folder = options.data_dir <> "/backup"
  rename(folder, folder <> ".away")
  write_file(folder, <<"in its way":utf8>>)
  let alice = warp.entity(ctx, "alice")
  let assert Error(error.BackupStillToErase(to:, why: error.IoError(_))) =
    warp.delete(alice)
  assert to == folder
  let assert Ok(stats.Stats(backups: [is], ..)) = warp.stats(ctx)
  let assert Some(stats.BackupFailing(why: error.IoError(_), since:)) =
    is.failing
  assert since > 1_700_000_000_000_000
  testkit.wait_until(fn() {
    backup.forget(ctx, backup) != Error(error.Running)
  })
  assert warp.delete(alice) == Ok(Nil)
  let assert Ok(stats.Stats(backups: [], ..)) = warp.stats(ctx)
}

pub fn keys_are_kept_elsewhere_test() {
  use options, backup <- with_backup
  set_variable("WARP_TEST_MASTER_KEY", key)
  use <- afterwards(fn() { set_variable("WARP_TEST_MASTER_KEY", "") })
  let keys = options.data_dir <> "/keys"
  with_context(options, fn(ctx) {
    credit(ctx, "alice", 10)
    let there =
      backup
      |> backup.keys_at(keys)
      |> backup.master_key(Env("WARP_TEST_MASTER_KEY"))
    let assert Ok(Report(cut: 1, ..)) = backup.run(ctx, there)
    Nil
  })
  let data_dir = options.data_dir <> "/restored"
  assert backup.restore(backup, into: data_dir) == Error(error.NoKeys)
  let there = backup |> backup.keys_at(keys) |> backup.file_access(Umask)
  // What an interrupted restore has left is taken up.
  let assert Ok(Restored(cut: 1, ..)) = backup.restore(there, into: data_dir)
  let assert Error(error.NotEmpty(path)) =
    backup.restore(there, into: data_dir)
  assert path == data_dir <> "/test"
  use ctx <- with_context(WarpOptions(..options, data_dir:))
  assert balance(ctx, "alice") == 10
}

pub fn a_service_wraps_the_key_test() {
  use options, backup <- with_backup
  use ctx <- with_context(options)
  credit(ctx, "alice", 10)
  let wrap = fn(key: BitArray) { Ok(<<"wrapped:":utf8, key:bits>>) }
  let unwrap = fn(wrapped) {
    case wrapped {
      <<"wrapped:":utf8, key:bytes>> -> Ok(key)
      _ -> Error("not mine")
    }
  }
  let with = fn(wrap, unwrap) {
    backup |> backup.master_key(Service("vault", wrap:, unwrap:))
  }
  let assert Error(error.MasterKeyRefused("locked")) =
    backup.run(ctx, with(fn(_) { Error("locked") }, unwrap))
  let assert Ok(Report(cut: 1, ..)) = backup.run(ctx, with(wrap, unwrap))
  let assert Error(error.MasterKeyRefused("locked")) =
    backup.verify(with(wrap, fn(_) { Error("locked") }))
  assert backup.verify(backup) == Error(error.WrongMasterKey)
  let assert Ok(Verified(opened: Some(Opened(events: 1, ..)), ..)) =
    backup.verify(with(wrap, unwrap))
}

pub fn what_is_wrong_is_said_test() {
  use options, backup <- with_backup
  use ctx <- with_context(options)
  let nowhere = backup.at(options.data_dir <> "/nowhere")
  assert backup.run(ctx, nowhere) == Error(error.MissingOption("master_key"))
  assert backup.list(nowhere) == Error(error.NoBackup)
  assert backup.run(ctx, backup.at("") |> backup.master_key(File("x")))
    == Error(error.BadOption("to", error.NotAPath))
  assert backup.start(ctx, backup |> backup.every(1))
    == Error(error.BadOption(
      "every",
      error.NotAnIntegerBetween(1000, 4_294_967_295),
    ))
  let assert Error(error.NoMasterKey(message)) =
    backup.run(ctx, backup |> backup.master_key(Env("WARP_NO_SUCH_KEY")))
  assert string.contains(message, "WARP_NO_SUCH_KEY")
  assert backup.run(ctx, backup |> backup.master_key(Env("")))
    == Error(error.BadOption(
      "master_key",
      error.Because("it is no master key"),
    ))
  assert backup.verify(backup |> backup.until(Cut(0)))
    == Error(error.BadOption(
      "until",
      error.Because("it is no cut: their numbers are from 1 on"),
    ))
  assert backup.restore(backup |> backup.until(coerce(7)), into: "x")
    == Error(error.BadOption(
      "until",
      error.Because("it is no cut: their numbers are from 1 on"),
    ))
  credit(ctx, "alice", 10)
  let assert Ok(_) = backup.run(ctx, backup)
  let restored = options.data_dir <> "/restored"
  assert backup.restore(backup |> backup.until(Cut(2)), into: restored)
    == Error(error.NoSuchCut("{cut,2}"))
  remove(options.data_dir <> "/backup/segments")
  let assert Error(_) = backup.restore(backup, into: restored)
}
