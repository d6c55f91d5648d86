//! Segments whose checksums and signature fit, but which no writer makes: what they say is checked all the same.

use xxhash_rust::xxh3::xxh3_64;

use super::apart::Cut;
use super::assemble::{Parts, assemble};
use super::block::{Codec, HEADER, Header, Kind};
use super::error::{Error, Place};
use super::index::Indexed;
use super::key::{Found, Key};
use super::label::{Label, Reach};
use super::room::ROOM;
use super::rows::Pack;
use super::seal::Sealer;
use super::segment::Segment;
use super::testing::*;
use super::trailer::{TRAILER, Trailer};

/// The rows of one life, which begins at position 1.
fn pack(positions: &[i64]) -> Pack {
    let mut pack = Pack::default();
    for (n, position) in positions.iter().enumerate() {
        let prev = n.checked_sub(1).map_or(0, |before| positions[before]);
        pack.row(&row(*position, "a", n as u64 + 1, prev).borrow(), &[]);
    }
    pack
}

fn header(pack: &Pack) -> Header {
    let bounds = pack.bounds();
    Header {
        codec: Codec::Plain,
        kind: Kind::Rows,
        shard: 0,
        part: 0,
        number: 0,
        backup: BACKUP,
        origin: label().id,
        incarnation: bounds.first,
        first: bounds.first,
        span: bounds.span,
        seq: bounds.seq,
        events: bounds.events,
        rows: bounds.rows,
        plain: 0,
        sealed: 0,
    }
}

/// The key of the only shard's incarnation.
fn key_of(incarnation: i64) -> Key {
    match life_key(0, incarnation, 0) {
        Found::Key(key) => key,
        _ => panic!("a key"),
    }
}

/// The label of a segment from position 0 to 20,000.
fn reaching() -> Label {
    let reach = Reach {
        shard: 0,
        is_lost: false,
        from: 0,
        to: 20_000,
        run: 1,
    };
    Label {
        reaches: vec![reach],
        ..label()
    }
}

fn parts(blocks: &[(Header, Vec<u8>)]) -> Parts {
    let mut parts = Parts::default();
    for (header, block) in blocks {
        parts.index.push(Indexed {
            place: header.place(),
            offset: parts.blocks.len() as u64,
            length: block.len() as u32,
            sum: xxh3_64(block),
        });
        parts.blocks.extend(block);
    }
    parts
}

fn write(label: Label, parts: Parts) -> Written {
    let mut bytes = Vec::new();
    let sealed = assemble(label, parts, None, &key(0), &mut bytes).expect("writes");
    Written { bytes, sealed }
}

fn sealed(header: Header, pack: &Pack) -> (Header, Vec<u8>) {
    let mut block = Vec::new();
    let key = key_of(header.incarnation);
    let mut sealer = Sealer::new().expect("begins");
    let header = sealer
        .seal(&key, header, pack.bytes(), &mut block)
        .expect("seals");
    (header, block)
}

/// A segment of one block with these rows and this header.
fn forged(header: Header, pack: &Pack) -> Written {
    write(reaching(), parts(&[sealed(header, pack)]))
}

/// What is said of the only life.
fn said(written: &Written) -> String {
    let life = written.lives(life_key).remove(0);
    life.expect_err("forged").to_string()
}

#[test]
fn a_block_that_is_not_of_the_segment_is_told_without_keys() {
    let pack = pack(&[1, 5, 7]);
    let sound = header(&pack);
    assert!(forged(sound.clone(), &pack).open().verify().is_ok());
    for (header, why) in [
        (
            Header {
                origin: [1; 32],
                ..sound.clone()
            },
            "of another segment",
        ),
        (
            Header {
                backup: 1,
                ..sound.clone()
            },
            "of another backup",
        ),
        (
            Header {
                span: 20_000,
                ..sound.clone()
            },
            "does not cover",
        ),
        (
            Header {
                shard: 1,
                ..sound.clone()
            },
            "does not cover",
        ),
    ] {
        let errors = forged(header, &pack).open().verify().expect_err("forged");
        assert_eq!(errors.len(), 1);
        assert!(errors[0].to_string().contains(why), "{}", errors[0]);
    }
    let mut label = reaching();
    label.reaches[0].from = 1;
    let before = write(label, parts(&[sealed(sound.clone(), &pack)]));
    let errors = before.open().verify().expect_err("forged");
    assert!(errors[0].to_string().contains("does not cover"));
    let mut label = reaching();
    label.reaches[0].from = 1;
    let revisions = Header {
        kind: Kind::Revisions,
        ..sound.clone()
    };
    let revised = write(label, parts(&[sealed(revisions, &pack)]));
    assert!(revised.open().verify().is_ok());
    let mut other = parts(&[sealed(sound, &pack)]);
    other.index[0].place.last += 1;
    let errors = write(reaching(), other)
        .open()
        .verify()
        .expect_err("forged");
    assert!(
        errors[0]
            .to_string()
            .contains("header is that of another block")
    );
}

