//! The log of a shard, as its SQLite file has it: the tables, rows, runs, snapshots, and what backups need.

pub mod apart;
pub mod connection;
pub mod edits;
pub mod keys;
pub mod kinds;
pub mod overwrite;
pub mod row;
pub mod rows;
pub mod runs;
pub mod schema;
pub mod snapshots;

pub use apart::Apart;
pub use kinds::{Kind, Kinds};
pub use row::Row;
pub use snapshots::SnapshotRow;
