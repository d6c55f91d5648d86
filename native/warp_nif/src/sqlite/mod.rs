//! What all of Warp's SQLite files have in common, whatever stands in them: one owner per file, a
//! header that is checked before SQLite touches the file, reads that closing waits for, a
//! write-ahead log, and checksums of the pages.

pub mod bulk;
pub mod claim;
pub mod creation;
pub mod gate;
pub mod header;
pub mod immutable;
pub mod pages;
pub mod random;
pub mod sums;
pub mod transaction;
pub mod wal;

pub use bulk::insert_all;
pub use claim::Claim;
pub use creation::finish_creation;
pub use gate::{Gate, PATIENCE, UnderWay};
pub use header::Format;
pub use immutable::immutable;
pub use pages::read_pages;
pub use random::random;
pub use sums::{Sums, open_with_sums};
pub use transaction::in_transaction;
pub use wal::{BUSY, checkpoint, checkpoint_all, empty_wal, spare_foreign_wal};
