//! The label of a segment: the bytes that it begins with. Pure.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// What a label begins with.
const MAGIC: &[u8; 8] = b"WARPJRNL";
/// The version of the format of labels and records.
const VERSION: u32 = 2;
/// How many bytes stand before the table of positions.
const FIXED: usize = 80;
/// How many bytes one entry of the table has.
const ENTRY: usize = 12;
/// Labels take a multiple of this.
const PAGE: usize = 4096;

/// What the label of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// How many bytes the segment has, with its label.
    pub size: u64,
    /// The number of the segment: each has one more than the segment before it.
    pub number: u64,
    /// The random number of the context's journal.
    pub journal: u64,
    /// The random number of the run that writes it: see `runs` of a shard.
    pub run: i64,
    /// Where its first record stands in the journal. What stands at that place or behind it in an
    /// earlier segment was never acknowledged.
    pub first: u64,
    /// The last position that was given in each shard when the segment was begun.
    pub positions: Vec<(u32, i64)>,
}

/// What stands at the beginning of a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Reading {
    /// A label, and how many bytes it takes.
    Label(Label, usize),
    /// Zeros: the segment is prepared, and not begun.
    Empty,
    /// A version that this library does not know.
    Newer(u32),
    /// Something else.
    Damaged,
}

impl Label {
    /// How many bytes the label takes for so many shards.
    pub fn bytes(shards: usize) -> usize {
        (FIXED + shards * ENTRY).next_multiple_of(PAGE)
    }

    /// The seed of the checksums of records in this segment: those of another one do not check here.
    pub fn seed(&self) -> u64 {
        xxh3_64_with_seed(&self.number.to_le_bytes(), self.journal)
    }

    /// The bytes of the label.
    pub fn encode(&self) -> Vec<u8> {
        let length = Self::bytes(self.positions.len());
        let mut out = Vec::with_capacity(length);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(length as u32).to_le_bytes());
        for number in [self.size, self.number, self.journal] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.run.to_le_bytes());
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&(self.positions.len() as u64).to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        out.resize(FIXED - 8, 0);
        let check_at = out.len();
        out.extend_from_slice(&[0; 8]);
        for (shard, position) in &self.positions {
            out.extend_from_slice(&shard.to_le_bytes());
            out.extend_from_slice(&position.to_le_bytes());
        }
        out.resize(length, 0);
        let check = xxh3_64(&out);
        if let Some(place) = out.get_mut(check_at..check_at + 8) {
            place.copy_from_slice(&check.to_le_bytes());
        }
        out
    }

    /// Reads the beginning of a segment.
    pub fn decode(bytes: &[u8]) -> Reading {
        if bytes.iter().take(PAGE).all(|byte| *byte == 0) {
            return Reading::Empty;
        }
        Self::decode_some(bytes).unwrap_or(Reading::Damaged)
    }

    fn decode_some(bytes: &[u8]) -> Option<Reading> {
        let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let half = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if bytes.get(..8)? != MAGIC {
            return None;
        }
        let version = half(8)?;
        if version > VERSION {
            return Some(Reading::Newer(version));
        }
        let length = half(12)? as usize;
        let mut copy = bytes.get(..length)?.to_vec();
        copy.get_mut(FIXED - 8..FIXED)?.fill(0);
        if xxh3_64(&copy) != word(FIXED - 8)? {
            return None;
        }
        let shards = usize::try_from(word(56)?).ok()?;
        if Self::bytes(shards) != length {
            return None;
        }
        let mut positions = Vec::with_capacity(shards);
        for at in (FIXED..).step_by(ENTRY).take(shards) {
            positions.push((half(at)?, word(at + 4)?.cast_signed()));
        }
        let label = Self {
            size: word(16)?,
            number: word(24)?,
            journal: word(32)?,
            run: word(40)?.cast_signed(),
            first: word(48)?,
            positions,
        };
        Some(Reading::Label(label, length))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_label_comes_back_and_no_other(size: u64, number: u64, journal: u64, run: i64, first: u64,
                                           positions: Vec<(u32, i64)>, flip: usize) {
            let label = Label { size, number, journal, run, first, positions };
            let bytes = label.encode();
            let length = bytes.len();
            prop_assert_eq!(length % PAGE, 0);
            prop_assert_eq!(Label::decode(&bytes), Reading::Label(label.clone(), length));
            let mut flipped = bytes.clone();
            flipped[flip / 8 % length] ^= 1 << (flip % 8);
            prop_assert!(!matches!(Label::decode(&flipped), Reading::Label(..)));
            prop_assert_eq!(Label::decode(&bytes[..length - 1]), Reading::Damaged);
        }
    }

    #[test]
    fn zeros_are_a_prepared_segment() {
        assert_eq!(Label::decode(&[0; 8192]), Reading::Empty);
        assert_eq!(Label::decode(&[]), Reading::Empty);
        assert_eq!(Label::decode(b"WARP"), Reading::Damaged);
    }
}
