//! Bringing what the journal has into a shard's file. The thread is in [`engine`](crate::engine).

pub mod index;
pub mod pieces;
pub mod steps;
pub mod store;
pub mod wal;
pub mod watch;
