//// Every error, as the engine really returns it.

import gleam/dynamic.{type Dynamic}
import gleam/dynamic/decode
import gleam/erlang/atom
import gleam/erlang/process.{type Pid, type Subject}
import gleam/list
import gleam/option.{Some}
import gleam/string
import testkit.{kill, shard_files, sqlite, with_dir}
import warp
import warp/actor
import warp/aggregate.{AggregateDefinition}
import warp/append
import warp/context.{type WarpOptions, After, Clustered, WarpOptions}
import warp/error.{type Error}
import warp/event
import warp/json
import warp/stats
import warp_testing.{
  Credited, account, coerce, overwrite, rename, with_accounts, with_context,
  with_options, write_file,
}

// Events.

pub fn what_is_wrong_with_an_event_is_said_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let refused = fn(event, field, problem) {
    assert warp.append(alice, event) == Error(error.BadEvent(1, field, problem))
  }
  let text = fn(payload) { event.from_json("Credited", payload) }
  let good = fn() { text("{\"amount\":1}") }

  refused(event.from_json("", "{}"), "type", error.Empty)
  refused(
    event.from_json(string.repeat("x", 513), "{}"),
    "type",
    error.TooLong(513, 512),
  )
  refused(good() |> event.with_id(""), "id", error.Empty)
  refused(
    good() |> event.with_schema_vsn(0),
    "schema_vsn",
    error.NotAPositiveInteger,
  )
  refused(text("[1]"), "payload", error.NotAnObject)
  refused(event.new("Credited", json.int(1)), "payload", error.NotAnObject)
  let assert Error(error.BadEvent(1, "payload", error.InvalidJson(message))) =
    warp.append(alice, text("{\"amount\":}"))
  assert string.contains(message, "line 1 column 11")
  let deep = string.repeat("[", 200) <> string.repeat("]", 200)
  refused(text("{\"a\":" <> deep <> "}"), "payload", error.TooDeep(128))
  let large = string.repeat("x", 1_048_576)
  refused(
    text("{\"a\":\"" <> large <> "\"}"),
    "payload",
    error.TooLarge(1_048_584, 1_048_576),
  )
  refused(
    event.new("Credited", json.object([#("pid", coerce(process.self()))])),
    "payload",
    error.NotJson({ string.inspect(process.self()) |> inspected_pid } <> " at pid"),
  )
  refused(
    good() |> event.with_metadata(json.null()),
    "metadata",
    error.NotAnObject,
  )
  refused(good() |> event.with_id(coerce(<<255>>)), "id", error.NotUtf8)
  refused(
    good() |> event.with_aggregate(coerce(7)),
    "aggregate",
    error.NotABinary,
  )
  // Values that only other languages can pass.
  refused(coerce(7), "", error.NotAMap)
  refused(term("#{type => <<\"A\">>}"), "payload", error.Missing)
  refused(term("#{colour => 1}"), "colour", error.UnknownField)
  assert warp.append_batch(alice, coerce(7))
    == Error(error.BadEvent(1, "", error.NotAList))

  // The number counts from 1, and nothing of the batch is stored.
  assert warp.append_batch(alice, [good(), good(), text("[]")])
    == Error(error.BadEvent(3, "payload", error.NotAnObject))
  assert warp.export(alice) == Ok([])
}

/// `//erl(<0.1.0>)` as the engine shows it.
///
fn inspected_pid(text: String) -> String {
  text |> string.replace("//erl(", "") |> string.replace(")", "")
}

pub fn what_is_wrong_with_a_batch_is_said_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let one = fn(_) { event.from_json("Credited", "{\"amount\":1}") }
  assert warp.append_batch(alice, []) == Error(error.EmptyBatch)
  assert warp.append_batch(alice, many(10_001, one))
    == Error(error.BatchTooLarge(10_001, 10_000))
  let megabyte =
    "{\"amount\":1,\"a\":\"" <> string.repeat("x", 1_000_000) <> "\"}"
  let assert Error(error.BatchTooLargeBytes(bytes, 16_777_216)) =
    warp.append_batch(
      alice,
      many(17, fn(_) { event.from_json("Credited", megabyte) }),
    )
  assert bytes > 16_777_216
  let same = one(1) |> event.with_id("same")
  assert warp.append_batch(alice, [same, same])
    == Error(error.DuplicateEventId("same"))
  assert warp.export(alice) == Ok([])
}

pub fn ids_that_cannot_be_taken_are_refused_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let credited = fn(amount) {
    event.new("Credited", json.object([#("amount", json.int(amount))]))
  }
  let first = credited(1) |> event.with_id("first")
  let assert Ok(1) = warp.append(alice, first)
  assert warp.append(alice, credited(2) |> event.with_id("first"))
    == Error(error.IdConflict(1))
  assert warp.append(alice, credited(2) |> event.with_id("alice#7"))
    == Error(error.ReservedId("alice#7"))
  assert warp.append(alice, credited(2) |> event.with_aggregate("Nobody"))
    == Error(error.UnknownAggregate("Nobody"))
  assert warp.append_with(
      alice,
      credited(2),
      append.options() |> append.expect(append.NoStream),
    )
    == Error(error.WrongExpectedSeq(1))

  let long = string.repeat("x", 513)
  let at = fn(id) { warp.append(warp.entity(ctx, id), credited(1)) }
  assert at("") == Error(error.BadEntityId(error.Empty))
  assert at(long) == Error(error.BadEntityId(error.TooLong(513, 512)))
  assert at(coerce(<<255>>)) == Error(error.BadEntityId(error.NotUtf8))
  assert at(coerce(7)) == Error(error.BadEntityId(error.NotABinary))
  assert warp.export(warp.entity(ctx, ""))
    == Error(error.BadEntityId(error.Empty))
  assert warp.delete(warp.entity(ctx, ""))
    == Error(error.BadEntityId(error.Empty))
}

// Functions that return values of wrong types, as only other languages can.

pub fn nonsense_from_a_function_is_said_test() {
  let odd =
    AggregateDefinition(
      name: "Odd",
      initial_state: dynamic.int(0),
      apply: fn(state, _event) { state },
      project: fn(_, _, _) { [] },
      migrate: fn(evt, version) {
        case version {
          9 -> coerce("no event")
          _ -> evt
        }
      },
    )
  use options <- with_options([odd])
  use ctx <- with_context(options)
  let alice = warp.entity(ctx, "alice")
  let nine = event.from_json("A", "{}") |> event.with_schema_vsn(9)
  assert warp.append(alice, nine)
    == Error(error.BadReturn("migrate", dynamic.string("no event")))
  let assert Error(error.BadReturn("decide", _)) =
    warp.decide(alice, "Odd", fn(_) { Ok(coerce(7)) })
  assert warp.export(alice) == Ok([])
}

// Options.

pub fn what_is_wrong_with_an_option_is_said_test() {
  use options <- with_options([aggregate.definition(account())])
  let refused = fn(options, error) {
    assert start(options) == Error(error)
  }
  let between = error.NotAnIntegerBetween
  refused(context.defaults(), error.MissingOption("context"))
  refused(WarpOptions(..options, context: ""), error.MissingOption("context"))
  refused(WarpOptions(..options, data_dir: ""), error.MissingOption("data_dir"))
  refused(
    WarpOptions(..options, context: "../up"),
    error.BadOption("context", error.NotAName),
  )
  refused(
    WarpOptions(..options, context: string.repeat("x", 201)),
    error.BadOption("context", error.TooLong(201, 200)),
  )
  refused(
    WarpOptions(..options, data_dir: "a\u{0}b"),
    error.BadOption("data_dir", error.NotAPath),
  )
  refused(
    WarpOptions(..options, shards: 0),
    error.BadOption("shards", between(1, 4096)),
  )
  refused(
    WarpOptions(..options, shards: 4097),
    error.BadOption("shards", between(1, 4096)),
  )
  refused(
    WarpOptions(..options, snapshot_every: 0),
    error.BadOption("snapshot_every", error.NotAnIntegerFrom(1)),
  )
  refused(
    WarpOptions(..options, max_pending: 1_000_001),
    error.BadOption("max_pending", between(1, 1_000_000)),
  )
  refused(
    WarpOptions(..options, idle_timeout: After(-1)),
    error.BadOption("idle_timeout", between(0, 4_294_967_295)),
  )
  let cluster = fn(seed_nodes, text) {
    refused(
      WarpOptions(..options, cluster: Clustered(seed_nodes:)),
      error.BadOption("cluster", error.Because(text)),
    )
  }
  cluster(
    ["warp@10.0.0.1"],
    "it needs a VM with a name, such as erl -name warp@10.0.0.1",
  )
  let names = "its seed nodes are not all names of nodes such as warp@10.0.0.1"
  cluster(["warp"], names)
  cluster([coerce(7)], names)
  cluster(many(101, fn(_) { "warp@10.0.0.1" }), "it has more than 100 seed nodes")
  // Values that only other languages can pass.
  refused(
    WarpOptions(..options, durability: coerce("maybe")),
    error.BadOption("durability", error.NotOneOf(["full", "normal"])),
  )
  // No file was created.
  assert shard_files(options.data_dir) == []
}

pub fn what_is_wrong_with_an_aggregate_is_said_test() {
  use options <- with_options([])
  let refused = fn(aggregates, error) {
    assert start(WarpOptions(..options, aggregates:)) == Error(error)
  }
  let named = fn(name) {
    aggregate.new(name, initial: 0, apply: warp_testing.apply)
    |> aggregate.definition
  }
  refused([], error.BadOption("aggregates", error.Empty))
  refused([named("A"), named("B"), named("A")], error.DuplicateAggregate("A"))
  refused([named("")], error.BadAggregate("", "name", error.Empty))
  let long = string.repeat("x", 513)
  refused(
    [named(long)],
    error.BadAggregate(long, "name", error.TooLong(513, 512)),
  )
  refused(
    [named(coerce(<<255>>))],
    error.BadAggregate("", "name", error.NotUtf8),
  )
  refused([named(coerce(7))], error.BadAggregate("", "name", error.NotABinary))
  refused(
    [account() |> aggregate.version(0) |> aggregate.definition],
    error.BadAggregate("Account", "version", error.NotAPositiveInteger),
  )
  refused(
    [
      account()
      |> aggregate.migrate(coerce(fn(x) { x }))
      |> aggregate.definition,
    ],
    error.BadAggregate("Account", "migrate", error.NotAFunction(2)),
  )
  assert shard_files(options.data_dir) == []
}

pub fn options_of_a_call_are_checked_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let good = event.from_json("Credited", "{\"amount\":1}")
  assert warp.append_with(alice, good, append.options() |> append.timeout(-1))
    == Error(error.BadOption(
      "timeout",
      error.NotAnIntegerBetween(0, 4_294_967_295),
    ))
  let assert Error(error.BadOption("expected", error.Because(_))) =
    warp.append_with(
      alice,
      good,
      append.options() |> append.expect(append.Seq(-1)),
    )
  assert warp.export(alice) == Ok([])
}

// Files.

pub fn a_folder_that_is_open_is_refused_test() {
  use options <- with_options([aggregate.definition(account())])
  use _ctx <- with_context(options)
  assert start(options)
    == Error(error.DataDirInUse(options.data_dir <> "/test"))
}

pub fn too_few_files_test() {
  assert reason_of(term("{too_few_files, #{limit => 256, needed => 900}}"))
    == error.TooFewFiles(limit: 256, needed: 900)
}

pub fn nif_not_loaded_test() {
  assert reason_of(term("{nif_not_loaded, <<\"No such file\">>}"))
    == error.NifNotLoaded(message: "No such file")
}

fn closed(options: WarpOptions) -> #(String, String) {
  with_context(options, fn(ctx) {
    many(20, fn(n) {
      let alice = warp.entity(ctx, "alice" <> string.inspect(n))
      let assert Ok(1) = aggregate.append(alice, account(), Credited(5000))
    })
  })
  let assert [first, second] = shard_files(options.data_dir)
  #(first, second)
}

pub fn another_number_of_shards_is_refused_test() {
  use options <- with_options([aggregate.definition(account())])
  let _ = closed(options)
  assert start(WarpOptions(..options, shards: 4))
    == Error(error.ShardCountMismatch(stored: 2, given: 4))
}

pub fn a_file_of_somebody_else_is_refused_test() {
  use options <- with_options([aggregate.definition(account())])
  let #(first, _) = closed(options)
  write_file(first, <<"Dear diary.":utf8>>)
  assert start(options) == Error(error.NotAShard(first))
}

pub fn another_shard_is_refused_test() {
  use options <- with_options([aggregate.definition(account())])
  let #(first, second) = closed(options)
  swap(first, second)
  // With the checksums of their pages.
  swap(
    string.replace(first, ".db", ".sums"),
    string.replace(second, ".db", ".sums"),
  )
  assert start(options)
    == Error(error.WrongIdentity(first, "shard 1 of context test"))
}

fn swap(first: String, second: String) -> Nil {
  rename(first, first <> ".x")
  rename(second, first)
  rename(first <> ".x", second)
}

pub fn a_newer_format_is_refused_test() {
  use options <- with_options([aggregate.definition(account())])
  let #(first, _) = closed(options)
  assert sqlite(first, "PRAGMA user_version = 99") == []
  assert start(options) == Error(error.NewerFormat(first, 99))
}

pub fn a_file_that_was_changed_is_corrupt_test() {
  use options <- with_options([aggregate.definition(account())])
  let #(first, second) = closed(options)
  // The JSON is still valid, and its checksum is wrong.
  let changed =
    overwrite(first, <<"5000":utf8>>, <<"9000":utf8>>)
    + overwrite(second, <<"5000":utf8>>, <<"9000":utf8>>)
  assert changed > 0
  case start(options) {
    Error(error.Corrupt(message)) -> {
      assert message != ""
    }
    Ok(ctx) -> {
      let assert Error(error.Corrupt(message)) =
        warp.entity(ctx, "alice1") |> aggregate.get(account())
      warp.stop(ctx)
      assert message != ""
    }
    Error(other) -> panic as error.to_string(other)
  }
}

pub fn a_folder_that_cannot_be_made_is_an_io_error_test() {
  use dir <- with_dir
  write_file(dir <> "/file", <<"not a folder":utf8>>)
  let assert Error(error.IoError(message)) =
    start(
      WarpOptions(
        ..context.defaults(),
        context: "test",
        data_dir: dir <> "/file",
        aggregates: [aggregate.definition(account())],
      ),
    )
  assert message != ""
}

pub fn a_full_disk_refuses_and_goes_on_when_there_is_room_test() {
  use disk <- warp_testing.with_small_disk
  let options =
    WarpOptions(
      ..context.defaults(),
      context: "test",
      data_dir: disk,
      aggregates: [aggregate.definition(account())],
      shards: 1,
    )
  use ctx <- with_context(options)
  let alice = warp.entity(ctx, "alice")
  let assert Ok(1) = aggregate.append(alice, account(), Credited(1))
  warp_testing.fill(disk <> "/filler")
  let stored = append_until_full(alice, 1)
  assert stored < 2000
  // The refused event is not stored, and the acknowledged events are.
  let assert Ok(events) = warp.export(alice)
  assert list.length(events) == stored
  warp_testing.remove(disk <> "/filler")
  assert aggregate.append(alice, account(), Credited(1)) == Ok(stored + 1)
  testkit.wait_until(fn() { failing_tasks(ctx) == [] })
}

/// The failing background tasks of a context with one shard.
///
fn failing_tasks(context: warp.Context) -> List(stats.Failing) {
  let assert Ok(stats) = warp.stats(context)
  let assert [stats.Open(failing:, ..)] = stats.shards
  failing
}

fn append_until_full(alice: warp.Entity, stored: Int) -> Int {
  let padding = string.repeat("x", 5000)
  let payload =
    json.object([#("amount", json.int(1)), #("padding", json.string(padding))])
  case warp.append(alice, event.new("Credited", payload)) {
    Ok(seq) if seq < 2000 -> append_until_full(alice, seq)
    Ok(_) -> panic as "the disk never got full"
    Error(error.DiskFull) -> stored
    Error(other) -> panic as error.to_string(other)
  }
}

// Processes.

type Held {
  Held(begun: Subject(Subject(Nil)))
}

fn holding() -> actor.Definition(Held, warp_testing.Overdraft) {
  actor.new(account(), fn(_balance, held: Held) {
    let go_on = process.new_subject()
    process.send(held.begun, go_on)
    process.receive_forever(go_on)
    actor.append([Credited(1)])
  })
}

pub fn too_many_requests_are_turned_away_test() {
  use options <- with_options([aggregate.definition(account())])
  use ctx <- with_context(WarpOptions(..options, max_pending: 3))
  let alice = warp.entity(ctx, "alice")
  let begun = process.new_subject()
  let held = alice |> actor.of(holding())
  // One command keeps the entity busy, and two wait.
  let assert Ok(Nil) = actor.send(held, Held(begun))
  let assert Ok(go_on) = process.receive(begun, 60_000)
  let assert Ok(Nil) = actor.send(held, Held(begun))
  let assert Ok(Nil) = actor.send(held, Held(begun))
  assert aggregate.append(alice, account(), Credited(1))
    == Error(error.Overloaded)
  assert actor.send(held, Held(begun)) == Error(error.Overloaded)
  // Once they are carried out, there is room again.
  process.send(go_on, Nil)
  let assert Ok(go_on) = process.receive(begun, 60_000)
  process.send(go_on, Nil)
  let assert Ok(go_on) = process.receive(begun, 60_000)
  process.send(go_on, Nil)
  testkit.wait_until(fn() {
    aggregate.append(alice, account(), Credited(1)) != Error(error.Overloaded)
  })
}

pub fn an_answer_that_does_not_come_in_time_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let begun = process.new_subject()
  let assert Ok(Nil) = alice |> actor.of(holding()) |> actor.send(Held(begun))
  let assert Ok(go_on) = process.receive(begun, 60_000)
  let soon = append.options() |> append.timeout(50) |> append.id("once")
  assert aggregate.append_with(alice, account(), Credited(1), soon)
    == Error(error.Timeout)
  process.send(go_on, Nil)
  // The append is carried out, and its id makes it happen once.
  let later = append.options() |> append.id("once")
  assert aggregate.append_with(alice, account(), Credited(1), later) == Ok(2)
  assert aggregate.get(alice, account()) == Ok(2)
}

pub fn a_process_that_goes_down_interrupts_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let begun = process.new_subject()
  let assert Ok(Nil) = alice |> actor.of(holding()) |> actor.send(Held(begun))
  let assert Ok(_go_on) = process.receive(begun, 60_000)
  let result = process.new_subject()
  let waiting =
    process.spawn(fn() {
      process.send(result, aggregate.append(alice, account(), Credited(1)))
    })
  testkit.wait_until(fn() { warp_testing.is_waiting(waiting) })
  let _ = warp_testing.kill_entity(alice)
  assert process.receive(result, 60_000) == Ok(Error(error.Interrupted))
  assert aggregate.append(alice, account(), Credited(1)) == Ok(1)
}

pub fn a_shard_that_cannot_be_opened_again_is_unavailable_test() {
  use options <- with_options([aggregate.definition(account())])
  use ctx <- with_context(options)
  let alice = warp.entity(ctx, "alice")
  let assert Ok(1) = aggregate.append(alice, account(), Credited(1))
  let assert [first, second] = shard_files(options.data_dir)
  let holds = fn(file) {
    sqlite(file, "SELECT entity FROM events") == ["alice"]
  }
  // The file follows the journal.
  testkit.wait_until(fn() { holds(first) || holds(second) })
  let #(shard, file) = case holds(first) {
    True -> #(0, first)
    False -> #(1, second)
  }
  rename(file, file <> ".gone")
  list.each(shard_owners(ctx), kill)
  testkit.wait_until(fn() {
    warp.export(alice) == Error(error.ShardUnavailable(shard))
  })
  // The append is interrupted while the entity's process still exists.
  testkit.wait_until(fn() {
    aggregate.append(alice, account(), Credited(1))
    == Error(error.ShardUnavailable(shard))
  })
  testkit.wait_until(fn() {
    let assert Ok(stats) = warp.stats(ctx)
    case list.drop(stats.shards, shard) |> list.first {
      Ok(stats.Unavailable(shard: number, why: Some(error.Corrupt(_)))) ->
        number == shard
      _ -> False
    }
  })
  // The shard opens by itself.
  rename(file <> ".gone", file)
  testkit.wait_until(fn() {
    warp.export(alice) != Error(error.ShardUnavailable(shard))
  })
  assert aggregate.get(alice, account()) == Ok(1)
}