#[test]
fn rows_that_are_not_those_of_the_header_or_the_life_are_told() {
    let pack = pack(&[1, 5, 7]);
    let sound = header(&pack);
    for (header, why) in [
        (
            Header {
                seq: 2,
                ..sound.clone()
            },
            "its header says",
        ),
        (
            Header {
                events: 9,
                ..sound.clone()
            },
            "its header says",
        ),
        (
            Header {
                span: 7,
                ..sound.clone()
            },
            "its header says",
        ),
        (
            Header {
                rows: 2,
                ..sound.clone()
            },
            "its header says",
        ),
        (
            Header {
                incarnation: 0,
                ..sound
            },
            "not of its life",
        ),
    ] {
        let said = said(&forged(header, &pack));
        assert!(said.contains(why), "{said}");
    }
    // The first row of a life is where its incarnation says.
    let later = self::pack(&[5, 7]);
    let header = Header {
        incarnation: 1,
        ..header(&later)
    };
    assert!(said(&forged(header, &later)).contains("not of its life"));
}

/// The rows of one block behind the header of another: only the key tells that.
#[test]
fn sealed_rows_behind_another_header_do_not_open() {
    let one = sealed(header(&pack(&[1])), &pack(&[1]));
    let two = sealed(header(&pack(&[2])), &pack(&[2]));
    let swap = |header: &[u8], rows: &[u8]| [&header[..HEADER], &rows[HEADER..]].concat();
    let blocks = [(one.0, swap(&one.1, &two.1)), (two.0, swap(&two.1, &one.1))];
    let written = write(reaching(), parts(&blocks));
    assert!(written.open().verify().is_ok());
    for life in written.lives(life_key) {
        assert!(matches!(life, Err(Error::WrongKey(..))));
    }
}

#[test]
fn blocks_that_say_too_much_of_their_size_are_not_unpacked() {
    let blocks = [0, 1].map(|number| {
        let header = Header {
            codec: Codec::Zstd,
            number,
            plain: ROOM as u32,
            sealed: 40,
            ..header(&pack(&[1]))
        };
        let mut block = header.encode().to_vec();
        block.extend([0; 40]);
        (header, block)
    });
    let said = said(&write(reaching(), parts(&blocks)));
    assert!(said.contains("more rows than a segment has"), "{said}");
}

/// A row of few bytes that says that much was cut out of it, as often as a block has room for.
#[test]
fn cleared_payloads_do_not_fill_the_memory() {
    let mut row = plan_row(1, 1);
    row.data = String::new();
    let large = Cut {
        part: 1,
        at: 0,
        length: ROOM - 1,
        retype: None,
    };
    let mut pack = Pack::default();
    for position in 1..=10_000 {
        row.position = position;
        pack.row(&row.borrow(), std::slice::from_ref(&large));
    }
    let header = Header {
        incarnation: 0,
        ..header(&pack)
    };
    let lives = forged(header, &pack).lives(keys_without(&[(0, 0, 1)]));
    let error = lives[0].as_ref().expect_err("too large");
    assert!(
        error.to_string().contains("larger than a segment"),
        "{error}"
    );
}

#[test]
fn bytes_that_belong_to_nothing_are_told() {
    let pack = pack(&[1]);
    let written = forged(header(&pack), &pack);
    let mut bytes = written.bytes.clone();
    let at = bytes.len() - TRAILER;
    bytes.splice(at..at, [0; 48]);
    let label = written
        .sealed
        .label
        .encode(bytes.len() as u64)
        .expect("sound");
    bytes.splice(..label.len(), label);
    let error = Segment::open(&bytes, BACKUP, 1)
        .map(drop)
        .expect_err("forged");
    assert!(error.to_string().contains("more behind it"), "{error}");
}

/// All checksums fit, but for the one of all.
#[test]
fn another_sha_256_is_told() {
    let pack = pack(&[1]);
    let written = forged(header(&pack), &pack);
    let mut bytes = written.bytes.clone();
    let at = bytes.len() - TRAILER;
    let mut trailer = Trailer::decode(&bytes[at..]).expect("a trailer");
    trailer.hash[0] ^= 1;
    bytes.splice(at.., trailer.encode());
    let segment = Segment::open(&bytes, BACKUP, 1).expect("opens");
    let errors = segment.verify().expect_err("forged");
    let is_named = matches!(
        errors[..],
        [Error::Damaged {
            place: Place::Whole,
            ..
        }]
    );
    assert!(is_named, "{errors:?}");
    assert!(matches!(
        segment.check_signature(&key(0)),
        Err(Error::Unsigned(_))
    ));
}
