//! What is noted while the terms of one output are encoded.

use super::parts::Parts;
use super::repeats::Repeats;

/// What the terms before have told.
#[derive(Default)]
pub struct Notes<'a> {
    /// Texts that stand in the output already.
    pub repeats: Repeats,
    /// Binaries that may be parts of larger ones.
    pub parts: Parts<'a>,
}
