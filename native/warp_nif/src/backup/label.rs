//! The label of a segment: the bytes that it begins with. Pure.

use xxhash_rust::xxh3::xxh3_64;

use super::bytes::Fields;
use super::error::{Error, Object, Place, Result};
use super::object::{begin, truncated};

/// What a label begins with.
const MAGIC: &[u8; 8] = b"WARPSEGM";
/// The version of the format of segments.
pub const FORMAT: u32 = 1;
/// How many bytes stand before the table of shards.
const FIXED: usize = 192;
/// Where the checksum of the label stands.
const SUM: usize = FIXED - 8;
/// Where the fields end that stand before it.
const USED: usize = 172;
/// How many bytes one entry of the table has.
const ENTRY: usize = 32;
/// Labels take a multiple of this.
const PAGE: usize = 4096;
/// The most shards that a context has.
const SHARDS: u32 = 4096;
/// The most bytes that the name of a node has.
const NODE: usize = 1024;

/// A SHA-256.
pub type Hash = [u8; 32];
/// In place of a hash that there is not.
pub const NO_HASH: Hash = [0; 32];

/// What a segment has of one shard: the rows behind `from`, up to `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The shard.
    pub shard: u16,
    /// Whether what stood before `from`, and is in no segment, was lost with its node.
    pub is_lost: bool,
    /// The last position of the segment before.
    pub from: i64,
    /// The last position that this segment covers.
    pub to: i64,
    /// The run of that position: see `runs` of a shard.
    pub run: i64,
}

/// What the label of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The random number of the backup.
    pub backup: u64,
    /// The number of the stream: the nodes of a cluster write one, one after the other.
    pub stream: u64,
    /// How many shards the context has.
    pub shards: u32,
    /// The number of the segment: each has one more than the segment before it.
    pub number: u64,
    /// The number of the first segment that it has the blocks of: its own, or that of the first one
    /// that was merged into it.
    pub first: u64,
    /// The id of the segment: random bytes.
    pub id: [u8; 32],
    /// The SHA-256 of the segment before `first`; zeros when there was none.
    pub before: Hash,
    /// Of a merged segment: the SHA-256 of the one with its number that it replaces. Else zeros.
    pub stands_for: Hash,
    /// When it was written, in microseconds since 1970.
    pub time: i64,
    /// The name of the node that wrote it.
    pub node: String,
    /// What it has of each shard, in the order of shards.
    pub reaches: Vec<Reach>,
}

impl Label {
    /// How many bytes the label takes.
    pub fn bytes(&self) -> usize {
        Self::bytes_for(self.reaches.len(), self.node.len())
    }

    fn bytes_for(reaches: usize, node: usize) -> usize {
        let used = FIXED
            .saturating_add(reaches.saturating_mul(ENTRY))
            .saturating_add(node);
        used.saturating_add(PAGE - 1) / PAGE * PAGE
    }

    /// Whether it was merged of others.
    pub fn is_merged(&self) -> bool {
        self.stands_for != NO_HASH
    }

    /// What it has of a shard.
    pub fn reach(&self, shard: u16) -> Option<&Reach> {
        let at = self
            .reaches
            .binary_search_by_key(&shard, |reach| reach.shard);
        self.reaches.get(at.ok()?)
    }

