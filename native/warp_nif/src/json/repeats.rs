//! Remembers texts that were written before: the events of a batch have the same keys and atoms.

use std::ops::Range;

use rustler::Term;

use super::word::word;

/// How many texts are remembered.
const SLOTS: usize = 32;

/// Where the texts of keys and atoms stand in the output, each for the very term: an equal one
/// elsewhere in memory is another term.
///
/// NOTE: good for one output and within one call of a NIF, in which no term moves or goes.
#[derive(Default)]
pub struct Repeats([Text; SLOTS]);

/// A text of the output.
#[derive(Clone, Copy, Default)]
pub struct Text {
    of: usize,
    from: u32,
    bytes: u16,
    /// Whether it was written for an atom.
    pub is_atom: bool,
}

impl Text {
    /// Where it stands.
    pub fn at(self) -> Range<usize> {
        self.from as usize..self.from as usize + usize::from(self.bytes)
    }
}

impl Repeats {
    /// The text of this term.
    pub fn find(&self, term: Term<'_>) -> Option<Text> {
        let of = word(term);
        self.0.get(slot(of)).copied().filter(|text| text.of == of)
    }

    /// Notes that the text of this term stands there.
    pub fn note(&mut self, term: Term<'_>, at: Range<usize>, is_atom: bool) {
        let of = word(term);
        let bounds = (u32::try_from(at.start), u16::try_from(at.len()));
        if let ((Ok(from), Ok(bytes)), Some(place)) = (bounds, self.0.get_mut(slot(of))) {
            *place = Text {
                of,
                from,
                bytes,
                is_atom,
            };
        }
    }
}

/// Spreads addresses, and numbers of atoms, of which the lowest bits say little.
fn slot(word: usize) -> usize {
    let spread = (word as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (spread >> (u64::BITS - SLOTS.ilog2())) as usize
}
