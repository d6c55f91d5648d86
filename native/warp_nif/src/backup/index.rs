//! The index of a segment: where each block stands. Pure.

use super::block::{HEADER, Header};
use super::bytes::Fields;
use super::error::BlockPlace;
use super::sections::Entry;

/// Where a block stands. The blocks of a segment stand one behind another, in the order of shards and of
/// incarnations; those of one life in the order in which they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indexed {
    /// Which rows it has.
    pub place: BlockPlace,
    /// Where its header begins in the segment.
    pub offset: u64,
    /// How many bytes it has, with its header.
    pub length: u32,
    /// The XXH3-64 of these bytes.
    pub sum: u64,
}

impl Indexed {
    /// Whether the header is of the block that stands here.
    pub fn fits(&self, header: &Header) -> bool {
        header.place() == self.place
            && (header.sealed as usize).checked_add(HEADER) == Some(self.length as usize)
    }

    /// Whose it is: blocks of one life stand together.
    pub fn life(&self) -> (u16, i64) {
        (self.place.shard, self.place.incarnation)
    }
}

impl Entry for Indexed {
    const BYTES: usize = 48;

    fn put(&self, out: &mut Vec<u8>) {
        let place = &self.place;
        out.extend_from_slice(&place.shard.to_le_bytes());
        out.extend_from_slice(&place.part.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        for number in [place.incarnation, place.first, place.last] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.sum.to_le_bytes());
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let shard = fields.u16()?;
        let part = fields.u16()?;
        let length = fields.u32()?;
        Some(Self {
            place: BlockPlace {
                shard,
                part,
                incarnation: fields.i64()?,
                first: fields.i64()?,
                last: fields.i64()?,
            },
            length,
            offset: fields.u64()?,
            sum: fields.u64()?,
        })
    }
}

/// What is wrong with an index of the blocks that stand from `start` to `end`: they stand one behind another.
pub fn contradiction(index: &[Indexed], start: u64, end: u64) -> Option<&'static str> {
    let mut next = start;
    for entry in index {
        if entry.offset != next || (entry.length as usize) < HEADER {
            return Some("its blocks do not stand one behind another");
        }
        next = entry.offset.saturating_add(u64::from(entry.length));
    }
    let is_sorted = index.is_sorted_by_key(Indexed::life);
    if next != end {
        Some("its blocks end elsewhere")
    } else if !is_sorted {
        Some("its blocks are not in order")
    } else {
        None
    }
}

/// The blocks of one life.
pub fn of_life(index: &[Indexed], shard: u16, incarnation: i64) -> &[Indexed] {
    let life = (shard, incarnation);
    let from = index.partition_point(|entry| entry.life() < life);
    let to = index.partition_point(|entry| entry.life() <= life);
    index.get(from..to).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::sections::{decode, encode};

    fn entry(shard: u16, incarnation: i64, offset: u64, length: u32) -> Indexed {
        let place = BlockPlace {
            shard,
            incarnation,
            part: 2,
            first: incarnation,
            last: incarnation + 3,
        };
        Indexed {
            place,
            offset,
            length,
            sum: 77,
        }
    }

    #[test]
    fn an_index_comes_back_and_finds_a_life() {
        let index = [
            entry(0, 5, 100, 200),
            entry(0, 9, 300, 100),
            entry(0, 9, 400, 100),
            entry(1, 2, 500, 96),
        ];
        let bytes = encode(&index);
        assert_eq!(bytes.len(), index.len() * Indexed::BYTES);
        assert_eq!(decode::<Indexed>(&bytes).as_deref(), Some(&index[..]));
        assert_eq!(contradiction(&index, 100, 596), None);
        assert_eq!(of_life(&index, 0, 9), &index[1..3]);
        assert_eq!(of_life(&index, 1, 2), &index[3..]);
        assert!(of_life(&index, 1, 9).is_empty());
    }

    #[test]
    fn blocks_with_a_gap_or_out_of_order_are_told() {
        for (index, start, end) in [
            (vec![entry(0, 5, 100, 200)], 99, 300),
            (vec![entry(0, 5, 100, 200)], 100, 301),
            (vec![entry(0, 5, 100, 95)], 100, 195),
            (vec![entry(0, 5, 100, 200), entry(0, 9, 299, 100)], 100, 399),
            (vec![entry(0, 9, 100, 200), entry(0, 5, 300, 100)], 100, 400),
            (vec![], 100, 101),
        ] {
            assert!(contradiction(&index, start, end).is_some(), "{index:?}");
        }
        assert_eq!(contradiction(&[], 100, 100), None);
    }
}
