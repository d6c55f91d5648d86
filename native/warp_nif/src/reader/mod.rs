//! Reading a shard, beside the writer: memory first, then a view of the file.

pub mod closed_entities;
pub mod correlations;
pub mod follow;
pub mod open_entities;
pub mod runs;
pub mod view;

pub use follow::{Followed, Seen};
pub use view::{Direction, Page};
