//! The embedded projection: one SQLite file that holds what users' projections made of events.
//!
//! Which tables it has and what stands in them is decided elsewhere, as SQL. Here is what runs
//! it: [`statements`] in transactions on the one writing connection of the [`database`], and Warp's
//! own reads on connections that cannot write ([`read`]). Users' queries run in processes of their own.

pub mod database;
pub mod open;
pub mod read;
pub mod statements;
pub mod values;

pub use database::{Database, Shared};
pub use statements::Failure;
