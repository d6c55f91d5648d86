//// How events stand in the file, and what is said of those that cannot be read.

import gleam/dynamic/decode.{DecodeError}
import gleam/json as gleam_json
import gleam/list
import gleam/option.{type Option, None, Some}
import gleam/string
import testkit
import warp
import warp/aggregate.{type Aggregate}
import warp/codec.{type Codec}
import warp/error
import warp/event
import warp/json
import warp/testing
import warp_testing.{with_context, with_options}

type Happened {
  Opened(owner: String)
  Paid(amount: Int, rate: Float, cash: Bool)
  Tagged(tags: List(String), note: Option(String))
  Moved(from: Place, to: Place, by: String, weight: Int)
  Counted(a: Int, b: Int, c: Int, d: Int, e: Int)
  Closed
  Forgotten
}

type Place {
  Place(street: String)
}

fn codec() -> Codec(Happened) {
  codec.new()
  |> codec.event1("Opened", Opened, codec.string("owner"))
  |> codec.event3(
    "Paid",
    Paid,
    codec.int("amount"),
    codec.float("rate") |> codec.default(1.0),
    codec.bool("cash"),
  )
  |> codec.event2(
    "Tagged",
    Tagged,
    codec.list(codec.string("tags")),
    codec.optional(codec.string("note")),
  )
  |> codec.event4(
    "Moved",
    Moved,
    place("from"),
    place("to"),
    codec.string("by"),
    codec.int("weight"),
  )
  |> codec.event5(
    "Counted",
    Counted,
    codec.int("a"),
    codec.int("b"),
    codec.int("c"),
    codec.int("d"),
    codec.int("e"),
  )
  |> codec.event0("Closed", Closed)
}

fn place(name: String) -> codec.Field(Place) {
  codec.custom(
    name,
    fn(place: Place) { json.string(place.street) },
    decode.map(decode.string, Place),
  )
}

/// The state has all events, the last one first.
fn with(codec: Codec(Happened)) -> Aggregate(List(Happened), Happened, Nil) {
  aggregate.new("Log", initial: [], apply: fn(all, event) { [event, ..all] })
  |> aggregate.with_codec(codec)
}

fn read(type_: String, payload: String) -> Result(Happened, error.Error(Nil)) {
  use options <- with_options([aggregate.definition(with(codec()))])
  use ctx <- with_context(options)
  let entity = warp.entity(ctx, "a")
  case warp.append(entity, event.from_json(type_, payload)) {
    Ok(_) -> {
      let assert Ok([event]) = warp.history(entity)
      aggregate.decode(with(codec()), event)
    }
    Error(error.ApplyFailed(..)) -> panic as "a decoder crashed"
    Error(error.UndecodableEvent(type_, errors)) ->
      Error(error.UndecodableEvent(type_, errors))
    Error(_) -> panic as "the append failed for another reason"
  }
}

