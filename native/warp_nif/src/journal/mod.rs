//! The journal of a context: what is written and synced before anyone is answered.
//!
//! One writer puts the records of all shards into one journal, so that a commit costs one sync
//! however many shards there are. The shards' own files follow behind. The pure parts are bytes and
//! decisions: [`record`] with [`row`], [`label`], [`note`], the commit that is [`gathered`], and for
//! recovery [`scan`] and [`judge`]. [`recovery`] reads what is on the disk and [`write`] goes on behind
//! it, in the [`active`] segment. [`segments`] is what all threads share of it, with a [`spare`] one,
//! and what others do with records: read those that are [`behind`], [`check`] them, and [`blank`] them; and
//! shards that [`leave`] and come back.

pub mod active;
pub mod behind;
pub mod blank;
pub mod check;
pub mod files;
pub mod gathered;
pub mod judge;
pub mod label;
pub mod leave;
#[cfg(test)]
mod leave_tests;
pub mod live;
pub mod note;
pub mod record;
pub mod recovery;
#[cfg(test)]
mod recovery_tests;
pub mod row;
pub mod scan;
pub mod segment;
pub mod segments;
pub mod spare;
pub mod write;

pub use behind::Stored;
#[cfg(test)]
pub use record::sum;
pub use record::{Header, Kind};
pub use recovery::{read, recover};
pub use row::RowRef;
pub use segments::Segments;
pub use write::{Journal, Notes};
