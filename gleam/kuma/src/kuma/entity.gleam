//// The handles of entities.

import kuma/codec.{type Entry}
import warp
import warp/aggregate.{type Aggregate}

/// The handle of an entity that was spawned: see `kuma.spawn`.
///
/// The handle names the entity and not its process, so it stays valid while the
/// entity's process leaves memory, is killed or starts again. It becomes invalid
/// when its context stops.
///
pub type Entity(state, event) {
  Entity(
    /// The id with which the entity was spawned.
    id: String,
    /// The entity's log, which only Kuma can use.
    log: Log(state, event),
  )
}

/// An entity's log, which only Kuma can use.
///
pub opaque type Log(state, event) {
  Log(warp: warp.Entity, aggregate: EntityAggregate(state, event))
}

/// Whether an entity was spawned, and its state.
///
@internal
pub type Life(state) {
  Unborn
  Alive(state)
}

/// Why Kuma refuses an operation, in `error.Refused`.
///
pub type NotSpawned {
  /// The entity was not spawned, or it was deleted.
  NotSpawned
}

@internal
pub type EntityAggregate(state, event) =
  Aggregate(Life(state), Entry(state, event), NotSpawned)

@internal
pub fn new(
  id: String,
  warp: warp.Entity,
  aggregate: EntityAggregate(state, event),
) -> Entity(state, event) {
  Entity(id:, log: Log(warp:, aggregate:))
}

@internal
pub fn warp(entity: Entity(state, event)) -> warp.Entity {
  entity.log.warp
}

@internal
pub fn aggregate(
  entity: Entity(state, event),
) -> EntityAggregate(state, event) {
  entity.log.aggregate
}
