//! The lists that stand behind the blocks of a segment. Pure.

use super::bytes::Fields;

/// An entry of a list: its bytes, always as many, and back.
pub trait Entry: Sized {
    /// How many bytes an entry has.
    const BYTES: usize;

    /// Adds the entry's bytes.
    fn put(&self, out: &mut Vec<u8>);

    /// The entry that stands here.
    fn read(fields: &mut Fields<'_>) -> Option<Self>;
}

/// A change that took a position of its own: a key that was erased, or a row that was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edit {
    /// The shard.
    pub shard: u16,
    /// Which key of the life was erased: 0 for that of the life, and with it all others. 0 for a changed row.
    pub part: u16,
    /// The position that the change took.
    pub position: i64,
    /// The incarnation whose key was erased, or the position of the row that was changed.
    pub of: i64,
    /// When, in microseconds since 1970.
    pub at: i64,
}

/// From which position on a shard's rows were written by which run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// The shard.
    pub shard: u16,
    /// The position of the first row that the run wrote.
    pub first: i64,
    /// The run.
    pub run: i64,
}

impl Entry for Edit {
    const BYTES: usize = 32;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.shard.to_le_bytes());
        out.extend_from_slice(&self.part.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for number in [self.position, self.of, self.at] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let shard = fields.u16()?;
        let part = fields.u16()?;
        fields.zeros(4)?;
        Some(Self {
            shard,
            part,
            position: fields.i64()?,
            of: fields.i64()?,
            at: fields.i64()?,
        })
    }
}

impl Entry for Run {
    const BYTES: usize = 24;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.shard.to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        for number in [self.first, self.run] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let shard = fields.u16()?;
        fields.zeros(6)?;
        Some(Self {
            shard,
            first: fields.i64()?,
            run: fields.i64()?,
        })
    }
}

/// The bytes of a list.
pub fn encode<E: Entry>(entries: &[E]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len().saturating_mul(E::BYTES));
    for entry in entries {
        entry.put(&mut out);
    }
    out
}

/// The list with these bytes, if they are one.
pub fn decode<E: Entry>(bytes: &[u8]) -> Option<Vec<E>> {
    let mut fields = Fields::of(bytes);
    let mut entries = Vec::with_capacity(bytes.len() / E::BYTES);
    while fields.left() > 0 {
        entries.push(E::read(&mut fields)?);
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lists_come_back(edits: Vec<(u16, u16, i64, i64, i64)>, runs: Vec<(u16, i64, i64)>) {
            let edit = |(shard, part, position, of, at)| Edit { shard, part, position, of, at };
            let edits: Vec<Edit> = edits.into_iter().map(edit).collect();
            let bytes = encode(&edits);
            prop_assert_eq!(bytes.len(), edits.len() * Edit::BYTES);
            prop_assert_eq!(decode(&bytes), Some(edits));
            let run = |(shard, first, run)| Run { shard, first, run };
            let runs: Vec<Run> = runs.into_iter().map(run).collect();
            let bytes = encode(&runs);
            prop_assert_eq!(bytes.len(), runs.len() * Run::BYTES);
            prop_assert_eq!(decode(&bytes), Some(runs));
        }

        #[test]
        fn any_bytes_are_an_answer(bytes: Vec<u8>) {
            if let Some(edits) = decode::<Edit>(&bytes) {
                prop_assert_eq!(encode(&edits), bytes);
            }
        }
    }
}
