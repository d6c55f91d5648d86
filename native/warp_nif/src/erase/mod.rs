//! Erasing entities and clearing payloads in a shard's file, in place, and giving back the room.

pub mod clearing;
pub mod compact;
pub mod erasing;

pub use clearing::{Clearing, Retyping};
