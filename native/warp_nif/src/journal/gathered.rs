//! The commit that is being gathered: the bytes of its records. Pure.

use super::record::{ALIGN, HEADER, Header, Kind, sum};
use super::row::RowRef;

/// The buffer is kept up to this size.
const MAX_BUFFER: usize = 16 * 1024 * 1024;

/// Records that are written and synced together.
pub struct Gathered {
    /// Where the next record stands in the journal.
    next: u64,
    buffer: Vec<u8>,
    /// The records, with where each begins in the buffer. Their headers are written when it is known
    /// which segment they go to.
    records: Vec<(Header, usize)>,
}

impl Gathered {
    /// None yet; the first one will stand at this place in the journal.
    pub fn new(next: u64) -> Self {
        Self {
            next,
            buffer: Vec::new(),
            records: Vec::new(),
        }
    }

    /// Adds a row of a shard: its checksum.
    pub fn put_row(&mut self, shard: u16, row: &RowRef<'_>) -> i64 {
        let checksum = row.checksum();
        let at = self.open_record();
        row.put(&mut self.buffer);
        let header = Header {
            kind: Kind::Row,
            shard,
            body: 0,
            lsn: 0,
            index: 0,
            is_last: false,
            entity: u16::try_from(row.entity.len()).unwrap_or(u16::MAX),
            aggregate: u16::try_from(row.aggregate.len()).unwrap_or(u16::MAX),
            position: row.position,
            prev: row.prev,
            recorded_at: row.recorded_at,
            sum: checksum.cast_unsigned(),
        };
        self.close_record(header, at);
        checksum
    }

    /// Likewise a record that is no row. The first `entity` bytes of the body are the entity's id.
    pub fn put(&mut self, kind: Kind, shard: u16, position: i64, entity: u16, body: &[u8]) {
        let at = self.open_record();
        self.buffer.extend_from_slice(body);
        let header = Header {
            kind,
            shard,
            body: 0,
            lsn: 0,
            index: 0,
            is_last: false,
            entity,
            aggregate: 0,
            position,
            prev: 0,
            recorded_at: 0,
            sum: sum(position, body),
        };
        self.close_record(header, at);
    }

    fn open_record(&mut self) -> usize {
        let at = self.buffer.len();
        self.buffer.resize(at + HEADER, 0);
        at
    }

    fn close_record(&mut self, header: Header, at: usize) {
        let body = self.buffer.len() - at - HEADER;
        self.buffer
            .resize(self.buffer.len().next_multiple_of(ALIGN), 0);
        let header = Header {
            body: u32::try_from(body).unwrap_or(u32::MAX),
            lsn: self.next,
            index: u32::try_from(self.records.len()).unwrap_or(u32::MAX),
            ..header
        };
        self.records.push((header, at));
        self.next += 1;
    }

    /// How many records there are.
    pub fn records(&self) -> usize {
        self.records.len()
    }

    /// How many bytes they have.
    pub fn bytes(&self) -> u64 {
        self.buffer.len() as u64
    }

    /// Where the first one stands in the journal, or will stand.
    pub fn first(&self) -> u64 {
        self.next - self.records.len() as u64
    }

    /// Where the last one stands; with none, the last one of the commit before.
    pub fn last(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// Gives up all records but the first so many.
    pub fn rewind(&mut self, records: usize) {
        if let Some((header, at)) = self.records.get(records) {
            self.next = header.lsn;
            self.buffer.truncate(*at);
            self.records.truncate(records);
        }
    }

    /// The commit's bytes in a segment whose records have this seed.
    pub fn encode(&mut self, seed: u64) -> &[u8] {
        if let Some((last, _)) = self.records.last_mut() {
            last.is_last = true;
        }
        for (header, at) in &self.records {
            let place = self.buffer.get_mut(*at..*at + HEADER);
            if let Some(place) = place {
                place.copy_from_slice(&header.encode(seed));
            }
        }
        &self.buffer
    }

    /// As many zeros, where the records cannot be written any more.
    pub fn zeros(&mut self) -> &[u8] {
        self.buffer.fill(0);
        &self.buffer
    }

    /// Of each record the shard, the position, and the place in a segment where the commit begins at
    /// this byte.
    pub fn places(&self, begins: u64) -> impl Iterator<Item = (u16, i64, u32)> {
        self.records.iter().map(move |(header, at)| {
            let place = (begins + *at as u64) / ALIGN as u64;
            (header.shard, header.position, place as u32)
        })
    }

    /// Begins the next commit, behind this one.
    pub fn clear(&mut self) {
        self.records.clear();
        self.buffer.clear();
    }

    /// Gives memory back that only a large commit has needed.
    pub fn shrink(&mut self) {
        if self.buffer.capacity() > MAX_BUFFER {
            self.buffer.shrink_to(MAX_BUFFER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_leaves_no_gap() {
        let mut gathered = Gathered::new(7);
        gathered.put(Kind::Erase, 3, 1, 5, b"alice");
        let bytes = gathered.bytes();
        gathered.put(Kind::Erase, 3, 2, 3, b"bob");
        assert_eq!((gathered.first(), gathered.last()), (7, 8));
        gathered.rewind(1);
        assert_eq!((gathered.bytes(), gathered.last()), (bytes, 7));
        gathered.put(Kind::Erase, 4, 9, 5, b"carol");
        assert_eq!(gathered.records(), 2);

        let places: Vec<_> = gathered.places(4096).collect();
        assert_eq!(places, [(3, 1, 64), (4, 9, 66)]);
        let bytes = gathered.encode(1);
        for (at, (lsn, is_last)) in [(0, (7, false)), (128, (8, true))] {
            let header = Header::decode(&bytes[at..], 1).expect("a header");
            assert_eq!((header.lsn, header.is_last), (lsn, is_last));
            assert!(header.fits(&bytes[at + HEADER..][..5]));
        }

        gathered.clear();
        assert_eq!((gathered.records(), gathered.first()), (0, 9));
    }
}
