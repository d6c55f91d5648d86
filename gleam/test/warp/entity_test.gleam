//// Every function of `warp` against the engine, with events without types.

import gleam/dict
import gleam/dynamic
import gleam/dynamic/decode.{type DecodeError, type Decoder}
import gleam/int
import gleam/list
import gleam/option.{None}
import warp
import warp/aggregate.{type AggregateDefinition, AggregateDefinition}
import warp/append
import warp/call
import warp/context.{Normal, ReadThrough, WarpOptions}
import warp/error
import warp/event.{type Event}
import warp/history
import warp/json
import warp/stats
import warp_testing.{with_context, with_options}

fn counter() -> AggregateDefinition {
  AggregateDefinition(
    name: "Counter",
    initial_state: dynamic.int(0),
    apply: fn(state, event) {
      let assert Ok(count) = decode.run(state, decode.int)
      let assert Ok(by) = event.decode(event, decode.at(["by"], decode.int))
      dynamic.int(count + by)
    },
    project: fn(_id, _state, _event) { [] },
    migrate: fn(evt, _vsn) { evt },
  )
}

fn by(amount: Int) -> Event {
  event.new("Counted", json.object([#("by", json.int(amount))]))
}

fn counting(run: fn(warp.Entity) -> a) -> a {
  use options <- with_options([counter()])
  use ctx <- with_context(options)
  run(warp.entity(ctx, "alice"))
}

pub fn append_answers_the_seq_test() {
  use alice <- counting
  assert alice |> warp.append(by(1)) == Ok(1)
  assert alice |> warp.append(by(2)) == Ok(2)
  assert alice |> warp.get_as("Counter", decode.int) == Ok(3)
}

pub fn a_batch_answers_its_first_and_last_seq_test() {
  use alice <- counting
  assert alice |> warp.append_batch([by(1), by(2), by(3)]) == Ok(#(1, 3))
  assert alice |> warp.append_batch([by(4)]) == Ok(#(4, 4))
  assert alice |> warp.get_as("Counter", decode.int) == Ok(10)
}

pub fn an_event_comes_back_with_all_that_it_was_given_test() {
  use alice <- counting
  let given =
    by(7)
    |> event.with_aggregate("Counter")
    |> event.with_id("order-17")
    |> event.with_schema_vsn(3)
    |> event.with_metadata(json.object([#("by", json.string("bob"))]))
  assert event.seq(given) == 0
  assert event.recorded_at(given) == 0
  assert alice |> warp.append(given) == Ok(1)
  assert alice |> warp.append(given) == Ok(1)

  let assert Ok([stored]) = alice |> warp.export()
  assert event.type_(stored) == "Counted"
  assert event.decode(stored, decode.at(["by"], decode.int)) == Ok(7)
  assert event.aggregate(stored) == "Counter"
  assert event.id(stored) == "order-17"
  assert event.schema_vsn(stored) == 3
  assert decode.run(event.metadata(stored), decode.at(["by"], decode.string))
    == Ok("bob")
  assert event.seq(stored) == 1
  assert event.recorded_at(stored) > 1_600_000_000_000_000
}

pub fn an_event_without_more_has_the_rest_by_default_test() {
  let plain = event.from_json("Counted", "{\"by\":1}")
  assert event.aggregate(plain) == ""
  assert event.id(plain) == ""
  assert event.schema_vsn(plain) == 0
  assert decode.run(
      event.metadata(plain),
      decode.dict(decode.string, decode.int),
    )
    == Ok(dict.new())

  use alice <- counting
  assert alice |> warp.append(plain) == Ok(1)
  let assert Ok([stored]) = alice |> warp.history()
  assert event.aggregate(stored) == "Counter"
  assert event.id(stored) == "alice#1"
  assert event.schema_vsn(stored) == 1
  assert event.decode(stored, decode.at(["by"], decode.int)) == Ok(1)
}

pub fn every_kind_of_json_comes_back_test() {
  use alice <- counting
  let payload =
    json.object([
      #("by", json.int(1)),
      #("text", json.string("tea \"ü\"\u{1F600}")),
      #("big", json.int(123_456_789_012_345_678_901_234_567_890)),
      #("half", json.float(0.5)),
      #("yes", json.bool(True)),
      #("none", json.null()),
      #("list", json.array([1, 2], of: json.int)),
      #("nested", json.preprocessed_array([json.object([])])),
    ])
  assert alice |> warp.append(event.new("Counted", payload)) == Ok(1)
  let assert Ok([stored]) = alice |> warp.export()
  assert field(stored, "text", decode.string) == Ok("tea \"ü\"\u{1F600}")
  assert field(stored, "big", decode.int)
    == Ok(123_456_789_012_345_678_901_234_567_890)
  assert field(stored, "half", decode.float) == Ok(0.5)
  assert field(stored, "yes", decode.bool) == Ok(True)
  assert field(stored, "none", decode.optional(decode.int)) == Ok(None)
  assert field(stored, "list", decode.list(decode.int)) == Ok([1, 2])
  assert field(
      stored,
      "nested",
      decode.list(decode.dict(decode.string, decode.int)),
    )
    == Ok([dict.new()])
}

fn field(
  event: Event,
  name: String,
  decoder: Decoder(a),
) -> Result(a, List(DecodeError)) {
  event.decode(event, decode.at([name], decoder))
}

pub fn an_append_is_made_where_it_is_expected_test() {
  use alice <- counting
  let expecting = fn(expected) { append.options() |> append.expect(expected) }
  assert alice |> warp.append_with(by(1), expecting(append.NoStream)) == Ok(1)
  assert alice |> warp.append_with(by(1), expecting(append.Seq(1))) == Ok(2)
  assert alice |> warp.append_with(by(1), expecting(append.Any)) == Ok(3)
  assert alice |> warp.append_with(by(1), expecting(append.NoStream))
    == Error(error.WrongExpectedSeq(actual: 3))
  assert alice |> warp.append_with(by(1), expecting(append.Seq(2)))
    == Error(error.WrongExpectedSeq(actual: 3))
  assert alice
    |> warp.append_batch_with([by(1), by(1)], expecting(append.Seq(2)))
    == Error(error.WrongExpectedSeq(actual: 3))
  assert alice
    |> warp.append_batch_with([by(1), by(1)], expecting(append.Seq(3)))
    == Ok(#(4, 5))
}

pub fn an_append_takes_id_and_metadata_as_options_test() {
  use alice <- counting
  let options =
    append.options()
    |> append.id("order-17")
    |> append.metadata(json.object([#("trace", json.string("t1"))]))
    |> append.timeout(60_000)
  assert alice |> warp.append_with(by(1), options) == Ok(1)
  assert alice |> warp.append_with(by(1), options) == Ok(1)
  let assert Ok([stored]) = alice |> warp.export()
  assert event.id(stored) == "order-17"
  assert decode.run(event.metadata(stored), decode.at(["trace"], decode.string))
    == Ok("t1")

  // Each event of a batch has an id of its own.
  assert alice |> warp.append_batch_with([by(1)], options)
    == Error(error.BadOption(
      option: "id",
      problem: error.Because("each event of a batch has an id of its own"),
    ))
  let options =
    append.options() |> append.metadata(json.object([#("trace", json.int(2))]))
  assert alice |> warp.append_batch_with([by(1), by(2)], options) == Ok(#(2, 3))
  let assert Ok([_, second, third]) = alice |> warp.export()
  let trace = decode.at(["trace"], decode.int)
  assert decode.run(event.metadata(second), trace) == Ok(2)
  assert decode.run(event.metadata(third), trace) == Ok(2)
}

pub fn decide_acts_on_the_state_or_refuses_test() {
  use alice <- counting
  let assert Ok(1) = alice |> warp.append(by(5))
  let take = fn(amount) {
    warp.decide(alice, "Counter", fn(state) {
      let assert Ok(count) = decode.run(state, decode.int)
      case count >= amount {
        True -> Ok([by(0 - amount), by(0)])
        False -> Error("only " <> int.to_string(count))
      }
    })
  }
  assert take(3) == Ok([2, 3])
  assert take(3) == Error(error.Refused("only 2"))
  assert alice |> warp.get_as("Counter", decode.int) == Ok(2)
  assert warp.decide(alice, "Counter", fn(_state) { Ok([]) }) == Ok([])
  let assert Ok(events) = alice |> warp.export()
  assert list.length(events) == 3
}

pub fn an_entity_without_events_has_the_initial_state_test() {
  use alice <- counting
  assert alice |> warp.get("Counter") == Ok(dynamic.int(0))
  assert alice |> warp.history() == Ok([])
  assert alice |> warp.export() == Ok([])
  assert alice |> warp.delete() == Ok(Nil)
}

pub fn the_past_can_be_read_test() {
  use alice <- counting
  let assert Ok(#(1, 4)) =
    alice |> warp.append_batch([by(1), by(2), by(3), by(4)])
  let at = fn(point) { alice |> warp.state_at("Counter", point) }
  assert at(history.Seq(0)) == Ok(dynamic.int(0))
  assert at(history.Seq(2)) == Ok(dynamic.int(3))
  assert at(history.Seq(99)) == Ok(dynamic.int(10))
  assert at(history.Time(0)) == Ok(dynamic.int(0))

  let assert Ok([_, _, _, last]) = alice |> warp.export()
  let recorded = event.recorded_at(last)
  assert at(history.Time(microseconds: recorded)) == Ok(dynamic.int(10))
}

pub fn a_part_of_the_history_can_be_read_test() {
  use alice <- counting
  let assert Ok(#(1, 4)) =
    alice |> warp.append_batch([by(1), by(2), by(3), by(4)])
  let seqs = fn(options) {
    let assert Ok(events) = alice |> warp.history_with(options)
    list.map(events, event.seq)
  }
  let options = history.options()
  assert seqs(options) == [1, 2, 3, 4]
  assert seqs(options |> history.from(3)) == [3, 4]
  assert seqs(options |> history.limit(2)) == [1, 2]
  assert seqs(options |> history.backward) == [4, 3, 2, 1]
  assert seqs(
      options |> history.backward |> history.from(3) |> history.limit(2),
    )
    == [3, 2]
  // The last setting counts.
  assert seqs(options |> history.limit(1) |> history.limit(3)) == [1, 2, 3]
  assert seqs(options |> history.timeout(60_000)) == [1, 2, 3, 4]
  assert alice |> warp.history_with(options |> history.as_stored) == alice |> warp.export()
  assert alice |> warp.history_with(options |> history.limit(0))
    == Error(error.BadOption("limit", error.NotAnIntegerFrom(1)))
}

pub fn a_deleted_entity_is_gone_and_may_begin_anew_test() {
  use alice <- counting
  let assert Ok(#(1, 2)) = alice |> warp.append_batch([by(1), by(2)])
  let assert Ok(export) = alice |> warp.export()
  let assert Ok(Nil) = alice |> warp.delete()
  assert alice |> warp.export() == Ok([])
  assert alice |> warp.get("Counter") == Ok(dynamic.int(0))

  // An export can be appended again as it is.
  assert alice |> warp.append_batch(export) == Ok(#(1, 2))
  let assert Ok(again) = alice |> warp.export()
  assert list.map(again, event.payload) == list.map(export, event.payload)
}

pub fn a_receipt_says_what_was_erased_test() {
  use alice <- counting
  let assert Ok(#(1, 2)) = alice |> warp.append_batch([by(1), by(2)])
  let assert Ok(receipt) = alice |> warp.delete_with_receipt()
  assert receipt.events == 2
  assert receipt.entity == "alice"
  assert list.contains(receipt.erased_from, "log")
  assert list.length(receipt.nodes) == 1
  assert receipt.backups == []
  assert receipt.erased_at > 1_700_000_000_000_000
  let assert Ok(empty) = alice |> warp.delete_with_receipt()
  assert empty.events == 0
}

pub fn everything_is_there_after_a_restart_test() {
  use options <- with_options([counter()])
  let options = WarpOptions(..options, mode: ReadThrough, durability: Normal)
  let written =
    with_context(options, fn(ctx) {
      let alice = warp.entity(ctx, "alice")
      let assert Ok(#(1, 2)) = alice |> warp.append_batch([by(1), by(2)])
      warp.export(alice)
    })
  use ctx <- with_context(options)
  let alice = warp.entity(ctx, "alice")
  assert warp.export(alice) == written
  assert alice |> warp.get_as("Counter", decode.int) == Ok(3)
}

pub fn migrate_is_given_every_event_and_its_version_test() {
  use options <- with_options([counter_of_version_two()])
  use ctx <- with_context(options)
  let alice = warp.entity(ctx, "alice")
  let old = event.from_json("Added", "{\"amount\":5}")
  let assert Ok(1) = alice |> warp.append(old)
  let assert Ok(2) = alice |> warp.append(by(1) |> event.with_schema_vsn(2))
  assert alice |> warp.get_as("Counter", decode.int) == Ok(6)

  // A history has migrated events, an export has them as they were stored.
  let assert Ok(migrated) = alice |> warp.history()
  assert list.map(migrated, event.type_) == ["Counted", "Counted"]
  let assert Ok(stored) = alice |> warp.export()
  assert list.map(stored, event.type_) == ["Added", "Counted"]
}

fn counter_of_version_two() -> AggregateDefinition {
  let assert AggregateDefinition(name:, initial_state:, apply:, project:, ..) =
    counter()
  AggregateDefinition(
    name:,
    initial_state:,
    apply:,
    project:,
    migrate: fn(evt, vsn) {
      case vsn, event.type_(evt) {
        1, "Added" -> {
          let assert Ok(amount) =
            event.decode(evt, decode.at(["amount"], decode.dynamic))
          evt
          |> event.with_type("Counted")
          |> event.with_payload(
            json.object([#("by", json.from_dynamic(amount))]),
          )
        }
        _, _ -> evt
      }
    },
  )
}

pub fn stats_count_what_was_stored_test() {
  use options <- with_options([counter()])
  use ctx <- with_context(options)
  let alice = warp.entity(ctx, "alice")
  let assert Ok(#(1, 3)) = alice |> warp.append_batch([by(1), by(2), by(3)])
  let assert Ok(4) = alice |> warp.append(by(1))
  let assert Ok(Nil) = warp.entity(ctx, "bob") |> warp.delete()
  let assert Ok(stats) = warp.stats(ctx)
  assert stats.context == "test"
  assert stats.appends == 2
  assert stats.events == 4
  assert stats.commits >= 2
  assert stats.failed_commits == 0
  assert stats.resident_entities >= 1
  assert stats.file_bytes > 0
  let shards =
    decode.field(atom("shards"), decode.list(decode.dynamic), decode.success)
  let assert Ok([_, _]) = decode.run(stats.all, shards)

  let assert [
    stats.Open(shard: 0, failing: [], ..),
    stats.Open(shard: 1, failing: [], ..),
  ] = stats.shards
  let sum = fn(of: fn(stats.Shard) -> Int) {
    list.fold(stats.shards, 0, fn(sum, shard) { sum + of(shard) })
  }
  assert sum(fn(shard) {
      let assert stats.Open(events:, ..) = shard
      events
    })
    == 4
  assert sum(fn(shard) {
      let assert stats.Open(erased_entities:, ..) = shard
      erased_entities
    })
    == stats.erased_entities
  // Each commit is counted in both histograms.
  list.each(stats.shards, fn(shard) {
    let assert stats.Open(commits:, commit_us:, sync_us:, queue_limit:, ..) =
      shard
    assert counted(commit_us) == commits
    assert counted(sync_us) == commits
    assert queue_limit > 0
  })
  warp.stop(ctx)
  assert warp.stats(ctx) == Error(error.ContextStopped)
}

pub fn exported_events_are_put_back_test() {
  use options <- with_options([counter()])
  use ctx <- with_context(options)
  let alice = warp.entity(ctx, "alice")
  let assert Ok(1) = warp.append(alice, by(1) |> event.with_id("k"))
  let assert Ok(2) = warp.append(alice, by(2))
  let assert Ok(events) = warp.export(alice)
  assert warp.import_events(alice, events) == Ok(2)
  let assert Ok(Nil) = warp.delete(alice)
  assert warp.import_events(alice, events) == Ok(2)
  assert warp.export(alice) == Ok(events)
  let assert Ok([first, ..]) = Ok(events)
  assert warp.import_events(alice, [first |> event.with_id("other")])
    == Error(error.EntityNotEmpty(last_seq: 2, differs: 1))
  assert warp.import_events_with(
      warp.entity(ctx, "bob"),
      [by(1)],
      call.options() |> call.timeout(5000),
    )
    == Error(error.BadEvent(1, "seq", error.Missing))
  assert warp.import_events(alice, []) == Error(error.EmptyBatch)
}

pub fn a_wrong_time_is_corrected_test() {
  use options <- with_options([counter()])
  use ctx <- with_context(options)
  let alice = warp.entity(ctx, "alice")
  let assert Ok(1) = warp.append(alice, by(1))
  let time = 1_600_000_000_000_000
  assert warp.correct_time(alice, seq: 1, recorded_at: time) == Ok(Nil)
  let assert Ok([event]) = warp.export(alice)
  assert event.recorded_at(event) == time
  assert warp.correct_time(alice, seq: 2, recorded_at: time)
    == Error(error.NoEvent)
  let assert Error(error.BadOption("recorded_at", _)) =
    warp.correct_time(alice, seq: 1, recorded_at: 0)
}

fn counted(histogram: stats.Histogram) -> Int {
  list.fold(histogram, 0, fn(sum, pair) { sum + pair.1 })
}

@external(erlang, "erlang", "binary_to_atom")
fn atom(name: String) -> atom
