//! A row of a shard's log, as a record has it. Pure.

use xxhash_rust::xxh3::Xxh3Default;

/// A row of a shard's log, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowRef<'a> {
    /// Where in the log.
    pub position: i64,
    /// Its entity.
    pub entity: &'a str,
    /// The aggregate of events that name none.
    pub aggregate: &'a str,
    /// The seq of its first event.
    pub seq: u64,
    /// How many events.
    pub count: u64,
    /// Microseconds since 1970, UTC.
    pub recorded_at: i64,
    /// The position of the entity's previous row; 0 for its first.
    pub prev: i64,
    /// A JSON array of `count` events.
    pub data: &'a str,
}

impl<'a> RowRef<'a> {
    /// The seq of its last event.
    pub fn last_seq(&self) -> u64 {
        self.seq + self.count - 1
    }

    /// Adds the body of the row's record: what the header does not have.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(self.entity.as_bytes());
        out.extend_from_slice(self.aggregate.as_bytes());
        out.extend_from_slice(self.data.as_bytes());
    }

    /// Reads such a body, whose entity and aggregate have so many bytes. What the header has is 0.
    pub fn of(body: &'a [u8], entity: usize, aggregate: usize) -> Option<Self> {
        let (seq, rest) = body.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (entity, rest) = rest.split_at_checked(entity)?;
        let (aggregate, data) = rest.split_at_checked(aggregate)?;
        Some(Self {
            position: 0,
            entity: std::str::from_utf8(entity).ok()?,
            aggregate: std::str::from_utf8(aggregate).ok()?,
            seq: u64::from_le_bytes(*seq),
            count: u64::from_le_bytes(*count),
            recorded_at: 0,
            prev: 0,
            data: std::str::from_utf8(data).ok()?,
        })
    }

    /// XXH3-64 over all of the row, so that a changed byte is never taken for data.
    pub fn checksum(&self) -> i64 {
        let mut fixed = [0; 56];
        let numbers = [
            self.position.cast_unsigned(),
            self.prev.cast_unsigned(),
            self.recorded_at.cast_unsigned(),
            self.seq,
            self.count,
            self.entity.len() as u64,
            self.aggregate.len() as u64,
        ];
        for (place, number) in fixed.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let mut hash = Xxh3Default::new();
        hash.update(&fixed);
        for text in [self.entity, self.aggregate, self.data] {
            hash.update(text.as_bytes());
        }
        // Bit 62 set and 63 not: always eight bytes in the file, so that erasing keeps the row's size.
        (hash.digest().cast_signed() & i64::MAX) | (1 << 62)
    }
}
