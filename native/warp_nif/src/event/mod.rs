//! Events on their way in (`pack`, `ticket`), out (`stored`) and back (`import`).

pub mod fields;
pub mod ids;
pub mod import;
pub mod pack;
pub mod packed;
pub mod refusal;
pub mod row;
pub mod rules;
pub mod scratch;
pub mod stored;
pub mod ticket;
pub mod weight;

pub use ids::GivenId;
pub use import::{Import, ImportRow, Returned, imported_at};
pub use pack::{Done, pack};
pub use packed::{Packed, PackedHandle};
pub use refusal::PackError;
pub use rules::Rules;
pub use stored::{
    StoredEvent, derived_id, derived_seq, other_aggregates, parse_row, same_content, to_term,
};
pub use ticket::{TicketHandle, Tied};

/// What the names of Warp's own entities and aggregates begin with.
pub const RESERVED: &str = "$warp/";
/// The most bytes that a payload, and a metadata, may have as JSON text.
pub const MAX_JSON_BYTES: usize = 1024 * 1024;
/// The most bytes that an entity's id, a type or an aggregate's name may have.
pub const MAX_NAME_BYTES: usize = 512;
/// The most bytes that an event id may have: a derived one of the longest entity's id, `#` and a
/// seq, so that every exported event can be appended again.
pub const MAX_ID_BYTES: usize = MAX_NAME_BYTES + 1 + 20;
/// The most events in one append.
pub const MAX_BATCH_EVENTS: usize = 10_000;
/// The most bytes in one append, as JSON text.
pub const MAX_BATCH_BYTES: usize = 16 * 1024 * 1024;
