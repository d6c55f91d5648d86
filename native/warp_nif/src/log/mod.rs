//! The log of a shard, as its SQLite file has it: the tables, rows by position, runs, and snapshots.

pub mod connection;
pub mod kinds;
pub mod rows;
pub mod runs;
pub mod schema;
pub mod snapshots;

pub use kinds::{Kind, Kinds};
pub use rows::Row;
pub use snapshots::SnapshotRow;
