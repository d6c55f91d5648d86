//// The handle of an entity.

import kuma/codec.{type Entry}
import warp
import warp/aggregate.{type Aggregate}

/// An entity that was spawned: what `kuma.append`, `kuma.read` and the others
/// work on.
///
/// It stands for the entity and not for a process. It stays good while the
/// entity's process leaves memory, is killed or comes back, and ends with its
/// context.
///
pub type Entity(state, event) {
  Entity(
    /// The id that it was spawned with.
    id: String,
    /// Its log.
    log: Log(state, event),
  )
}

/// An entity's log, which only Kuma looks into.
///
pub opaque type Log(state, event) {
  Log(warp: warp.Entity, aggregate: EntityAggregate(state, event))
}

/// Where an entity is in its life.
///
@internal
pub type Life(state) {
  Unborn
  Alive(state)
}

/// An operation needs an entity that was spawned, and this one was not, or it
/// was deleted.
///
pub type NotSpawned {
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
