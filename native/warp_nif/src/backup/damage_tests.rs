//! Whatever becomes of a segment's bytes: it is named, and nothing panics or takes much memory or time.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::error::{Error, Object, Place};
use super::key_ring::KeyRing;
use super::pages::{Lived, Page};
use super::read::Lives;
use super::sections::{Edit, Run};
use super::segment::Segment;
use super::testing::*;
use super::trailer::TRAILER;
use super::write::Writer;

/// A small segment with some of everything.
static SMALL: LazyLock<Written> = LazyLock::new(|| {
    let mut writer = Writer::new(head(1, [0; 32]));
    writer.begin(0, 0, 11, false);
    let plan = plan_row(2, 2);
    for (incarnation, row) in [
        (1, row(1, "alice", 1, 0)),
        (2, plan),
        (1, row(3, "alice", 2, 1)),
    ] {
        let taken = writer.row(0, incarnation, &row.borrow(), Some(&apart()));
        assert!(taken.expect("taken"));
    }
    assert!(
        writer
            .revision(0, 1, &row(1, "alice", 1, 0).borrow(), None)
            .expect("taken")
    );
    let edit = Edit {
        shard: 0,
        part: 0,
        position: 4,
        of: 1,
        at: 9,
    };
    let run = Run {
        shard: 0,
        first: 1,
        run: 11,
    };
    assert!(writer.erased(edit) && writer.changed(edit) && writer.run(run));
    seal(writer)
});

/// What is found without keys.
fn verify(bytes: &[u8]) -> Vec<Error> {
    match Segment::open(bytes, BACKUP, 1) {
        Ok(segment) => segment.verify().err().unwrap_or_default(),
        Err(error) => vec![error],
    }
}

/// Everything that can be done with bytes that may be a segment.
fn read_all(bytes: &[u8]) {
    let _ = verify(bytes);
    if let Ok(segment) = Segment::open(bytes, BACKUP, 1) {
        let _ = segment.check_signature(&key(0));
        let _ = Lives::of(&segment, segment.index(), life_key)
            .expect("begins")
            .count();
        let mut merge = super::merge::Merge::default();
        let _ = merge.add::<Error>(&segment, [1; 32], |_, _, _| Ok(false));
    }
}

/// What has to be said of a byte of the small segment.
fn place_of(at: usize) -> &'static str {
    let segment = SMALL.open();
    let last = segment.index().last().expect("blocks");
    let blocks_end = (last.offset + u64::from(last.length)) as usize;
    match (at, at.checked_sub(blocks_end)) {
        (0..8, _) => "no such object",
        (8..12, _) => "unknown format",
        (..4096, _) => "its label",
        (_, None) => "the block of",
        (_, Some(0..32)) => "its list of erased keys",
        (_, Some(32..64)) => "its list of changed rows",
        (_, Some(64..88)) => "its list of runs",
        _ if at < SMALL.bytes.len() - TRAILER => "its index",
        _ => "its trailer",
    }
}

#[test]
fn each_flipped_bit_is_named_with_its_place() {
    assert!(verify(&SMALL.bytes).is_empty());
    let segment = SMALL.open();
    let mut bytes = SMALL.bytes.clone();
    for bit in 0..bytes.len() * 8 {
        let at = bit / 8;
        // The label is 4,096 bytes of which most are zero: some of those are enough.
        if (400..4000).contains(&at) && at % 97 > 0 {
            continue;
        }
        bytes[at] ^= 1 << (bit % 8);
        let errors = verify(&bytes);
        bytes[at] ^= 1 << (bit % 8);
        assert_eq!(errors.len(), 1, "bit {bit}");
        let said = errors[0].to_string();
        let place = place_of(at);
        assert!(
            said.contains(place) && said.contains("segment 1"),
            "bit {bit}: {said}"
        );
        let block = segment.index().iter().find(|entry| {
            (entry.offset..entry.offset + u64::from(entry.length)).contains(&(at as u64))
        });
        if let Some(block) = block {
            assert!(said.contains(&block.place.to_string()), "bit {bit}: {said}");
        }
    }
}

