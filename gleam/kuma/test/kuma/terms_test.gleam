//// States and events in Erlang's term format: which values come back, and which
//// must not.

import gleam/dict.{type Dict}
import gleam/erlang/process.{type Pid}
import gleam/int
import gleam/list
import gleam/option.{type Option, None, Some}
import kuma.{type Context, Config}
import kuma_support
import testkit.{with_dir}
import warp/error

pub type Thing {
  Plain
  Numbers(Int, Float)
  Words(String, BitArray)
  Nested(Option(Thing), Result(Thing, Nil), List(Thing))
  Mapped(Dict(String, List(Int)))
  Paired(#(Int, String), Bool, Nil)
  Called(fn() -> Int)
  Sent(Pid)
}

/// The state is everything that has happened.
fn remember(things: List(Thing), thing: Thing) -> List(Thing) {
  [thing, ..things]
}

fn open(dir: String) -> Context(List(Thing), Thing) {
  let assert Ok(kuma) = kuma.start(Config(path: dir, shards: 1))
  kuma.fold(kuma, remember)
}

fn things() -> List(Thing) {
  [
    Plain,
    Numbers(-1, 0.1),
    Numbers(123_456_789_012_345_678_901_234_567_890, -1.5e300),
    Words("", <<>>),
    Words("zażółć \"🐻\"\n\u{0}", <<1, 255, 3:size(3)>>),
    Nested(None, Error(Nil), []),
    Nested(Some(Plain), Ok(Numbers(1, 1.0)), [
      Plain,
      Nested(None, Ok(Plain), []),
    ]),
    Mapped(dict.from_list([#("a", [1, 2]), #("b", [])])),
    Paired(#(1, "one"), True, Nil),
  ]
}

pub fn every_type_comes_back_test() {
  use dir <- with_dir
  let ctx = open(dir)
  let assert Ok(entity) = kuma.spawn(ctx, "things", [Plain])
  list.each(things(), fn(thing) {
    let assert Ok(_) = kuma.append(entity, thing)
  })
  let expected = list.append(list.reverse(things()), [Plain])
  assert kuma.read(entity) == Ok(expected)
  kuma.stop(ctx)

  let ctx = open(dir)
  let assert Ok(entity) = kuma.spawn(ctx, "things", [])
  assert kuma.read(entity) == Ok(expected)
  let assert Ok(export) = kuma.export(entity)
  assert export.initial == [Plain]
  assert list.map(export.events, fn(event) { event.event }) == things()
  kuma.stop(ctx)
}

pub fn what_means_nothing_later_is_refused_test() {
  use dir <- with_dir
  let ctx = open(dir)
  let assert Ok(entity) = kuma.spawn(ctx, "things", [])
  list.each(
    [
      Called(fn() { 1 }),
      Sent(process.self()),
      Nested(Some(Called(fn() { 1 })), Ok(Plain), []),
      Nested(None, Ok(Plain), [Plain, Sent(process.self())]),
    ],
    fn(thing) {
      let assert Error(error.EncodeFailed(_)) = kuma.append(entity, thing)
    },
  )
  let assert Error(error.EncodeFailed(_)) =
    kuma.spawn(ctx, "more", [Called(fn() { 1 })])
  assert kuma.append(entity, Plain) == Ok(2)
  assert kuma.read(entity) == Ok([Plain])
  kuma.stop(ctx)
}

pub fn too_large_test() {
  use dir <- with_dir
  let ctx = open(dir)
  let assert Ok(entity) = kuma.spawn(ctx, "things", [])
  let large = Words("", <<0:size(8_000_000)>>)
  let assert Error(error.BadEvent(1, "payload", error.TooLarge(_, _))) =
    kuma.append(entity, large)
  assert kuma.read(entity) == Ok([])
  kuma.stop(ctx)
}

/// Anybody may have written a file.
pub fn hostile_files_test() {
  // The first round loads all modules, once.
  with_dir(read_hostile)
  let before = atoms()
  with_dir(read_hostile)
  // One payload has 200 unknown atoms.
  assert atoms() - before < 100
}

fn read_hostile(dir: String) -> Nil {
  let logs =
    list.index_map(kuma_support.hostile(), fn(payload, i) {
      #(int.to_string(i), [#("Kuma.Spawned", empty), #("Deposited", payload)])
    })
  assert list.length(logs) > 10
  kuma_support.foreign_logs(dir, logs)
  let ctx = open(dir)
  list.each(logs, fn(log) {
    let assert Error(error.UndecodableEvent("Deposited", [_])) =
      kuma.spawn(ctx, log.0, [])
  })
  // Other entities work.
  let assert Ok(other) = kuma.spawn(ctx, "other", [])
  assert kuma.append(other, Plain) == Ok(2)
  kuma.stop(ctx)
}

/// An empty list as a term.
const empty = "{\"$term\":\"g2o=\"}"

/// After a restart the module with an event's constructors may not be loaded
/// yet when the event is read.
pub fn a_constructor_of_a_module_that_is_not_loaded_test() {
  use dir <- with_dir
  kuma_support.foreign_logs(dir, [
    #("late", [
      #("Kuma.Spawned", empty),
      #("Late", kuma_support.late_constructor(dir)),
    ]),
  ])
  let ctx = open(dir)
  let assert Ok(entity) = kuma.spawn(ctx, "late", [])
  let assert Ok([_]) = kuma.read(entity)
  kuma.stop(ctx)
}

/// How many atoms the VM has.
///
@external(erlang, "kuma_test_ffi", "atoms")
fn atoms() -> Int
