//! The records of a journal, as bytes. Pure: `docs/file-format.md` describes what stands where.
//!
//! A record is a header of 64 bytes and a body. Both begin at a multiple of 64, so that a header
//! never lies across two sectors of a disk. The header has a checksum of its own, and one of the
//! body: so the body can be blanked, when what it says is erased, and the record still stands.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::row::RowRef;

/// What records, headers and bodies begin at a multiple of.
pub const ALIGN: usize = 64;
/// How many bytes the header of a record has.
pub const HEADER: usize = 64;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A row is appended to an entity's log.
    Row,
    /// Payloads of events are cleared.
    Clear,
    /// An entity is erased.
    Erase,
    /// The time of a row is corrected.
    Retime,
    /// What stood here is erased.
    Blank,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Row => 1,
            Self::Clear => 2,
            Self::Erase => 3,
            Self::Retime => 4,
            Self::Blank => 5,
        }
    }

    fn of(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Row),
            2 => Some(Self::Clear),
            3 => Some(Self::Erase),
            4 => Some(Self::Retime),
            5 => Some(Self::Blank),
            _ => None,
        }
    }
}

/// The header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the record says.
    pub kind: Kind,
    /// The shard that it is about.
    pub shard: u16,
    /// How many bytes the body has.
    pub body: u32,
    /// Where the record stands in the journal: each has one more than the record before it.
    pub lsn: u64,
    /// The number of the record in its commit, from 0: what comes behind that commit shows that the
    /// commit was synced.
    pub index: u32,
    /// Whether it is the last one of its commit: a commit without one was written only in part.
    pub is_last: bool,
    /// How many bytes of the body are the entity's id.
    pub entity: u16,
    /// How many bytes behind it are the aggregate's name.
    pub aggregate: u16,
    /// The position in the shard's log.
    pub position: i64,
    /// The position of the entity's previous row; 0 for its first, and for what is no row.
    pub prev: i64,
    /// Microseconds since 1970; 0 for what is no row.
    pub recorded_at: i64,
    /// The checksum of the body: that of the row, or of the bytes.
    pub sum: u64,
}

/// A number at a place of a header; 0 past its end, which no header has.
fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes
        .get(at..at + N)
        .and_then(|part| part.try_into().ok())
        .unwrap_or([0; N])
}

impl Header {
    /// The bytes of the header in a segment whose records have this seed.
    pub fn encode(&self, seed: u64) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let mut put = |at: usize, part: &[u8]| {
            if let Some(place) = bytes.get_mut(at..at + part.len()) {
                place.copy_from_slice(part);
            }
        };
        put(0, &self.body.to_le_bytes());
        put(4, &[self.kind.code(), u8::from(self.is_last)]);
        put(6, &self.shard.to_le_bytes());
        put(8, &self.lsn.to_le_bytes());
        put(16, &self.index.to_le_bytes());
        put(20, &self.entity.to_le_bytes());
        put(22, &self.aggregate.to_le_bytes());
        put(24, &self.position.to_le_bytes());
        put(32, &self.prev.to_le_bytes());
        put(40, &self.recorded_at.to_le_bytes());
        put(48, &self.sum.to_le_bytes());
        let check = check(&bytes, seed);
        if let Some(place) = bytes.get_mut(56..) {
            place.copy_from_slice(&check.to_le_bytes());
        }
        bytes
    }

    /// The header that these bytes begin with, if they do.
    pub fn decode(bytes: &[u8], seed: u64) -> Option<Self> {
        let kind = Kind::of(*bytes.get(4)?)?;
        let stored = u64::from_le_bytes(bytes.get(56..HEADER)?.try_into().ok()?);
        if check(bytes, seed) != stored {
            return None;
        }
        Some(Self {
            kind,
            body: u32::from_le_bytes(number(bytes, 0)),
            shard: u16::from_le_bytes(number(bytes, 6)),
            is_last: number(bytes, 5) == [1],
            lsn: u64::from_le_bytes(number(bytes, 8)),
            index: u32::from_le_bytes(number(bytes, 16)),
            entity: u16::from_le_bytes(number(bytes, 20)),
            aggregate: u16::from_le_bytes(number(bytes, 22)),
            position: i64::from_le_bytes(number(bytes, 24)),
            prev: i64::from_le_bytes(number(bytes, 32)),
            recorded_at: i64::from_le_bytes(number(bytes, 40)),
            sum: u64::from_le_bytes(number(bytes, 48)),
        })
    }

    /// How many bytes the record takes, with its header and what is left empty behind its body.
    pub fn size(&self) -> usize {
        HEADER + (self.body as usize).next_multiple_of(ALIGN)
    }

    /// The same record once its body is blank.
    pub fn blank(&self) -> Self {
        Self {
            kind: Kind::Blank,
            entity: 0,
            aggregate: 0,
            prev: 0,
            recorded_at: 0,
            sum: 0,
            ..self.clone()
        }
    }

    /// Where the first record of its commit stands.
    pub fn begins(&self) -> u64 {
        self.lsn.saturating_sub(u64::from(self.index))
    }

    /// Whether the first record of its commit stands behind this place: then what stands there was
    /// synced before this record was written.
    pub fn is_of_a_commit_behind(&self, lsn: u64) -> bool {
        self.begins() > lsn
    }

    /// Whether this is the body that the header was made for.
    pub fn fits(&self, body: &[u8]) -> bool {
        if body.len() != self.body as usize {
            return false;
        }
        match self.kind {
            Kind::Blank => true,
            Kind::Row => self
                .row(body)
                .is_some_and(|row| row.checksum().cast_unsigned() == self.sum),
            Kind::Clear | Kind::Erase | Kind::Retime => sum(self.position, body) == self.sum,
        }
    }

    /// The row of a body.
    pub fn row<'a>(&self, body: &'a [u8]) -> Option<RowRef<'a>> {
        let row = RowRef::of(body, usize::from(self.entity), usize::from(self.aggregate))?;
        Some(RowRef {
            position: self.position,
            recorded_at: self.recorded_at,
            prev: self.prev,
            ..row
        })
    }
}

