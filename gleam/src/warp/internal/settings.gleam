//// Converts `WarpOptions` to the engine's map of options. The constructors have
//// names that make them the engine's terms: `Shards(16)` is `{shards, 16}`.

import gleam/dict.{type Dict}
import gleam/list
import warp/aggregate
import warp/context.{type WarpOptions}
import warp/projection
import warp/saga
import warp/subscriber.{type SubscriberDefinition}

/// The map that `warp_core:start/1` takes.
///
pub type Settings

type Setting {
  Context(String)
  DataDir(String)
  Aggregates(List(aggregate.Engine))
  Shards(Int)
  Mode(Mode)
  Durability(context.Durability)
  FileAccess(context.FileAccess)
  Cluster(Cluster)
  Projections(Projections)
  Steps(Dict(String, saga.Function))
  Subscribers(List(SubscriberDefinition))
  KeepSagas(Time)
  SnapshotEvery(Int)
  IdleTimeout(Time)
  MaxPending(Int)
}

type Mode {
  Actor
  ReadThrough
}

type Cluster {
  SingleNode
  Clustered(ClusterOptions)
}

type ClusterOption {
  SeedNodes(List(String))
  Bootstrap(Bool)
}

type ClusterOptions

type Projections {
  Embedded(projection.Config)
  Rqlite(projection.Config)
}

/// Milliseconds, or infinity.
type Time

/// The options in the engine's terms. An empty name is left out, so that the
/// engine reports it as missing.
///
pub fn from_options(options: WarpOptions) -> Settings {
  [
    Aggregates(list.map(options.aggregates, aggregate.to_engine)),
    Shards(options.shards),
    Mode(case options.mode {
      context.ActorMode -> Actor
      context.ReadThrough -> ReadThrough
    }),
    Durability(options.durability),
    FileAccess(options.file_access),
    Cluster(case options.cluster {
      context.SingleNode -> SingleNode
      context.Clustered(seed_nodes:) ->
        Clustered(cluster_options([SeedNodes(seed_nodes)]))
      context.Bootstrap(seed_nodes:) ->
        Clustered(cluster_options([SeedNodes(seed_nodes), Bootstrap(True)]))
    }),
    Subscribers(options.subscribers),
    KeepSagas(case options.keep_sagas {
      context.KeepFor(milliseconds:) -> finite(milliseconds)
      context.KeepForever -> infinity()
    }),
    SnapshotEvery(options.snapshot_every),
    IdleTimeout(case options.idle_timeout {
      context.After(milliseconds:) -> finite(milliseconds)
      context.Never -> infinity()
    }),
    MaxPending(options.max_pending),
  ]
  |> named(options.context, Context)
  |> named(options.data_dir, DataDir)
  |> with_steps(options.steps)
  |> with_projections(options.projections)
  |> from_list
}

fn named(
  settings: List(Setting),
  value: String,
  setting: fn(String) -> Setting,
) -> List(Setting) {
  case value {
    "" -> settings
    _ -> [setting(value), ..settings]
  }
}

fn with_steps(
  settings: List(Setting),
  steps: List(saga.StepFunction),
) -> List(Setting) {
  case steps {
    [] -> settings
    _ -> [Steps(saga.step_functions(steps)), ..settings]
  }
}

fn with_projections(
  settings: List(Setting),
  projections: context.Projections,
) -> List(Setting) {
  case projections {
    context.NoProjections -> settings
    context.Embedded -> [
      Projections(Embedded(projection.embedded_config([]))),
      ..settings
    ]
    context.EmbeddedWith(tables:) -> [
      Projections(Embedded(projection.embedded_config(tables))),
      ..settings
    ]
    context.Rqlite(options) -> [
      Projections(Rqlite(projection.rqlite_config(options))),
      ..settings
    ]
  }
}

@external(erlang, "maps", "from_list")
fn from_list(settings: List(Setting)) -> Settings

@external(erlang, "maps", "from_list")
fn cluster_options(options: List(ClusterOption)) -> ClusterOptions

@external(erlang, "warp_ffi", "identity")
fn finite(milliseconds: Int) -> Time

@external(erlang, "warp_ffi", "infinity")
fn infinity() -> Time
