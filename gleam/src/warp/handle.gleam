//// The two handles of Warp. Both are small values that can be copied, sent to
//// other processes and handed to Erlang or Elixir code, for which they are
//// what `warp_core:start/1` and `warp_core:entity/2` give.

/// A started context: a folder of shards with everything that runs for it.
/// See `warp.start`.
///
pub type Context

/// One entity of a context. It need not exist: an entity comes into being with
/// its first event. See `warp.entity`.
///
/// It stands for the entity and not for a process, so it stays good while the
/// entity's process leaves memory, is killed or comes back. It ends with its
/// context.
///
pub type Entity
