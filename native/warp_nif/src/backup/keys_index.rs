//! The object `keys/index`: up to where the key pages are complete. Pure.

use super::bytes::Fields;
use super::error::{Error, Object, Result};
use super::key::Key;
use super::object::{begin, damaged, put_sum, truncated, without_sum};
use super::sections::{Entry, decode, encode};

/// What it begins with.
const MAGIC: &[u8; 8] = b"WARPKIDX";
/// The version of its format.
const FORMAT: u32 = 1;
/// How many bytes stand before the list of shards.
const HEADER: usize = 48;
/// How many bytes stand behind it: a signature, and a checksum.
const SUMS: usize = 32 + 8;
/// What the key of its signature is made of.
const PURPOSE: &[u8] = b"warp keys index 1";

/// Up to where the key pages of a shard are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// The shard.
    pub shard: u16,
    /// The highest incarnation that has a key in its pages.
    pub highest: i64,
    /// All keys that were erased up to this position of the shard's log are gone from its pages.
    pub edits: i64,
}

/// What the object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysIndex {
    /// The random number of the backup.
    pub backup: u64,
    /// The random number of the stream whose shards these are.
    pub stream: u64,
    /// The number of the stream's last segment when it was written; 0 before there was one.
    pub segment: u64,
    /// When it was written, in microseconds since 1970.
    pub time: i64,
    /// The shards, in order.
    pub shards: Vec<Covered>,
}

impl Entry for Covered {
    const BYTES: usize = 24;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&u64::from(self.shard).to_le_bytes());
        out.extend_from_slice(&self.highest.to_le_bytes());
        out.extend_from_slice(&self.edits.to_le_bytes());
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            shard: u16::try_from(fields.u64()?).ok()?,
            highest: fields.i64()?,
            edits: fields.i64()?,
        })
    }
}

impl KeysIndex {
    /// The bytes of the object.
    pub fn encode(&self, backup_key: &Key) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&(self.shards.len() as u32).to_le_bytes());
        for number in [
            self.backup,
            self.stream,
            self.segment,
            self.time.cast_unsigned(),
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend(encode(&self.shards));
        let signature = signing_key(backup_key).mac(&[&out]);
        out.extend_from_slice(&signature);
        put_sum(&mut out);
        out
    }

    /// Reads the object; with the backup key its signature is checked too. Errors: `NotOurs`, `UnknownFormat`,
    /// `Truncated`, `Damaged`, `Foreign`, `Unsigned`.
    pub fn decode(bytes: &[u8], backup: u64, backup_key: Option<&Key>) -> Result<Self> {
        let object = Object::KeyIndex;
        let mut fields = begin(bytes, MAGIC, FORMAT, object)?;
        let least = HEADER + SUMS;
        let count = fields.u32();
        let count = count.ok_or_else(|| truncated(object, least as u64, bytes))? as usize;
        let whole = count.saturating_mul(Covered::BYTES).saturating_add(least);
        if bytes.len() < whole && count <= usize::from(u16::MAX) {
            return Err(truncated(object, whole as u64, bytes));
        }
        let before = without_sum(bytes, object)?;
        let wrong = || damaged(object, "its fields do not fit");
        let (said, signature) = before.split_last_chunk::<32>().ok_or_else(wrong)?;
        let list = said.get(HEADER..).filter(|_| bytes.len() == whole);
        let shards = list.and_then(decode).ok_or_else(wrong)?;
        let read = || {
            Some(Self {
                backup: fields.u64()?,
                stream: fields.u64()?,
                segment: fields.u64()?,
                time: fields.i64()?,
                shards,
            })
        };
        let index = read().ok_or_else(wrong)?;
        if index.backup != backup {
            return Err(Error::Foreign(object, index.backup));
        }
        match backup_key {
            Some(key) if !signing_key(key).fits(&[said], signature) => Err(Error::Unsigned(object)),
            _ => Ok(index),
        }
    }
}

fn signing_key(backup_key: &Key) -> Key {
    backup_key.derive(&[PURPOSE])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backup::testing::key;

    fn index(shards: u16) -> KeysIndex {
        let covered = |shard| Covered {
            shard,
            highest: i64::from(shard) * 1000,
            edits: i64::from(shard) * 1001,
        };
        KeysIndex {
            backup: 0xb0,
            stream: 5,
            segment: 12,
            time: 99,
            shards: (0..shards).map(covered).collect(),
        }
    }

    #[test]
    fn it_comes_back_and_each_bit_counts() {
        let index = index(3);
        let bytes = index.encode(&key(1));
        assert_eq!(bytes.len(), HEADER + 3 * Covered::BYTES + SUMS);
        for with in [Some(&key(1)), None] {
            let read = KeysIndex::decode(&bytes, 0xb0, with).expect("comes back");
            assert_eq!(read, index);
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                KeysIndex::decode(&flipped, 0xb0, None).is_err(),
                "bit {bit}"
            );
        }
        for length in 0..bytes.len() {
            let cut = KeysIndex::decode(&bytes[..length], 0xb0, None);
            assert!(
                matches!(cut, Err(Error::Truncated { .. })),
                "{length} bytes: {cut:?}"
            );
        }
    }

    #[test]
    fn another_backup_and_another_key_are_named() {
        let bytes = index(1).encode(&key(1));
        let foreign = KeysIndex::decode(&bytes, 0xb1, None);
        assert!(matches!(
            foreign,
            Err(Error::Foreign(Object::KeyIndex, 0xb0))
        ));
        let unsigned = KeysIndex::decode(&bytes, 0xb0, Some(&key(2)));
        assert!(matches!(unsigned, Err(Error::Unsigned(Object::KeyIndex))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer(bytes: Vec<u8>) {
            let mut begun = MAGIC.to_vec();
            begun.extend(FORMAT.to_le_bytes());
            begun.extend(&bytes);
            put_sum(&mut begun);
            prop_assert!(KeysIndex::decode(&bytes, 0, None).is_err());
            if let Ok(read) = KeysIndex::decode(&begun, 0, None) {
                prop_assert_eq!(begun.len(), HEADER + read.shards.len() * Covered::BYTES + SUMS);
            }
        }
    }
}
