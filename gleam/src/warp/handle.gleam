//// The two handles of Warp. Both are small values, which you can copy, send to
//// other processes and pass to Erlang or Elixir code: they are the terms that
//// `warp_core:start/1` and `warp_core:entity/2` return.

/// A context that was started: a folder of shards, and the processes that serve
/// it. See `warp.start`.
///
pub type Context

/// One entity of a context. The entity need not exist: its first event creates
/// it. See `warp.entity`.
///
/// The handle names the entity and not its process, so it stays valid while the
/// entity's process leaves memory, is killed or starts again. It becomes invalid
/// when its context stops.
///
pub type Entity
