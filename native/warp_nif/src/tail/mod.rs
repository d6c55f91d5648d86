//! What is in the journal and not yet in a shard's file, in memory.

pub mod found_row;
pub mod memory;
pub mod stretch;