    /// The bytes of the label of a segment that has so many in all. Error: `Misuse` for what a label cannot say.
    pub fn encode(&self, segment: u64) -> Result<Vec<u8>> {
        if let Some(why) = self.contradiction() {
            return Err(Error::Misuse(why));
        }
        let length = self.bytes();
        let mut out = Vec::with_capacity(length);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        for number in [length, self.reaches.len(), self.node.len()] {
            out.extend_from_slice(&(number as u32).to_le_bytes());
        }
        for number in [segment, self.backup, self.stream, self.number, self.first] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for bytes in [&self.id, &self.before, &self.stands_for] {
            out.extend_from_slice(bytes);
        }
        out.extend_from_slice(&self.time.to_le_bytes());
        out.extend_from_slice(&self.shards.to_le_bytes());
        out.resize(FIXED, 0);
        for reach in &self.reaches {
            out.extend_from_slice(&reach.shard.to_le_bytes());
            out.extend_from_slice(&u16::from(reach.is_lost).to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            for number in [reach.from, reach.to, reach.run] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        out.extend_from_slice(self.node.as_bytes());
        out.resize(length, 0);
        let sum = xxh3_64(&out);
        if let Some(place) = out.get_mut(SUM..FIXED) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
        Ok(out)
    }

    /// Reads the beginning of the segment that should have this number: its label, and how many bytes the segment
    /// has. Errors: `NotOurs`, `UnknownFormat`, `Truncated`, `Damaged`, `Swapped`.
    pub fn decode(bytes: &[u8], number: u64) -> Result<(Self, u64)> {
        let object = Object::Segment(number);
        let damaged = |why| Error::Damaged {
            object,
            place: Place::Label,
            why,
        };
        let mut fields = begin(bytes, MAGIC, FORMAT, object)?;
        let mut sizes = || Some((fields.u32()?, fields.u32()?, fields.u32()?));
        let cut_off = || truncated(object, PAGE as u64, bytes);
        let (length, reaches, node) = sizes().ok_or_else(cut_off)?;
        let length = length as usize;
        if length != Self::bytes_for(reaches as usize, node as usize) {
            return Err(damaged("its size does not fit"));
        }
        let Some(label) = bytes.get(..length) else {
            return Err(truncated(object, length as u64, bytes));
        };
        let mut copy = label.to_vec();
        if let Some(place) = copy.get_mut(SUM..FIXED) {
            place.fill(0);
        }
        let sum = Fields::of(label.get(SUM..FIXED).unwrap_or_default()).u64();
        if sum != Some(xxh3_64(&copy)) {
            return Err(damaged("its checksum does not fit"));
        }
        let (label, segment) =
            Self::fields(fields, reaches, node).ok_or_else(|| damaged("its fields do not fit"))?;
        match label.contradiction() {
            Some(why) => Err(damaged(why)),
            None if label.number != number => {
                Err(Error::Swapped(object, Object::Segment(label.number)))
            }
            None => Ok((label, segment)),
        }
    }

    fn fields(mut fields: Fields<'_>, reaches: u32, node: u32) -> Option<(Self, u64)> {
        let segment = fields.u64()?;
        let mut label = Self {
            backup: fields.u64()?,
            stream: fields.u64()?,
            number: fields.u64()?,
            first: fields.u64()?,
            id: fields.array()?,
            before: fields.array()?,
            stands_for: fields.array()?,
            time: fields.i64()?,
            shards: fields.u32()?,
            node: String::new(),
            reaches: Vec::new(),
        };
        fields.zeros(SUM - USED)?;
        fields.u64()?; // the checksum
        for _ in 0..reaches {
            let shard = fields.u16()?;
            let is_lost = match fields.u16()? {
                0 => false,
                1 => true,
                _ => return None,
            };
            fields.zeros(4)?;
            label.reaches.push(Reach {
                shard,
                is_lost,
                from: fields.i64()?,
                to: fields.i64()?,
                run: fields.i64()?,
            });
        }
        label.node = std::str::from_utf8(fields.take(node as usize)?)
            .ok()?
            .into();
        Some((label, segment))
    }

    /// What is wrong with it in itself.
    fn contradiction(&self) -> Option<&'static str> {
        let in_order = self.reaches.windows(2).all(|pair| match pair {
            [one, two] => one.shard < two.shard,
            _ => true,
        });
        let is_sound = |reach: &Reach| {
            u32::from(reach.shard) < self.shards && 0 <= reach.from && reach.from <= reach.to
        };
        if self.first == 0 || self.first > self.number {
            Some("it is not numbered")
        } else if !(self.is_merged() || self.first == self.number) {
            Some("it says of itself alone that it is merged")
        } else if (self.first == 1) != (self.before == NO_HASH) {
            Some("it does not say what it follows")
        } else if !(1..=SHARDS).contains(&self.shards) || self.node.len() > NODE {
            Some("it has too many shards, or too long a name of the node")
        } else if !in_order || !self.reaches.iter().all(is_sound) {
            Some("its table of shards does not fit")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backup::testing::label;

    proptest! {
        #[test]
        fn a_label_comes_back_and_no_other(stream: u64, number in 2u64.., shards in 1u16..300, node in ".{0,40}",
                                           run: i64, segment: u64, flip: usize) {
            let reach = |shard| Reach { shard, is_lost: shard % 3 == 0, from: 7, to: 7 + i64::from(shard), run };
            let label = Label {
                stream,
                number,
                first: number,
                before: [1; 32],
                shards: u32::from(shards) * 2,
                node,
                reaches: (0..shards).map(|shard| reach(shard * 2)).collect(),
                ..label()
            };
            let bytes = label.encode(segment).expect("sound");
            prop_assert_eq!(bytes.len() % PAGE, 0);
            prop_assert_eq!(label.reach(shards), label.reaches.iter().find(|reach| reach.shard == shards));
            let (read, size) = Label::decode(&bytes, number).expect("comes back");
            prop_assert_eq!((read, size), (label, segment));
            let mut flipped = bytes.clone();
            flipped[flip / 8 % bytes.len()] ^= 1 << (flip % 8);
            prop_assert!(Label::decode(&flipped, number).is_err());
            let cut = Label::decode(&bytes[..flip % bytes.len()], number);
            prop_assert!(matches!(cut, Err(Error::Truncated { .. })), "{cut:?}");
        }

        #[test]
        fn any_bytes_are_an_answer(bytes: Vec<u8>) {
            prop_assert!(Label::decode(&bytes, 1).is_err());
            let mut labelled = MAGIC.to_vec();
            labelled.extend(bytes);
            prop_assert!(Label::decode(&labelled, 1).is_err());
        }
    }

    #[test]
    fn another_segment_is_told_by_its_number_and_another_format_by_its_own() {
        let mut bytes = label().encode(0).expect("sound");
        let swapped = Label::decode(&bytes, 9);
        assert!(matches!(
            swapped,
            Err(Error::Swapped(Object::Segment(9), Object::Segment(1)))
        ));
        bytes[8] = 2;
        let newer = Label::decode(&bytes, 1);
        assert!(matches!(newer, Err(Error::UnknownFormat(_, 2))));
        bytes[0] = b'w';
        assert!(matches!(Label::decode(&bytes, 1), Err(Error::NotOurs(_))));
    }

    #[test]
    fn what_contradicts_itself_is_not_written() {
        let reach = |shard, from, to| Reach {
            shard,
            is_lost: false,
            from,
            to,
            run: 1,
        };
        let with = |reaches| Label {
            reaches,
            shards: 2,
            ..label()
        };
        for wrong in [
            Label {
                number: 2,
                ..label()
            },
            Label {
                number: 0,
                first: 0,
                ..label()
            },
            Label {
                before: [1; 32],
                ..label()
            },
            Label {
                shards: 0,
                ..label()
            },
            Label {
                node: "x".repeat(NODE + 1),
                ..label()
            },
            with(vec![reach(2, 0, 0)]),
            with(vec![reach(0, 2, 1)]),
            with(vec![reach(0, -1, 1)]),
            with(vec![reach(1, 0, 0), reach(0, 0, 0)]),
            with(vec![reach(1, 0, 0), reach(1, 0, 0)]),
        ] {
            assert!(
                matches!(wrong.encode(0), Err(Error::Misuse(_))),
                "{wrong:?}"
            );
        }
    }
}
