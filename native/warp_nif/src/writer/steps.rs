//! Steps of a shard's log as records of the journal, and back.

use crate::erase::clearing::Retyping;
use crate::error::{Error, Result};
use crate::journal::{Header, Journal, Kind, Notes};

/// A step as the journal has it, which says nothing of where its entity's log ends.
#[derive(Debug)]
pub enum Written {
    /// A row is appended: see `Header::row`.
    Row,
    /// An entity is erased.
    Erase(String),
    /// Payloads of an entity's events are cleared: its id, their seqs, and what becomes of their types.
    Clear(String, Vec<u64>, Retyping),
    /// The time of the row that holds an event is corrected: the entity's id, the event's seq, and
    /// microseconds since 1970.
    Retime(String, u64, i64),
}

/// Puts the erasure of an entity into the commit that is being gathered.
pub fn put_erase<N: Notes>(journal: &mut Journal<N>, shard: u16, position: i64, entity: &str) {
    journal.put(
        Kind::Erase,
        shard,
        position,
        length(entity),
        entity.as_bytes(),
    );
}

/// Likewise the clearing of payloads.
pub fn put_clear<N: Notes>(
    journal: &mut Journal<N>,
    shard: u16,
    position: i64,
    entity: &str,
    seqs: &[u64],
    types: &Retyping,
) {
    let body = clear_body(entity, seqs, types);
    journal.put(Kind::Clear, shard, position, length(entity), &body);
}

fn clear_body(entity: &str, seqs: &[u64], types: &Retyping) -> Vec<u8> {
    let mut body = entity.as_bytes().to_vec();
    body.extend_from_slice(&(seqs.len() as u64).to_le_bytes());
    for seq in seqs {
        body.extend_from_slice(&seq.to_le_bytes());
    }
    for (from, to) in types.pairs() {
        body.extend_from_slice(&(from.len() as u64).to_le_bytes());
        body.extend_from_slice(from.as_bytes());
        body.extend_from_slice(to.as_bytes());
    }
    body
}

/// Likewise the correction of a time.
pub fn put_retime<N: Notes>(
    journal: &mut Journal<N>,
    shard: u16,
    position: i64,
    entity: &str,
    seq: u64,
    recorded_at: i64,
) {
    let mut body = entity.as_bytes().to_vec();
    body.extend_from_slice(&seq.to_le_bytes());
    body.extend_from_slice(&recorded_at.to_le_bytes());
    journal.put(Kind::Retime, shard, position, length(entity), &body);
}

fn length(entity: &str) -> u16 {
    u16::try_from(entity.len()).unwrap_or(u16::MAX)
}

/// What a record says. Error: `Corrupt` when its body does, though its checksum fits, make no sense.
pub fn read(header: &Header, body: &[u8]) -> Result<Written> {
    let senseless = || {
        let position = header.position;
        Error::corrupt(format!(
            "the journal's record of position {position} makes no sense"
        ))
    };
    let parse = || {
        if header.kind == Kind::Row {
            return Some(Written::Row);
        }
        let (entity, rest) = body.split_at_checked(usize::from(header.entity))?;
        let entity = std::str::from_utf8(entity).ok()?.to_owned();
        match header.kind {
            Kind::Erase => rest.is_empty().then_some(Written::Erase(entity)),
            Kind::Retime => {
                let (seq, rest) = rest.split_first_chunk()?;
                let (recorded_at, _) = rest.split_first_chunk()?;
                let seq = u64::from_le_bytes(*seq);
                Some(Written::Retime(
                    entity,
                    seq,
                    i64::from_le_bytes(*recorded_at),
                ))
            }
            Kind::Clear => {
                let (seqs, types) = cleared(rest)?;
                Some(Written::Clear(entity, seqs, types))
            }
            Kind::Row | Kind::Blank => None,
        }
    };
    parse().ok_or_else(senseless)
}

fn cleared(rest: &[u8]) -> Option<(Vec<u64>, Retyping)> {
    let (count, rest) = rest.split_first_chunk()?;
    let count = usize::try_from(u64::from_le_bytes(*count)).ok()?;
    let (seqs, mut rest) = rest.split_at_checked(count.checked_mul(8)?)?;
    let seqs = seqs.chunks_exact(8).filter_map(|seq| seq.try_into().ok());
    let seqs = seqs.map(u64::from_le_bytes).collect();
    let mut types = Vec::new();
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (from, behind) = behind.split_at_checked(length)?;
        let (to, behind) = behind.split_at_checked(length)?;
        types.push((
            std::str::from_utf8(from).ok()?.to_owned(),
            std::str::from_utf8(to).ok()?.to_owned(),
        ));
        rest = behind;
    }
    Some((seqs, Retyping::new(types).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sum;

    fn header(kind: Kind, entity: &str, body: &[u8]) -> Header {
        Header {
            kind,
            shard: 0,
            body: body.len() as u32,
            lsn: 1,
            index: 0,
            is_last: true,
            entity: entity.len() as u16,
            aggregate: 0,
            position: 9,
            prev: 0,
            recorded_at: 0,
            sum: sum(9, body),
        }
    }

    #[test]
    fn a_row_is_told_by_its_kind_alone() {
        // The number of its first event is no text.
        let body = u64::MAX.to_le_bytes();
        let read = read(&header(Kind::Row, "alice", &body), &body);
        assert!(matches!(read, Ok(Written::Row)), "{read:?}");
    }

    #[test]
    fn what_makes_no_sense_is_corrupt() {
        for kind in [Kind::Clear, Kind::Retime, Kind::Blank] {
            let read = read(&header(kind, "alice", b"alice"), b"alice");
            assert!(matches!(read, Err(Error::Corrupt(_))), "{read:?}");
        }
    }

    #[test]
    fn what_is_cleared_comes_back() {
        let types = vec![("Forward".into(), "Cleared".into())];
        let types = Retyping::new(types).expect("types");
        let body = clear_body("alice", &[1, 7, u64::MAX], &types);
        match read(&header(Kind::Clear, "alice", &body), &body) {
            Ok(Written::Clear(entity, seqs, read)) => {
                assert_eq!((entity.as_str(), seqs), ("alice", vec![1, 7, u64::MAX]));
                assert_eq!(read.pairs(), types.pairs());
            }
            other => panic!("{other:?}"),
        }
    }
}
