//! A shard that goes from one node to another: what stands in its file, page by page ([`outline`]), the copy of it
//! that is made on the other node ([`stage`]), which becomes a shard of that node ([`adopt`]), and the files that are
//! left behind, which are overwritten ([`discard`]). A shard that was lost with its node begins anew ([`create`]).
//! What all of these files are called is in [`names`].

pub mod adopt;
pub mod create;
pub mod discard;
pub mod names;
pub mod outline;
pub mod stage;

#[cfg(test)]
mod stage_tests;

pub use adopt::{adopt, staged_digest};
pub use create::create;
pub use discard::discard;
pub use outline::{MAX_PAGES, Outline, pages_of_closed, whole_digest};
pub use stage::Stage;
