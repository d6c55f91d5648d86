//! The trailer of a segment: the bytes that it ends with. Pure.

use xxhash_rust::xxh3::xxh3_64;

use super::bytes::Fields;
use super::label::Hash;

/// What a trailer begins with.
const MAGIC: &[u8; 8] = b"WARPSEND";
/// How many bytes a trailer has.
pub const TRAILER: usize = 256;
/// Where the SHA-256 of all before it stands.
const HASH: usize = 184;
/// How many bytes of a segment the SHA-256 does not cover: itself and what is behind it.
pub const UNHASHED: usize = TRAILER - HASH;
/// How many bytes of a trailer say something before the SHA-256.
const USED: usize = 8 + 8 + 24 + 8 + 4 * 16;

/// A point in time of the context that can be restored: what is in the segments up to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Its number.
    pub number: u64,
    /// The number of the last record of the journal before it.
    pub record: u64,
    /// When, in microseconds since 1970.
    pub time: i64,
}

/// A list that stands behind the blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// How many entries it has.
    pub entries: u64,
    /// The XXH3-64 of its bytes.
    pub sum: u64,
}

/// What the trailer of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// The cut that the segment completes.
    pub cut: Option<Cut>,
    /// Where the blocks end and the lists begin.
    pub blocks_end: u64,
    /// The list of erased keys, which is the first.
    pub erased: Listed,
    /// The list of changed rows.
    pub changed: Listed,
    /// The list of runs.
    pub runs: Listed,
    /// The index, which is the last.
    pub index: Listed,
    /// The SHA-256 of all of the segment before it.
    pub hash: Hash,
    /// The HMAC-SHA256 of that, with a key that is made of the backup key.
    pub mac: [u8; 32],
}

impl Trailer {
    /// The bytes that stand before the SHA-256.
    pub fn encode_fields(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(TRAILER);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&u64::from(self.cut.is_some()).to_le_bytes());
        let (number, record, time) = self
            .cut
            .map_or((0, 0, 0), |cut| (cut.number, cut.record, cut.time));
        for number in [number, record, time.cast_unsigned(), self.blocks_end] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for list in [self.erased, self.changed, self.runs, self.index] {
            out.extend_from_slice(&list.entries.to_le_bytes());
            out.extend_from_slice(&list.sum.to_le_bytes());
        }
        out.resize(HASH, 0);
        out
    }

    /// The bytes of the trailer.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.encode_fields();
        out.extend_from_slice(&self.hash);
        out.extend_from_slice(&self.mac);
        let sum = xxh3_64(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads the end of a segment, or says what is wrong with it.
    pub fn decode(bytes: &[u8]) -> std::result::Result<Self, &'static str> {
        let (fields, sum) = bytes.split_last_chunk().ok_or("it has too few bytes")?;
        if u64::from_le_bytes(*sum) != xxh3_64(fields) {
            return Err("its checksum does not fit");
        }
        Self::fields(Fields::of(fields)).ok_or("its fields do not fit")
    }

    fn fields(mut fields: Fields<'_>) -> Option<Self> {
        if fields.array::<8>()? != *MAGIC {
            return None;
        }
        let is_cut = match fields.u64()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let cut = Cut {
            number: fields.u64()?,
            record: fields.u64()?,
            time: fields.i64()?,
        };
        let blocks_end = fields.u64()?;
        let mut list = || {
            Some(Listed {
                entries: fields.u64()?,
                sum: fields.u64()?,
            })
        };
        let (erased, changed, runs, index) = (list()?, list()?, list()?, list()?);
        fields.zeros(HASH - USED)?;
        let trailer = Self {
            cut: is_cut.then_some(cut),
            blocks_end,
            erased,
            changed,
            runs,
            index,
            hash: fields.array()?,
            mac: fields.array()?,
        };
        (fields.left() == 0).then_some(trailer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_trailer_comes_back_and_no_other(cut: Option<(u64, u64, i64)>, blocks_end: u64, lists: [(u64, u64); 4],
                                             hash: [u8; 32], mac: [u8; 32], flip in 0..TRAILER * 8) {
            let list = |at: usize| Listed { entries: lists[at].0, sum: lists[at].1 };
            let trailer = Trailer {
                cut: cut.map(|(number, record, time)| Cut { number, record, time }),
                blocks_end,
                erased: list(0),
                changed: list(1),
                runs: list(2),
                index: list(3),
                hash,
                mac,
            };
            let bytes = trailer.encode();
            prop_assert_eq!(bytes.len(), TRAILER);
            prop_assert_eq!(&bytes[HASH..HASH + 32], &hash);
            prop_assert_eq!(Trailer::decode(&bytes), Ok(trailer));
            let mut flipped = bytes.clone();
            flipped[flip / 8] ^= 1 << (flip % 8);
            prop_assert!(Trailer::decode(&flipped).is_err());
            prop_assert!(Trailer::decode(&bytes[..flip / 8]).is_err());
        }

        #[test]
        fn any_bytes_are_an_answer(bytes: Vec<u8>) {
            prop_assert!(Trailer::decode(&bytes).is_err());
        }
    }
}
