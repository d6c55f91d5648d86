//! Reading the records of a segment, and where they end. Pure.

use super::record::{ALIGN, HEADER, Header};

/// A record that was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Where in the segment its header begins.
    pub at: usize,
    /// Its header.
    pub header: Header,
    /// Whether the body is the one that was written.
    pub is_sound: bool,
}

/// The records of a segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// In order, without a gap, up to the first header that does not check.
    pub found: Vec<Found>,
    /// Behind a header that does not check there is one that does, of a commit that was begun after
    /// what stands there was synced.
    pub has_hole: bool,
}

/// Reads the records of a segment that begin at `start`; the first one stands at `first` in the
/// journal.
pub fn scan(bytes: &[u8], start: usize, first: u64, seed: u64) -> Scan {
    let mut found = Vec::new();
    let (mut at, mut lsn) = (start, first);
    while let Some(header) = bytes.get(at..).and_then(|rest| Header::decode(rest, seed)) {
        let end = at.saturating_add(header.size());
        let body = bytes.get(at + HEADER..at + HEADER + header.body as usize);
        let Some(body) = body.filter(|_| header.lsn == lsn && end <= bytes.len()) else {
            break;
        };
        found.push(Found {
            at,
            is_sound: header.fits(body),
            header,
        });
        (at, lsn) = (end, lsn + 1);
    }
    let has_hole = is_behind(bytes, at, lsn, seed);
    Scan { found, has_hole }
}

/// Whether there is a record behind `from` that shows that `lsn` was synced.
fn is_behind(bytes: &[u8], from: usize, lsn: u64, seed: u64) -> bool {
    let rest = bytes.get(from..).unwrap_or_default();
    rest.chunks_exact(ALIGN).any(|place| {
        // Most of what is looked at are zeros.
        place.iter().any(|byte| *byte != 0)
            && Header::decode(place, seed).is_some_and(|header| header.is_of_a_commit_behind(lsn))
    })
}

/// How many of the records found count: those of commits that are there as a whole.
///
/// The last commit, which nobody was told of, may have been written only in part. In all earlier
/// commits a record whose body is not what was written is damaged: it counts, and whether it matters
/// depends on whether its shard has it.
pub fn sound(found: &[Found]) -> usize {
    let Some(last) = found.last() else {
        return 0;
    };
    let begins = last.header.begins();
    let of_last = |record: &&Found| record.header.lsn >= begins;
    let size = found.iter().rev().take_while(of_last).count();
    let commit = found.get(found.len() - size..).unwrap_or_default();
    if last.header.is_last && commit.iter().all(|record| record.is_sound) {
        found.len()
    } else {
        found.len() - size
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Kind, sum};
    use super::*;

    const SEED: u64 = 5;

    /// Commits of so many records each, behind a label of 128 bytes, in a segment of 8 KiB.
    fn segment(commits: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; 128];
        let mut lsn = 10;
        for commit in commits {
            for index in 0..*commit {
                let body = format!("entity {lsn}").into_bytes();
                let header = Header {
                    kind: Kind::Erase,
                    shard: 0,
                    body: body.len() as u32,
                    lsn,
                    index,
                    is_last: index + 1 == *commit,
                    entity: body.len() as u16,
                    aggregate: 0,
                    position: lsn as i64,
                    prev: 0,
                    recorded_at: 0,
                    sum: sum(lsn as i64, &body),
                };
                bytes.extend_from_slice(&header.encode(SEED));
                bytes.extend_from_slice(&body);
                bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
                lsn += 1;
            }
        }
        bytes.resize(8192, 0);
        bytes
    }

    fn read(bytes: &[u8]) -> (usize, usize, bool) {
        let scan = scan(bytes, 128, 10, SEED);
        (scan.found.len(), sound(&scan.found), scan.has_hole)
    }

    #[test]
    fn records_end_where_nothing_was_written() {
        assert_eq!(read(&segment(&[])), (0, 0, false));
        assert_eq!(read(&segment(&[1, 3, 2])), (6, 6, false));
    }

    #[test]
    fn a_torn_last_commit_is_not_a_hole() {
        let mut bytes = segment(&[1, 3]);
        // The header of the second of three records; then the body of the second.
        bytes[128 + 128 * 2] ^= 1;
        assert_eq!(read(&bytes), (2, 1, false));
        let mut bytes = segment(&[1, 3]);
        bytes[128 + 128 * 2 + HEADER] ^= 1;
        assert_eq!(read(&bytes), (4, 1, false));
        // Cut off between two of its records.
        let whole = segment(&[1, 3]);
        assert_eq!(read(&whole[..128 + 128 * 3]), (3, 1, false));
    }

    #[test]
    fn damage_before_a_later_commit_is_a_hole() {
        let mut bytes = segment(&[1, 3, 1]);
        bytes[128 + 128 * 2] ^= 1;
        assert_eq!(read(&bytes), (2, 1, true));
        let mut bytes = segment(&[1, 3, 1]);
        bytes[128 + 128 * 2 + HEADER] ^= 1;
        assert_eq!(read(&bytes), (5, 5, false));
        let whole = segment(&[1, 3, 1]);
        let cut = &whole[..128 + 128 * 2 + 20];
        assert_eq!(read(cut), (2, 1, false));
    }

    #[test]
    fn what_another_segment_left_is_not_read() {
        let bytes = segment(&[2, 2]);
        assert_eq!(scan(&bytes, 128, 10, SEED + 1), Scan::default());
        assert_eq!(scan(&bytes, 128, 11, SEED).found, []);
    }
}