#[test]
fn each_cut_is_named_and_more_bytes_too() {
    for length in 0..SMALL.bytes.len() {
        let errors = verify(&SMALL.bytes[..length]);
        let is_truncated = matches!(
            errors[..],
            [Error::Truncated {
                object: Object::Segment(1),
                ..
            }]
        );
        assert!(is_truncated, "{length} bytes: {errors:?}");
    }
    let mut longer = SMALL.bytes.clone();
    longer.push(0);
    let errors = verify(&longer);
    let is_longer = matches!(
        errors[..],
        [Error::Damaged {
            place: Place::Whole,
            ..
        }]
    );
    assert!(is_longer, "{errors:?}");
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer(bytes: Vec<u8>) {
        read_all(&bytes);
        let mut begun = SMALL.bytes[..4096].to_vec();
        begun.extend(&bytes);
        read_all(&begun);
    }

    #[test]
    fn bytes_that_are_flipped_cut_or_repeated_are_an_answer(
        changes in proptest::collection::vec((any::<usize>(), 0..4u8, any::<u8>(), 1..600usize), 1..6)) {
        let mut bytes = SMALL.bytes.clone();
        for (at, how, byte, length) in changes {
            let at = at % bytes.len().max(1);
            let end = (at + length).min(bytes.len());
            match how {
                0 => bytes[at..end].fill(byte),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
                _ => bytes[at..end].reverse(),
            }
            if bytes.is_empty() {
                bytes.push(byte);
            }
        }
        if bytes != SMALL.bytes {
            prop_assert!(!verify(&bytes).is_empty());
        }
        read_all(&bytes);
    }

    /// As above, with all checksums made to fit again, as someone with the keys could.
    #[test]
    fn lists_that_fit_their_checksums_are_an_answer(list in proptest::collection::vec(any::<u8>(), 0..200),
                                                    entries: [u64; 4], few: [bool; 4],
                                                    blocks_end: u64, is_near: bool) {
        use super::trailer::{Listed, Trailer};
        let mut bytes = SMALL.bytes[..4096].to_vec();
        bytes.extend(&list);
        let size = (bytes.len() + TRAILER) as u64;
        let label = SMALL.sealed.label.encode(size).expect("sound");
        bytes[..4096].copy_from_slice(&label);
        let listed = |n: usize| Listed {
            entries: if few[n] { entries[n] % 4 } else { entries[n] },
            sum: xxhash_rust::xxh3::xxh3_64(&[]),
        };
        let trailer = Trailer {
            cut: None,
            blocks_end: if is_near { 4096 + blocks_end % 300 } else { blocks_end },
            erased: listed(0),
            changed: listed(1),
            runs: listed(2),
            index: listed(3),
            hash: [0; 32],
            mac: [0; 32],
        };
        bytes.extend(trailer.encode());
        read_all(&bytes);
    }
}

fn page() -> Page {
    let life = |incarnation, keys| Lived {
        incarnation,
        tag: [incarnation as u8; 8],
        keys,
    };
    Page {
        backup: BACKUP,
        shard: 3,
        number: 1,
        lives: vec![
            life(65_536, vec![Some(key(1))]),
            life(65_539, vec![None]),
            life(131_071, vec![Some(key(2)), None, Some(key(3))]),
        ],
    }
}

#[test]
fn each_flipped_bit_and_each_cut_of_a_key_page_is_named() {
    let bytes = page().seal(&key(0), &[5; 32]).expect("seals");
    let open = |bytes: &[u8]| Page::open(bytes, &key(0), BACKUP, 3, 1);
    let mut ring = KeyRing::default();
    ring.add(open(&bytes).expect("opens"));
    assert!(matches!(
        ring.find(3, 131_071, 2),
        super::key::Found::Key(_)
    ));
    let mut flipped = bytes.clone();
    for bit in 0..bytes.len() * 8 {
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = open(&flipped).err().map(|error| error.to_string());
        let error = error.expect("damaged");
        assert!(
            error.contains("key page 1 of shard 3"),
            "bit {bit}: {error}"
        );
        flipped[bit / 8] ^= 1 << (bit % 8);
    }
    for length in 0..bytes.len() {
        let cut = open(&bytes[..length]).err();
        assert!(
            matches!(cut, Some(Error::Truncated { .. })),
            "{length} bytes: {cut:?}"
        );
    }
}
