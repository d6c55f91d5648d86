//! What all threads share of a shard.

pub mod background;
pub mod idle;
pub mod shared;
pub mod stats;
pub mod waiting;
