//! The header of a block, which stands in the clear before it. Pure.

use super::bytes::Fields;
use super::error::BlockPlace;

/// How many bytes a header has. All of them are associated data of the block.
pub const HEADER: usize = 96;
/// The version of the format of blocks.
const FORMAT: u8 = 1;
/// How many bytes the tag behind the ciphertext has.
pub const TAG: usize = 16;

/// What the rows of a block are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Rows that no earlier segment has.
    Rows,
    /// Rows of earlier segments as they stand since they were changed.
    Revisions,
}

/// How the rows of a block are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    Plain,
    /// With zstd.
    Zstd,
}

/// What the header of a block says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// How the rows are packed.
    pub codec: Codec,
    /// What the rows are.
    pub kind: Kind,
    /// The shard.
    pub shard: u16,
    /// Which key of the life the block has.
    pub part: u16,
    /// The number of the block in the segment that it was written in, from 0.
    pub number: u32,
    /// The random number of the backup.
    pub backup: u64,
    /// The id of the segment that it was written in.
    pub origin: [u8; 32],
    /// The incarnation of the life; 0 for the rows that have the shard's own key.
    pub incarnation: i64,
    /// The position of its first row.
    pub first: i64,
    /// How much higher that of its last row is.
    pub span: u32,
    /// The seq of the first event of its first row.
    pub seq: u64,
    /// How much higher the seq of the last event of its last row is.
    pub events: u32,
    /// How many rows.
    pub rows: u32,
    /// How many bytes the rows have.
    pub plain: u32,
    /// How many bytes stand behind the header.
    pub sealed: u32,
}

impl Header {
    /// Which rows it has.
    pub fn place(&self) -> BlockPlace {
        BlockPlace {
            shard: self.shard,
            incarnation: self.incarnation,
            part: self.part,
            first: self.first,
            last: self.first.saturating_add(i64::from(self.span)),
        }
    }

    /// The bytes of the header.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut out = Vec::with_capacity(HEADER);
        let codec = match self.codec {
            Codec::Plain => 0,
            Codec::Zstd => 1,
        };
        let kind = match self.kind {
            Kind::Rows => 1,
            Kind::Revisions => 2,
        };
        out.extend_from_slice(&[b'W', FORMAT, codec, kind]);
        out.extend_from_slice(&self.shard.to_le_bytes());
        out.extend_from_slice(&self.part.to_le_bytes());
        out.extend_from_slice(&self.backup.to_le_bytes());
        out.extend_from_slice(&self.origin);
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.seq.to_le_bytes());
        for number in [
            self.number,
            self.span,
            self.events,
            self.rows,
            self.plain,
            self.sealed,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.try_into().unwrap_or([0; HEADER])
    }

    /// The header that these bytes begin with, if they do.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::of(bytes);
        if fields.array()? != [b'W', FORMAT] {
            return None;
        }
        let codec = match fields.u8()? {
            0 => Codec::Plain,
            1 => Codec::Zstd,
            _ => return None,
        };
        let kind = match fields.u8()? {
            1 => Kind::Rows,
            2 => Kind::Revisions,
            _ => return None,
        };
        let shard = fields.u16()?;
        let part = fields.u16()?;
        let backup = fields.u64()?;
        let origin = fields.array()?;
        let incarnation = fields.i64()?;
        let first = fields.i64()?;
        let seq = fields.u64()?;
        let header = Self {
            codec,
            kind,
            shard,
            part,
            backup,
            origin,
            incarnation,
            first,
            seq,
            number: fields.u32()?,
            span: fields.u32()?,
            events: fields.u32()?,
            rows: fields.u32()?,
            plain: fields.u32()?,
            sealed: fields.u32()?,
        };
        header.is_sound().then_some(header)
    }

    fn is_sound(&self) -> bool {
        let packed = (self.sealed as usize).checked_sub(TAG);
        self.rows > 0
            && self.rows <= self.plain
            && 0 <= self.incarnation
            && self.incarnation <= self.first
            && self.first > 0
            && self.first.checked_add(i64::from(self.span)).is_some()
            && self.seq > 0
            && self.seq.checked_add(u64::from(self.events)).is_some()
            && match self.codec {
                Codec::Plain => packed == Some(self.plain as usize),
                Codec::Zstd => packed.is_some_and(|packed| packed < self.plain as usize),
            }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_that_contradicts_itself_is_none() {
        let sound = Header {
            codec: Codec::Plain,
            kind: Kind::Rows,
            shard: 0,
            part: 0,
            number: 0,
            backup: 0,
            origin: [0; 32],
            incarnation: 4,
            first: 4,
            span: 1,
            seq: 1,
            events: 1,
            rows: 2,
            plain: 2,
            sealed: 18,
        };
        assert_eq!(Header::decode(&sound.encode()), Some(sound.clone()));
        for wrong in [
            Header {
                rows: 0,
                ..sound.clone()
            },
            Header {
                rows: 3,
                ..sound.clone()
            },
            Header {
                incarnation: 5,
                ..sound.clone()
            },
            Header {
                incarnation: -1,
                ..sound.clone()
            },
            Header {
                incarnation: 0,
                first: 0,
                ..sound.clone()
            },
            Header {
                first: i64::MAX,
                ..sound.clone()
            },
            Header {
                seq: 0,
                ..sound.clone()
            },
            Header {
                seq: u64::MAX,
                ..sound.clone()
            },
            Header {
                plain: 3,
                ..sound.clone()
            },
            Header {
                codec: Codec::Zstd,
                ..sound.clone()
            },
            Header {
                codec: Codec::Zstd,
                sealed: 15,
                ..sound
            },
        ] {
            assert_eq!(Header::decode(&wrong.encode()), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn a_header_comes_back(numbers: [u32; 4], shard: u16, part: u16, backup: u64, origin: [u8; 32],
                               incarnation in 0..i64::MAX / 4, first in 1..i64::MAX / 4, seq in 1..u64::MAX / 2,
                               is_zstd: bool, is_revision: bool) {
            let [number, span, events, plain] = numbers;
            let plain = (plain >> 1).max(3);
            let header = Header {
                codec: if is_zstd { Codec::Zstd } else { Codec::Plain },
                kind: if is_revision { Kind::Revisions } else { Kind::Rows },
                shard,
                part,
                number,
                backup,
                origin,
                incarnation,
                first: incarnation + first,
                span,
                seq,
                events,
                rows: plain / 3,
                plain,
                sealed: plain - u32::from(is_zstd) + 16,
            };
            prop_assert_eq!(Header::decode(&header.encode()), Some(header));
        }

        #[test]
        fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), HEADER)) {
            if let Some(header) = Header::decode(&bytes) {
                prop_assert_eq!(&header.encode()[..], &bytes[..]);
            }
            let mut bytes = bytes;
            bytes[..4].copy_from_slice(&[b'W', FORMAT, 1, 1]);
            if let Some(header) = Header::decode(&bytes) {
                prop_assert_eq!(&header.encode()[..], &bytes[..]);
            }
        }
    }
}
