//// Aggregates over types of their own.

import gleam/dynamic
import gleam/dynamic/decode.{DecodeError}
import gleam/erlang/process.{type Pid}
import gleam/list
import gleam/option.{type Option, Some}
import gleam/string
import testkit.{sqlite}
import warp
import warp/aggregate.{type Aggregate}
import warp/append
import warp/context.{WarpOptions}
import warp/error
import warp/event
import warp/history
import warp/json
import warp_testing.{
  type AccountEvent, type Overdraft, Credited, Debited, Overdraft, account,
  with_accounts, with_context, with_options,
}

pub fn events_go_in_and_states_come_out_with_their_types_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  assert alice |> aggregate.append(account(), Credited(5000)) == Ok(1)
  assert alice
    |> aggregate.append_batch(account(), [Debited(1000), Credited(1)])
    == Ok(#(2, 3))
  assert alice |> aggregate.get(account()) == Ok(4001)
  assert alice |> aggregate.state_at(account(), history.Seq(2)) == Ok(4000)

  let assert Ok(events) = alice |> warp.history()
  assert list.map(events, aggregate.decode(account(), _))
    == [Ok(Credited(5000)), Ok(Debited(1000)), Ok(Credited(1))]
}

pub fn validate_refuses_with_a_reason_of_its_type_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let assert Ok(1) = alice |> aggregate.append(account(), Credited(10))
  assert alice |> aggregate.append(account(), Debited(15))
    == Error(error.Refused(Overdraft(by: 5)))
  // Nothing of the batch is stored.
  assert alice |> aggregate.append_batch(account(), [Debited(10), Debited(1)])
    == Error(error.Refused(Overdraft(by: 1)))
  // validate also sees events that were appended without types.
  let raw = event.from_json("Debited", "{\"amount\":11}")
  let assert Error(error.Rejected(reason)) = alice |> warp.append(raw)
  assert warp_testing.coerce(reason) == Overdraft(by: 1)
  assert alice |> aggregate.get(account()) == Ok(10)
}

pub fn decide_appends_what_it_gives_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let assert Ok(1) = alice |> aggregate.append(account(), Credited(10))
  assert alice
    |> aggregate.decide(account(), fn(balance) {
      Ok([Debited(balance - 1), Credited(100)])
    })
    == Ok([2, 3])
  assert alice
    |> aggregate.decide(account(), fn(balance) { Error(Overdraft(balance)) })
    == Error(error.Refused(Overdraft(101)))
  // validate refuses events of a decision too.
  assert alice
    |> aggregate.decide(account(), fn(balance) { Ok([Debited(balance + 7)]) })
    == Error(error.Refused(Overdraft(7)))
  assert alice |> aggregate.decide(account(), fn(_) { Ok([]) }) == Ok([])
  assert alice |> aggregate.get(account()) == Ok(101)
}

pub fn an_append_takes_options_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let once = append.options() |> append.id("order-17")
  assert alice |> aggregate.append_with(account(), Credited(10), once) == Ok(1)
  assert alice |> aggregate.append_with(account(), Credited(10), once) == Ok(1)
  assert alice |> aggregate.append_with(account(), Credited(11), once)
    == Error(error.IdConflict(seq: 1))
  // A repeated append returns the seq of the stored event, even if validate would
  // refuse the event now.
  let all = append.options() |> append.id("all")
  assert alice |> aggregate.append_with(account(), Debited(10), all) == Ok(2)
  assert alice |> aggregate.append_with(account(), Debited(10), all) == Ok(2)
  let stale = append.options() |> append.expect(append.Seq(1))
  assert alice |> aggregate.append_with(account(), Credited(1), stale)
    == Error(error.WrongExpectedSeq(actual: 2))
  assert alice |> aggregate.get(account()) == Ok(0)
}

