//! The journal of a context: what is written and synced before anyone is answered.
//!
//! One writer puts the records of all shards into one journal, so that a commit costs one sync
//! however many shards there are. The shards' own files follow behind. The pure parts ([`record`],
//! [`label`], [`note`], [`scan`], [`judge`]) are bytes and decisions; [`files`], [`segments`],
//! [`recovery`] and [`write`] have the disk.

pub mod files;
pub mod judge;
pub mod label;
pub mod note;
pub mod record;
pub mod recovery;
pub mod scan;
pub mod segments;
pub mod stored;
pub mod write;

#[cfg(test)]
pub use record::sum;
pub use record::{Header, Kind, RowRef};
pub use recovery::{read, recover};
pub use segments::Segments;
pub use stored::Stored;
pub use write::{Journal, Notes};