fn check(header: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(header.get(..56).unwrap_or_default(), seed)
}

/// The checksum of a body that is no row.
pub fn sum(position: i64, body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, position.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(kind: Kind, body: &[u8]) -> Header {
        Header {
            kind,
            shard: 3,
            body: body.len() as u32,
            lsn: 9,
            index: 2,
            is_last: true,
            entity: 0,
            aggregate: 0,
            position: 7,
            prev: 0,
            recorded_at: 0,
            sum: sum(7, body),
        }
    }

    proptest! {
        #[test]
        fn a_row_comes_back(position in 1i64.., prev: i64, recorded_at: i64, seq: u64, count: u64,
                            entity in ".{0,40}", aggregate in ".{0,40}", data in ".{0,200}",
                            lsn: u64, index: u32, is_last: bool, shard: u16, seed: u64, flip: usize) {
            let row = RowRef { position, entity: &entity, aggregate: &aggregate, seq, count,
                               recorded_at, prev, data: &data };
            let mut body = Vec::new();
            row.put(&mut body);
            let header = Header {
                kind: Kind::Row, shard, body: body.len() as u32, lsn, index, is_last,
                entity: entity.len() as u16, aggregate: aggregate.len() as u16,
                position, prev, recorded_at, sum: row.checksum().cast_unsigned(),
            };
            let bytes = header.encode(seed);
            let again = Header::decode(&bytes, seed).expect("decodes");
            prop_assert_eq!(&again, &header);
            prop_assert!(again.fits(&body));
            prop_assert_eq!(again.row(&body), Some(row));
            // Another segment's, another bit, or another body.
            prop_assert_eq!(Header::decode(&bytes, seed ^ 1), None);
            let mut flipped = bytes;
            flipped[flip / 8 % HEADER] ^= 1 << (flip % 8);
            // The byte behind the kind is covered as well.
            prop_assert_eq!(Header::decode(&flipped, seed), None);
            let at = flip % body.len();
            body[at] ^= 1;
            prop_assert!(!again.fits(&body));
        }
    }

    #[test]
    fn a_blank_record_stands_where_it_stood() {
        let header = header(Kind::Erase, b"alice");
        assert!(header.fits(b"alice") && !header.fits(b"alicf") && !header.fits(b"alic"));
        let blank = header.blank();
        assert_eq!((blank.size(), blank.lsn), (header.size(), header.lsn));
        assert!(blank.fits(&[0; 5]));
        let bytes = blank.encode(1);
        assert_eq!(Header::decode(&bytes, 1), Some(blank));
    }

    #[test]
    fn only_a_later_commit_shows_that_an_earlier_one_was_synced() {
        // The third record of a commit that begins at 7.
        let header = header(Kind::Erase, b"");
        assert!(header.is_of_a_commit_behind(6));
        assert!(!header.is_of_a_commit_behind(7));
        assert!(!header.is_of_a_commit_behind(8));
    }
}
