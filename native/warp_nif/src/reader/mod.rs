//! Reading a shard, beside the writer: memory first, then a view of the file.

pub mod closed_entities;
pub mod correlations;
pub mod count;
pub mod entities;
pub mod follow;
pub mod given_ids;
pub mod open_entities;
pub mod page;
pub mod recorded;
pub mod runs;
pub mod view;

pub use entities::Wanted;
pub use follow::{Followed, Seen};
pub use page::{Direction, Page};