@external(erlang, "warp_testing_ffi", "shard_owners")
fn shard_owners(context: warp.Context) -> List(Pid)

pub fn a_context_that_was_stopped_answers_so_test() {
  use options <- with_options([aggregate.definition(account())])
  let assert Ok(ctx) = warp.start(options)
  let alice = warp.entity(ctx, "alice")
  warp.stop(ctx)
  warp.stop(ctx)
  let good = event.from_json("Credited", "{\"amount\":1}")
  assert warp.append(alice, good) == Error(error.ContextStopped)
  assert warp.get(alice, "Account") == Error(error.ContextStopped)
  assert warp.history(alice) == Error(error.ContextStopped)
  assert warp.export(alice) == Error(error.ContextStopped)
  assert warp.delete(alice) == Error(error.ContextStopped)
  assert warp.stats(ctx) == Error(error.ContextStopped)
  assert warp.decide(alice, "Account", fn(_) { Ok([]) })
    == Error(error.ContextStopped)
}

// Reasons that these tests cannot provoke are passed to the conversion.

pub fn reasons_of_the_engine_have_a_variant_each_test() {
  let variant = fn(reason: String) -> Error(Nil) { reason_of(term(reason)) }
  assert variant("{application_not_started, ssl, not_there}")
    == error.ApplicationNotStarted("ssl: not_there")
  assert variant("{internal, <<\"x\">>}") == error.Internal("x")
  assert variant("{not_a_projection, <<\"/p\">>}") == error.NotAProjection("/p")
  assert variant("{was_projected, <<\"/p\">>}") == error.WasProjected("/p")
  assert variant("{target_refused, <<\"x\">>}") == error.TargetRefused("x")
  assert variant("{no_certificate_in, \"/x.pem\"}")
    == error.NoCertificateIn("/x.pem")
  assert variant("{cannot_read, \"/x.pem\", enoent}")
    == error.CannotRead("/x.pem", "enoent")
  assert variant("{no_certificates_of_this_system, no_cacerts_found}")
    == error.NoCertificatesOfThisSystem("no_cacerts_found")
  assert variant("{unknown_option, colour}") == error.UnknownOption("colour")
  assert variant("{bad_entity_id, reserved}")
    == error.BadEntityId(error.Reserved)
  assert variant("{bad_entity_id, not_a_handle}")
    == error.BadEntityId(error.NotAHandle)
  assert variant("{bad_saga_id, not_a_saga}")
    == error.BadSagaId(error.NotASaga)
  assert variant("no_event") == error.NoEvent
  assert variant("{entity_not_empty, #{last_seq => 7, differs => 3}}")
    == error.EntityNotEmpty(7, 3)
  assert variant("{import_too_large, 2, 1}") == error.ImportTooLarge(2, 1)
  assert variant("{import_too_large_bytes, 2, 1}")
    == error.ImportTooLargeBytes(2, 1)
  assert variant("{bad_option, aggregates, not_a_list}")
    == error.BadOption("aggregates", error.NotAList)
  assert variant("{bad_option, aggregates, {<<\"$warp\">>, name, reserved}}")
    == error.BadAggregate("$warp", "name", error.Reserved)
  assert variant("{apply_failed, {exit, gone, []}}")
    == error.ApplyFailed("exit: gone")
  assert variant("{apply_failed, {throw, ball, [{lists, map, [1, 2], []}]}}")
    == error.ApplyFailed("throw: ball (lists.map/2)")
  assert variant("{stale_function, #{'fun' => <<\"fun a:b/2\">>}}")
    == error.StaleFunction("fun a:b/2")
  // Projections and sagas.
  assert variant("no_projections") == error.NoProjections
  assert variant("read_only") == error.ReadOnly
  assert variant("{sql_error, <<\"no such table: t\">>}")
    == error.SqlError("no such table: t")
  assert variant("{too_many_rows, 10}") == error.TooManyRows(10)
  assert variant("{result_too_large, 64}") == error.ResultTooLarge(64)
  assert variant("{query_too_large, 256}") == error.QueryTooLarge(256)
  assert variant("{stalled, reading}") == error.Stalled("reading")
  assert variant("{bad_param, 2, {too_long, 9, 8}}")
    == error.BadParameter(2, error.TooLong(9, 8))
  assert variant("{bad_params, {expected, 1, given, 2}}")
    == error.BadParameters(error.Because(
      "the statement has 1 parameters, and 2 were given",
    ))
  assert variant("{bad_params, not_a_list}")
    == error.BadParameters(error.NotAList)
  assert variant("{target_away, nxdomain}") == error.TargetAway("nxdomain")
  assert variant("{set_aside, 7}") == error.SetAside(7)
  assert variant("rebuild_due") == error.RebuildDue
  assert variant("not_set_aside") == error.NotSetAside
  assert variant("already_running") == error.AlreadyRunning
  assert variant("not_running") == error.NotRunning
  assert variant("cancelled") == error.Cancelled
  assert variant(
      "{still_to_erase, #{projections => [<<\"t\">>], target => rqlite, reason => away}}",
    )
    == error.StillToErase(["t"], "away")
  assert variant(
      "{still_to_erase, #{projections => [], target => backup, "
      <> "reason => {<<\"/mnt\">>, not_started}}}",
    )
    == error.BackupStillToErase("/mnt", error.NotStarted)
  assert variant("{bad_saga_id, empty}") == error.BadSagaId(error.Empty)
  assert variant("{bad_saga, {too_large, 2, 1}}")
    == error.BadSaga(error.TooLarge(2, 1))
  assert variant("{bad_step, 1, {forward, {payload, {too_deep, 128}}}}")
    == error.BadStep(1, "forward payload", error.TooDeep(128))
  assert variant("{bad_step, 1, {forward, {step_arity, <<\"x\">>, 3, [2]}}}")
    == error.BadStep(
      1,
      "forward",
      error.Because("the step function x is one that compensates"),
    )
  assert variant("empty_saga") == error.EmptySaga
  assert variant("{too_many_steps, 1001, 1000}")
    == error.TooManySteps(1001, 1000)
  assert variant("{bad_step, 0, {entity, missing}}")
    == error.BadStep(0, "entity", error.Missing)
  assert variant("{saga_conflict, <<\"x\">>}") == error.SagaConflict("x")
  assert variant("not_found") == error.SagaNotFound
  assert variant(
      "{saga_waits, #{step => 1, entity => <<\"x\">>, direction => forward, "
      <> "reason => {unknown_aggregate, <<\"A\">>}, since => 7}}",
    )
    == error.SagaWaits(1, "x", error.UnknownAggregate("A"))
  assert variant("{step_arity, <<\"x\">>, 3, [2]}") == error.StepArity("x", 3)
  assert variant("{step_not_exported, <<\"x\">>, {m, f, 2}}")
    == error.StepNotExported("x", "m:f/2")
  assert variant("{bad_step, 1, {aggregate, {unknown_aggregate, <<\"A\">>}}}")
    == error.BadStep(
      1,
      "aggregate",
      error.Because("A is none that the context was started with"),
    )
  assert variant("{not_stuck, running}") == error.NotStuck("running")
  assert variant("{bad_note, empty}") == error.BadNote(error.Empty)
  assert variant("{bad_cursor, not_a_cursor}")
    == error.BadCursor(error.Because("it is none"))
  assert variant("{bad_cursor, of_an_entity}")
    == error.BadCursor(error.Because("it is that of an entity"))
  assert variant("{bad_cursor, of_a_context}")
    == error.BadCursor(error.Because("it is that of a context"))
  assert variant("{bad_cursor, of_another_entity}")
    == error.BadCursor(error.Because("it is that of another entity"))
  assert variant("{bad_cursor, {of_so_many_shards, 16}}")
    == error.BadCursor(error.Because(
      "it is that of a context with 16 shards",
    ))
  assert variant("{bad_cursor, {ahead_of_log, 3}}")
    == error.BadCursor(error.Because("it is ahead of the log of shard 3"))
  assert variant("subscription_ended") == error.SubscriptionEnded
  assert variant("{others_say, 2}") == error.OthersSay(2)
  assert variant("unknown_subscription") == error.UnknownSubscription
  assert variant("not_waiting") == error.NotWaiting
  assert variant("{behind, [<<\"a\">>, <<\"b\">>]}") == error.Behind(["a", "b"])
  assert reason_of(coerce(#(atom.create("in_use"), process.self())))
    == error.InUse(process.self())
  assert variant("{bad_command, 7}") == error.BadCommand(dynamic.int(7))
  assert variant("{command_failed, 2, {id_conflict, 3}}")
    == error.CommandFailed(2, error.IdConflict(3))
  assert variant("{until_failed, {exit, gone, []}}")
    == error.UntilFailed("exit: gone")
  assert variant("{until_failed, {error, {warp_undecodable, <<\"A\">>, []}, []}}")
    == error.UndecodableEvent("A", [])
  assert variant("{bad_option, subscribers, {duplicate_name, <<\"mail\">>}}")
    == error.BadOption(
      "subscribers",
      error.Because("two have the name mail"),
    )
  assert variant("{bad_option, subscribers, {<<\"mail\">>, name, empty}}")
    == error.BadOption("name of the subscriber mail", error.Empty)
  assert variant("entity_deleted") == error.EntityDeleted
  assert variant("{unknown_step, <<\"x\">>}") == error.UnknownStep("x")
  assert variant("{shortened, <<\"x\">>}") == error.Shortened("x")
  // Backups.
  assert variant("{master_key_refused, locked}")
    == error.MasterKeyRefused("locked")
  assert variant("{other_backup, #{context => <<\"bank\">>, shards => 16}}")
    == error.OtherBackup("bank", 16)
  assert variant("{forked, #{shard => 3, position => 40}}")
    == error.Forked(3, 40)
  assert variant("{no_such_cut, {cut, 9}}") == error.NoSuchCut("{cut,9}")
  assert variant("{unreachable, timeout}") == error.Unreachable("timeout")
  assert variant("{bad_option, master_key, not_a_master_key}")
    == error.BadOption("master_key", error.Because("it is no master key"))
  // A reason of a newer engine.
  let assert error.Unknown(reason) = variant("{from_the_future, 7}")
  assert decode.run(reason, decode.at([1], decode.int)) == Ok(7)
}

pub fn every_error_says_what_to_do_test() {
  let says = fn(error: Error(String), text: String) {
    assert error.to_string(error) == text
  }
  says(error.Refused("too little"), "Refused: \"too little\".")
  says(
    error.WrongExpectedSeq(3),
    "The log ends at seq 3, not where it was expected to end. Read again and decide again.",
  )
  says(
    error.BadEvent(2, "payload", error.TooDeep(128)),
    "The payload of event 2 is nested more than 128 levels deep.",
  )
  says(error.BadEvent(1, "", error.NotAMap), "Event 1 is not a map.")
  says(
    error.BadOption("shards", error.NotAnIntegerBetween(1, 4096)),
    "The option shards is not an integer from 1 to 4096.",
  )
  says(
    error.TooFewFiles(limit: 256, needed: 900),
    "The VM may have 256 files open, and the context needs 900. Raise the "
      <> "limit, for example with ulimit -n, or use fewer shards.",
  )
  says(
    error.NifNotLoaded(message: "No such file"),
    "Warp's native library was not loaded: No such file. Build it with make "
      <> "nif in Warp's folder, which needs Rust and Erlang, and start the VM "
      <> "again.",
  )
  says(
    error.ShardCountMismatch(stored: 16, given: 8),
    "The context was created with 16 shards, not 8. Set shards to 16.",
  )
  says(
    error.UndecodableState([decode.DecodeError("Int", "String", ["a", "0"])]),
    "The decoder failed on the state: expected Int, found String at a.0",
  )
  says(
    error.BadCursor(error.Because("it is that of another entity")),
    "The cursor is not accepted: it is that of another entity.",
  )
  // Every variant has a text.
  [
    error.Rejected(dynamic.int(1)),
    error.IdConflict(1),
    error.DuplicateEventId("x"),
    error.ReservedId("x"),
    error.NoEvent,
    error.EntityNotEmpty(2, 1),
    error.ImportTooLarge(2, 1),
    error.ImportTooLargeBytes(2, 1),
    error.BadEntityId(error.NotAHandle),
    error.BadSagaId(error.NotASaga),
    error.BadEntityId(error.Reserved),
    error.UnknownAggregate("x"),
    error.EmptyBatch,
    error.BatchTooLarge(1, 2),
    error.BatchTooLargeBytes(1, 2),
    error.UndecodableEvent("x", []),
    error.UndecodableArguments([]),
    error.EncodeFailed("x"),
    error.ApplyFailed("x"),
    error.ValidateFailed("x"),
    error.MigrateFailed("x"),
    error.DecideFailed("x"),
    error.StaleFunction("x"),
    error.BadReturn("x", dynamic.int(1)),
    error.Overloaded,
    error.Timeout,
    error.Interrupted,
    error.ShardUnavailable(1),
    error.DiskFull,
    error.IoError("x"),
    error.Corrupt("x"),
    error.ContextStopped,
    error.MissingOption("x"),
    error.UnknownOption("x"),
    error.BadAggregate("", "name", error.Empty),
    error.BadAggregate("x", "version", error.NotAPositiveInteger),
    error.DuplicateAggregate("x"),
    error.DataDirInUse("x"),
    error.NotAShard("x"),
    error.WrongIdentity("x", "y"),
    error.NewerFormat("x", 2),
    error.ApplicationNotStarted("x"),
    error.NoProjections,
    error.ReadOnly,
    error.SqlError("x"),
    error.TooManyRows(1),
    error.ResultTooLarge(1),
    error.QueryTooLarge(1),
    error.Stalled("x"),
    error.RebuildDue,
    error.BadParameter(1, error.NotUtf8),
    error.BadParameters(error.NotAList),
    error.TargetAway("x"),
    error.SetAside(1),
    error.NotSetAside,
    error.AlreadyRunning,
    error.NotRunning,
    error.Cancelled,
    error.StillToErase(["x"], "y"),
    error.BadSagaId(error.Empty),
    error.BadSaga(error.TooLarge(2, 1)),
    error.EmptySaga,
    error.TooManySteps(1, 2),
    error.BadStep(0, "x", error.Missing),
    error.SagaConflict("x"),
    error.SagaNotFound,
    error.SagaWaits(1, "x", error.UnknownAggregate("y")),
    error.NotStuck("x"),
    error.BadNote(error.Empty),
    error.BadCursor(error.Because("it is none")),
    error.SubscriptionEnded,
    error.OthersSay(2),
    error.UnknownSubscription,
    error.NotWaiting,
    error.Behind(["x", "y"]),
    error.InUse(process.self()),
    error.BadCommand(dynamic.int(1)),
    error.CommandFailed(2, error.DiskFull),
    error.UntilFailed("x"),
    error.AlreadyStarted("x"),
    error.FolderOfCluster("x"),
    error.FolderOfNode("x"),
    error.FolderNotEmpty("x"),
    error.ClusterRefused("x", "y"),
    error.NodeUnavailable("x"),
    error.UnknownOutcome("x"),
    error.InDoubt("x"),
    error.NotInDoubt,
    error.LastMember,
    error.NotClustered,
    error.EntityDeleted,
    error.UnknownStep("x"),
    error.StepArity("x", 3),
    error.StepNotExported("x", "m:f/2"),
    error.Internal("x"),
    error.NotAProjection("x"),
    error.WasProjected("x"),
    error.TargetRefused("x"),
    error.NoCertificateIn("x"),
    error.CannotRead("x", "y"),
    error.NoCertificatesOfThisSystem("x"),
    error.Shortened("x"),
    error.NoBackup,
    error.NoKeys,
    error.NotStarted,
    error.Running,
    error.TargetInUse,
    error.MergedMeanwhile,
    error.WrongMasterKey,
    error.NoMasterKey("x"),
    error.MasterKeyRefused("x"),
    error.OtherBackup("x", 2),
    error.Forked(1, 2),
    error.NoSuchCut("x"),
    error.NotEmpty("x"),
    error.OtherRestore("x"),
    error.BackupDamaged("x"),
    error.KeyUnknown("x"),
    error.Unreachable("x"),
    error.BackupStillToErase("x", error.Timeout),
    error.Unknown(dynamic.int(1)),
  ]
  |> list.each(fn(error: Error(Nil)) {
    assert string.length(error.to_string(error)) > 0
  })
}

fn start(options: WarpOptions) -> Result(warp.Context, Error(Nil)) {
  warp.start(options)
}

fn many(count: Int, make: fn(Int) -> a) -> List(a) {
  case count {
    0 -> []
    _ -> [make(count), ..many(count - 1, make)]
  }
}

/// An Erlang term from its text.
///
@external(erlang, "warp_testing_ffi", "term")
fn term(text: String) -> a

@external(erlang, "warp_error_ffi", "reason")
fn reason_of(reason: Dynamic) -> Error(reason)