pub fn every_event_comes_back_and_is_named_in_the_file_test() {
  let events = [
    Opened("ann"),
    Paid(5, 1.5, True),
    Tagged(["a", "b"], None),
    Tagged([], Some("c")),
    Moved(from: Place("A 1"), to: Place("B 2"), by: "ship", weight: 9),
    Counted(1, 2, 3, 4, 5),
    Closed,
  ]
  use options <- with_options([aggregate.definition(with(codec()))])
  {
    use ctx <- with_context(options)
    let entity = warp.entity(ctx, "a")
    let assert Ok(#(1, 7)) =
      aggregate.append_batch(entity, with(codec()), events)
    Nil
  }
  use ctx <- with_context(options)
  let entity = warp.entity(ctx, "a")
  assert aggregate.get(entity, with(codec())) == Ok(list.reverse(events))
  let assert Ok(stored) = warp.history(entity)
  assert list.map(stored, event.type_)
    == ["Opened", "Paid", "Tagged", "Tagged", "Moved", "Counted", "Closed"]
  assert lines(options.data_dir)
    == [
      "{\"owner\":\"ann\"}",
      "{\"amount\":5,\"cash\":true,\"rate\":1.5}",
      "{\"note\":null,\"tags\":[\"a\",\"b\"]}",
      "{\"note\":\"c\",\"tags\":[]}",
      "{\"by\":\"ship\",\"from\":\"A 1\",\"to\":\"B 2\",\"weight\":9}",
      "{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5}",
      "{}",
    ]
}

fn lines(dir: String) -> List(String) {
  use file <- list.flat_map(testkit.shard_files(dir))
  testkit.sqlite(file, "SELECT payload FROM events ORDER BY seq")
}

pub fn fields_that_older_events_lack_have_defaults_test() {
  assert read("Paid", "{\"amount\":1,\"cash\":false}")
    == Ok(Paid(1, 1.0, False))
  assert read("Tagged", "{\"tags\":[]}") == Ok(Tagged([], None))
}

pub fn an_error_names_the_path_test() {
  assert read("Tagged", "{\"tags\":[\"a\",1]}")
    == Error(
      error.UndecodableEvent("Tagged", [
        DecodeError("String", "Int", ["tags", "1"]),
      ]),
    )
  assert read("Opened", "{}")
    == Error(
      error.UndecodableEvent("Opened", [
        DecodeError("Field", "Nothing", ["owner"]),
      ]),
    )
  let assert Error(error.UndecodableEvent("Lost", [wrong])) = read("Lost", "{}")
  assert wrong.expected
    == "an event of one of the types Opened, Paid, Tagged, Moved, Counted, Closed"
}

pub fn an_event_without_a_line_is_refused_test() {
  let assert Error(error.EncodeFailed(why)) =
    testing.append(testing.given(with(codec()), []), Forgotten)
  assert string.contains(why, "no line for the constructor Forgotten")
}

pub fn an_event_may_get_another_type_test() {
  let codec =
    codec.new()
    |> codec.event1("Begun", Opened, codec.string("owner"))
    |> codec.event1("Opened", Opened, codec.string("owner"))
  let assert Ok(event) = aggregate.encode(with(codec), Opened("ann"))
  assert event.type_(event) == "Opened"
  let old = event.from_json("Begun", "{\"owner\":\"ben\"}")
  use options <- with_options([aggregate.definition(with(codec))])
  use ctx <- with_context(options)
  let assert Ok(_) = warp.append_batch(warp.entity(ctx, "a"), [old, event])
  assert aggregate.get(warp.entity(ctx, "a"), with(codec))
    == Ok([Opened("ann"), Opened("ben")])
}

pub fn what_is_no_constructor_is_refused_test() {
  let message =
    "The codec of Opened needs the constructor of the event itself,"
    <> " such as Credited, and no function around it."
  let add = fn(constructor) {
    fn() {
      codec.event1(codec.new(), "Opened", constructor, codec.string("owner"))
    }
  }
  assert panic_of(add(fn(owner) { Opened(owner <> "!") })) == message
  assert panic_of(add(fn(_) { Opened("x") })) == message
  assert panic_of(add(fn(owner) { Tagged([owner], None) })) == message
  assert panic_of(fn() {
      codec.event0(codec.new(), "Opened", Opened("x"))
    })
    == message
}

pub fn two_lines_for_a_type_are_refused_test() {
  assert panic_of(fn() { codec() |> codec.event0("Opened", Closed) })
    == "The codec has two lines for the type Opened."
}

@external(erlang, "warp_testing_ffi", "panic_of")
fn panic_of(run: fn() -> a) -> String

// With encoders and decoders for gleam_json.

fn happened_to_json(happened: Happened) -> gleam_json.Json {
  case happened {
    Opened(owner:) ->
      gleam_json.object([
        #("type", gleam_json.string("opened")),
        #("owner", gleam_json.string(owner)),
      ])
    _ -> gleam_json.string("closed")
  }
}

fn happened_decoder() -> decode.Decoder(Happened) {
  use type_ <- decode.field("type", decode.string)
  case type_ {
    "opened" -> {
      use owner <- decode.field("owner", decode.string)
      decode.success(Opened(owner:))
    }
    _ -> decode.failure(Closed, "Happened")
  }
}

fn json_codec() -> Codec(Happened) {
  codec.json(
    encode: fn(event) { gleam_json.to_string(happened_to_json(event)) },
    decode: happened_decoder(),
  )
}

pub fn encoders_and_decoders_of_gleam_json_serve_test() {
  use options <- with_options([aggregate.definition(with(json_codec()))])
  {
    use ctx <- with_context(options)
    let entity = warp.entity(ctx, "a")
    assert aggregate.append(entity, with(json_codec()), Opened("ann")) == Ok(1)
    assert aggregate.get(entity, with(json_codec())) == Ok([Opened("ann")])
    let assert Ok([stored]) = warp.history(entity)
    assert event.type_(stored) == "Opened"
  }
  assert lines(options.data_dir)
    == ["{\"type\":\"opened\",\"owner\":\"ann\"}"]
}

pub fn json_that_is_no_object_is_refused_test() {
  use options <- with_options([aggregate.definition(with(json_codec()))])
  use ctx <- with_context(options)
  let entity = warp.entity(ctx, "a")
  let assert Error(error.BadEvent(1, "payload", _)) =
    aggregate.append(entity, with(json_codec()), Closed)
  assert aggregate.get(entity, with(json_codec())) == Ok([])
}

pub fn tests_without_a_database_use_the_codec_too_test() {
  let given = testing.given(with(json_codec()), [Opened("ann")])
  let assert Ok(then) = testing.append(given, Opened("ben"))
  assert testing.state(then) == [Opened("ben"), Opened("ann")]
}