pub fn one_entity_holds_several_aggregates_test() {
  let log =
    aggregate.new("Log", initial: [], apply: fn(texts, text: String) {
      [text, ..texts]
    })
    |> aggregate.codec(
      encode: fn(text) {
        #("Noted", json.object([#("text", json.string(text))]))
      },
      decode: fn(_type) { decode.at(["text"], decode.string) },
    )
  use options <- with_options([
    aggregate.definition(account()),
    aggregate.definition(log),
  ])
  use ctx <- with_context(options)
  let alice = warp.entity(ctx, "alice")
  let assert Ok(1) = alice |> aggregate.append(account(), Credited(10))
  let assert Ok(2) = alice |> aggregate.append(log, "hello")
  let assert Ok(3) = alice |> aggregate.append(account(), Debited(1))
  assert alice |> aggregate.get(account()) == Ok(9)
  assert alice |> aggregate.get(log) == Ok(["hello"])

  // One batch has events of several aggregates.
  let assert Ok(credited) = aggregate.encode(account(), Credited(5))
  let assert Ok(noted) = aggregate.encode(log, "bye")
  assert alice |> warp.append_batch([credited, noted]) == Ok(#(4, 5))
  assert alice |> aggregate.get(account()) == Ok(14)
  assert alice |> aggregate.get(log) == Ok(["bye", "hello"])

  // This event names no aggregate.
  assert alice |> warp.append(event.from_json("Noted", "{}"))
    == Error(error.BadEvent(1, "aggregate", error.Required))
}

// An older schema: amounts were in euros, and are in cents now.

fn old_account() -> Aggregate(Float, Float, Nil) {
  aggregate.new("Account", initial: 0.0, apply: fn(sum, euros) { sum +. euros })
  |> aggregate.codec(
    encode: fn(euros) {
      #("MoneyIn", json.object([#("euros", json.float(euros))]))
    },
    decode: fn(_type) { decode.at(["euros"], decode.float) },
  )
}

fn new_account() -> Aggregate(Int, AccountEvent, Overdraft) {
  account()
  |> aggregate.version(2)
  |> aggregate.migrate(fn(event, version) {
    case version, event.type_(event) {
      1, "MoneyIn" -> {
        let assert Ok(euros) =
          event.decode(event, decode.at(["euros"], decode.float))
        let cents = json.int(cents(euros))
        event
        |> event.with_type("Credited")
        |> event.with_payload(json.object([#("amount", cents)]))
      }
      _, _ -> event
    }
  })
}

@external(erlang, "erlang", "round")
fn round(value: Float) -> Int

fn cents(euros: Float) -> Int {
  round(euros *. 100.0)
}

pub fn events_of_an_older_version_are_brought_up_to_date_test() {
  use options <- with_options([])
  let options = WarpOptions(..options, snapshot_every: 2)
  let old = [aggregate.definition(old_account())]
  with_context(WarpOptions(..options, aggregates: old), fn(ctx) {
    let alice = warp.entity(ctx, "alice")
    // Enough events for a snapshot, which the next version ignores.
    let assert Ok(#(1, 3)) =
      alice |> aggregate.append_batch(old_account(), [1.5, 2.25, 0.01])
    assert alice |> aggregate.get(old_account()) == Ok(3.76)
  })
  let new = [aggregate.definition(new_account())]
  use ctx <- with_context(WarpOptions(..options, aggregates: new))
  let alice = warp.entity(ctx, "alice")
  assert alice |> aggregate.get(new_account()) == Ok(376)
  let assert Ok(4) = alice |> aggregate.append(new_account(), Debited(76))
  assert alice |> aggregate.get(new_account()) == Ok(300)

  let assert Ok(events) = alice |> warp.history()
  assert list.map(events, aggregate.decode(new_account(), _))
    == [
      Ok(Credited(150)),
      Ok(Credited(225)),
      Ok(Credited(1)),
      Ok(Debited(76)),
    ]
  assert list.map(events, event.schema_vsn) == [1, 1, 1, 2]
}

// Erlang's term format.

pub type Shape {
  Circle(radius: Float)
  LongRectangle(sides: #(Int, Int), name: Option(String))
  Nothing
}

fn shapes() -> Aggregate(List(Shape), Shape, Nil) {
  aggregate.new("Shapes", initial: [], apply: fn(shapes, shape) {
    [shape, ..shapes]
  })
}

pub fn without_a_codec_any_value_is_stored_test() {
  let all = [Circle(0.1), LongRectangle(#(1, -2), Some("Ü")), Nothing]
  use options <- with_options([aggregate.definition(shapes())])
  with_context(options, fn(ctx) {
    let alice = warp.entity(ctx, "alice")
    assert alice |> aggregate.append_batch(shapes(), all) == Ok(#(1, 3))
    assert alice |> aggregate.get(shapes()) == Ok(list.reverse(all))
    let assert Ok(events) = alice |> warp.history()
    assert list.map(events, event.type_)
      == ["Circle", "LongRectangle", "Nothing"]
    assert list.map(events, aggregate.decode(shapes(), _)) == list.map(all, Ok)
  })
  use ctx <- with_context(options)
  let alice = warp.entity(ctx, "alice")
  assert alice |> aggregate.get(shapes()) == Ok(list.reverse(all))
}

pub fn what_is_no_term_of_ours_is_refused_before_it_is_stored_test() {
  use options <- with_options([aggregate.definition(shapes())])
  use ctx <- with_context(options)
  let alice = warp.entity(ctx, "alice")
  let append = fn(payload) {
    warp.append(alice, event.from_json("Circle", payload))
  }
  let refused = fn(found) {
    Error(
      error.UndecodableEvent("Circle", [
        DecodeError("Erlang term", found, ["term"]),
      ]),
    )
  }
  assert append("{}") == refused("something else")
  assert append("{\"term\":7}") == refused("something else")
  assert append("{\"term\":\"not base64!\"}") == refused("not Base64")
  assert append("{\"term\":\"aGVsbG8=\"}")
    == refused("no term that this program knows the constructors of")
  // 131, 80: a compressed term, which could be of any size.
  assert append("{\"term\":\"g1AAAAD//w==\"}") == refused("a compressed term")
  // The atom `zzqunknownatomqzz`.
  assert append("{\"term\":\"g3cRenpxdW5rbm93bmF0b21xeno=\"}")
    == refused("no term that this program knows the constructors of")
  assert alice |> warp.export() == Ok([])
}

pub type Holder {
  Holder(pid: Pid)
}

pub fn what_means_nothing_later_cannot_be_stored_test() {
  let holders =
    aggregate.new("Holders", initial: 0, apply: fn(n, _holder: Holder) { n + 1 })
  use options <- with_options([aggregate.definition(holders)])
  use ctx <- with_context(options)
  let alice = warp.entity(ctx, "alice")
  assert alice |> aggregate.append(holders, Holder(process.self()))
    == Error(error.EncodeFailed("a process cannot be stored"))
  assert alice |> warp.export() == Ok([])
}

// Users' functions that fail.

pub fn a_decoder_that_fails_refuses_the_event_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  let assert Ok(1) = alice |> aggregate.append(account(), Credited(10))
  let append = fn(type_, payload) {
    warp.append(alice, event.from_json(type_, payload))
  }
  assert append("Credited", "{\"amount\":\"ten\"}")
    == Error(
      error.UndecodableEvent("Credited", [
        DecodeError("Int", "String", ["amount"]),
      ]),
    )
  assert append("Credited", "{}")
    == Error(
      error.UndecodableEvent("Credited", [
        DecodeError("Field", "Nothing", ["amount"]),
      ]),
    )
  assert append("Stolen", "{\"amount\":10}")
    == Error(
      error.UndecodableEvent("Stolen", [DecodeError("AccountEvent", "Dict", [])]),
    )
  // The same in a batch, and from decide.
  let bad = event.from_json("Credited", "{}")
  let good = event.from_json("Credited", "{\"amount\":1}")
  let assert Error(error.UndecodableEvent("Credited", _)) =
    alice |> warp.append_batch([good, bad])
  let assert Error(error.UndecodableEvent("Credited", _)) =
    warp.decide(alice, "Account", fn(_) { Ok([bad]) })
  let assert Ok([_only]) = alice |> warp.export()
  assert alice |> aggregate.get(account()) == Ok(10)
}

pub fn a_log_that_the_decoder_no_longer_takes_says_so_test() {
  use options <- with_options([aggregate.definition(account())])
  with_context(options, fn(ctx) {
    let assert Ok(1) =
      warp.entity(ctx, "alice") |> aggregate.append(account(), Credited(10))
    Nil
  })
  let picky =
    account()
    |> aggregate.codec(encode: warp_testing.encode, decode: fn(_type) {
      decode.failure(Credited(0), "AnotherEvent")
    })
  use ctx <- with_context(
    WarpOptions(..options, aggregates: [aggregate.definition(picky)]),
  )
  let alice = warp.entity(ctx, "alice")
  let undecodable =
    error.UndecodableEvent("Credited", [DecodeError("AnotherEvent", "Dict", [])])
  assert alice |> aggregate.get(picky) == Error(undecodable)
  assert alice |> aggregate.append(picky, Credited(1)) == Error(undecodable)
  assert alice |> aggregate.state_at(picky, history.Seq(1))
    == Error(undecodable)
  // The events can still be read, and other entities work.
  let assert Ok([stored]) = alice |> warp.export()
  assert aggregate.decode(picky, stored) == Error(undecodable)
  assert aggregate.decode(account(), stored) == Ok(Credited(10))
  assert warp.entity(ctx, "bob") |> aggregate.get(picky) == Ok(0)
}

pub fn an_encoder_that_crashes_stores_nothing_test() {
  let broken =
    account()
    |> aggregate.codec(
      encode: fn(event) {
        case event {
          Credited(13) -> panic as "thirteen is not for us"
          _ -> warp_testing.encode(event)
        }
      },
      decode: warp_testing.decode,
    )
  use options <- with_options([aggregate.definition(broken)])
  use ctx <- with_context(options)
  let alice = warp.entity(ctx, "alice")
  let assert Ok(1) = alice |> aggregate.append(broken, Credited(1))

  let assert Error(error.EncodeFailed(crash)) =
    alice |> aggregate.append(broken, Credited(13))
  assert string.starts_with(
    crash,
    "panic: thirteen is not for us (warp/aggregate_test.an_encoder_that_"
      <> "crashes_stores_nothing_test, line ",
  )
  let assert Error(error.EncodeFailed(_)) =
    alice |> aggregate.append_batch(broken, [Credited(1), Credited(13)])
  let assert Error(error.EncodeFailed(_)) =
    alice |> aggregate.decide(broken, fn(_) { Ok([Credited(1), Credited(13)]) })
  let assert Ok([_only]) = alice |> warp.export()
  assert alice |> aggregate.append(broken, Credited(2)) == Ok(2)
}

pub fn functions_that_crash_are_told_apart_test() {
  let aggregate = fn(type_: String) {
    aggregate.new(type_, initial: 0, apply: fn(sum, n: Int) {
      case n {
        1 -> panic as "apply broke"
        _ -> sum + n
      }
    })
    |> aggregate.validate(fn(_sum, n) -> Result(Nil, Nil) {
      case n {
        2 -> panic as "validate broke"
        _ -> Ok(Nil)
      }
    })
    |> aggregate.migrate(fn(event, version) {
      case version {
        3 -> panic as "migrate broke"
        _ -> event
      }
    })
    |> aggregate.codec(
      encode: fn(n) { #("N", json.object([#("n", json.int(n))])) },
      decode: fn(_) { decode.at(["n"], decode.int) },
    )
  }
  let sum = aggregate("Sum")
  use options <- with_options([aggregate.definition(sum)])
  use ctx <- with_context(options)
  let alice = warp.entity(ctx, "alice")

  let assert Error(error.ApplyFailed("panic: apply broke (" <> _)) =
    alice |> aggregate.append(sum, 1)
  let assert Error(error.ValidateFailed("panic: validate broke (" <> _)) =
    alice |> aggregate.append(sum, 2)
  let assert Error(error.MigrateFailed("panic: migrate broke (" <> _)) =
    alice
    |> warp.append(
      event.from_json("N", "{\"n\":5}") |> event.with_schema_vsn(3),
    )
  let assert Error(error.DecideFailed("panic: decide broke (" <> _)) =
    alice |> aggregate.decide(sum, fn(_) { panic as "decide broke" })
  let assert Error(error.DecideFailed("let assert: " <> _)) =
    alice
    |> aggregate.decide(sum, fn(n) {
      let assert 77 = n
      Ok([])
    })
  assert alice |> warp.export() == Ok([])
  assert alice |> aggregate.append(sum, 7) == Ok(1)
}

pub fn a_read_takes_a_decoder_that_does_not_fit_for_an_error_test() {
  use ctx <- with_accounts
  let alice = warp.entity(ctx, "alice")
  assert alice |> warp.get_as("Account", decode.string)
    == Error(error.UndecodableState([DecodeError("String", "Int", [])]))
  assert alice |> warp.get("Account") == Ok(dynamic.int(0))
  assert alice |> warp.get("Nobody") == Error(error.UnknownAggregate("Nobody"))
}

pub fn what_is_in_the_file_is_readable_test() {
  use options <- with_options([aggregate.definition(account())])
  use ctx <- with_context(options)
  let alice = warp.entity(ctx, "alice")
  let assert Ok(1) = alice |> aggregate.append(account(), Credited(5000))
  let rows = fn() {
    list.flat_map(testkit.shard_files(options.data_dir), sqlite(
      _,
      "SELECT entity, aggregate, type, schema_vsn, payload FROM events",
    ))
  }
  // The file follows the journal.
  testkit.wait_until(fn() {
    rows() == ["alice|Account|Credited|1|{\"amount\":5000}"]
  })
}

pub fn a_name_is_kept_test() {
  assert aggregate.name(account()) == "Account"
}
