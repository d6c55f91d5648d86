//// The options that the engine gets.

import gleam/dict.{type Dict}
import gleam/dynamic.{type Dynamic}
import gleam/dynamic/decode
import gleam/list
import testkit
import warp
import warp/aggregate
import warp/context.{
  ActorMode, After, Bootstrap, Clustered, Embedded, EmbeddedWith, Full, KeepFor,
  KeepForever, Never, Normal, ReadThrough, Rqlite, SingleNode, Umask, WarpOptions, defaults,
}
import warp/internal/settings
import warp/projection as p
import warp/saga
import warp_testing.{account, coerce, with_context, with_options}

/// The options that the engine gets, without the aggregates.
///
fn engine(options: context.WarpOptions) -> Dict(Dynamic, Dynamic) {
  coerce(settings.from_options(options))
  |> dict.delete(term("aggregates"))
}

const rest = "shards => 16, keep_sagas => 2592000000, snapshot_every => 1000,
  idle_timeout => 60000, max_pending => 10000, subscribers => [], "

pub fn the_defaults_are_those_of_the_engine_test() {
  assert engine(defaults())
    == term(
      "#{"
      <> rest
      <> "mode => actor, durability => full, file_access => owner, cluster => single_node}",
    )
  assert defaults().mode == ActorMode
  assert defaults().durability == Full
  assert defaults().cluster == SingleNode
  assert defaults().idle_timeout == After(60_000)
  assert defaults().keep_sagas == KeepFor(2_592_000_000)
}

pub fn every_option_reaches_the_engine_test() {
  let options =
    WarpOptions(
      ..defaults(),
      context: "banking",
      data_dir: "/data",
      shards: 4,
      mode: ReadThrough,
      durability: Normal,
      file_access: Umask,
      cluster: Clustered(seed_nodes: ["warp@10.0.0.1"]),
      projections: Embedded,
      keep_sagas: KeepForever,
      snapshot_every: 7,
      idle_timeout: Never,
      max_pending: 8,
    )
  assert engine(options)
    == term(
      "#{context => <<\"banking\">>, data_dir => <<\"/data\">>, shards => 4,
        mode => read_through, durability => normal,
        file_access => umask, cluster => {clustered, #{seed_nodes => [<<\"warp@10.0.0.1\">>]}},
        projections => {embedded, #{tables => #{}}}, keep_sagas => infinity,
        snapshot_every => 7,
        idle_timeout => infinity, max_pending => 8, subscribers => []}",
    )
}

pub fn the_first_node_of_a_cluster_is_told_so_test() {
  let assert Ok(cluster) =
    WarpOptions(..defaults(), cluster: Bootstrap(seed_nodes: []))
    |> engine
    |> dict.get(term("cluster"))
  assert cluster == term("{clustered, #{seed_nodes => [], bootstrap => true}}")
}

pub fn every_target_reaches_the_engine_test() {
  let projections = fn(projections) {
    let assert Ok(value) =
      WarpOptions(..defaults(), projections:)
      |> engine
      |> dict.get(term("projections"))
    value
  }
  assert projections(EmbeddedWith([p.table("t")]))
    == term(
      "{embedded, #{tables => #{<<\"t\">> => #{columns => #{}, indexes => [],
        keys => []}}}}",
    )
  assert projections(Rqlite(p.rqlite(["http://10.0.0.1:4001"])))
    == term(
      "{rqlite, #{nodes => [<<\"http://10.0.0.1:4001\">>], tables => #{}}}",
    )
}

pub fn step_functions_reach_the_engine_test() {
  let steps = [saga.dynamic_function("never", fn(_, _) { Error(Nil) })]
  let assert Ok(steps) =
    WarpOptions(..defaults(), steps:) |> engine |> dict.get(term("steps"))
  let names = decode.dict(decode.string, decode.dynamic)
  let assert Ok(steps) = decode.run(steps, names)
  let assert Ok(_) = dict.get(steps, "never")
}

pub fn a_context_runs_as_it_was_told_test() {
  use options <- with_options([aggregate.definition(account())])
  let runs = fn(options, mode, durability) {
    use ctx <- with_context(options)
    let assert Ok(stats) = warp.stats(ctx)
    let atom = fn(name) { decode.at([name], decode.dynamic) }
    assert decode.run(stats.all, atom(term("mode"))) == Ok(term(mode))
    assert decode.run(stats.all, atom(term("durability")))
      == Ok(term(durability))
    assert list.length(testkit.shard_files(options.data_dir)) == 2
  }
  runs(options, "actor", "full")
  runs(
    WarpOptions(..options, mode: ReadThrough, durability: Normal),
    "read_through",
    "normal",
  )
}

/// An Erlang term from its text.
///
@external(erlang, "warp_testing_ffi", "term")
fn term(text: String) -> a
