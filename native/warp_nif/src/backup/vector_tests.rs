//! The examples in `docs/file-format.md`: what these say never changes within a format.

use super::apart::Cut;
use super::block::HEADER;
use super::key::{Found, Key};
use super::keys_index::{Covered, KeysIndex};
use super::master::{Backup, wrap};
use super::pages::{Lived, Page, tag};
use super::row_list::RowList;
use super::rows::{Pack, Rows};
use super::seal::{Opener, block_key};
use super::sections::{Edit, Run};
use super::segment::Segment;
use super::trailer;
use super::write::{Head, Writer};
use crate::log::Row;

const DOCUMENT: &str = include_str!("../../../../docs/file-format.md");
const BACKUP: u64 = 0x1122_3344_5566_7788;

/// A key whose bytes count up from this one.
fn key(first: u8) -> Key {
    Key::of(&counted(first)).expect("not zero")
}

fn counted(first: u8) -> [u8; 32] {
    std::array::from_fn(|n| first + n as u8)
}

fn life() -> Key {
    key(0x40)
}

fn backup_key() -> Key {
    key(0x60)
}

fn row() -> Row {
    Row {
        position: 1,
        entity: "alice".into(),
        aggregate: "Account".into(),
        seq: 1,
        count: 1,
        recorded_at: 1_795_178_321_547_399,
        prev: 0,
        data: r#"[{"type":"Credited","payload":{"amount":5000}}]"#.into(),
    }
}

/// Bytes as the document shows them, 32 in a line.
fn hex(bytes: &[u8]) -> String {
    let line = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let lines: Vec<String> = bytes.chunks(32).map(line).collect();
    lines.join("\n")
}

/// The document has all of these; what it does not have is told.
fn shows(all: &[(&str, String)]) {
    let missing = all.iter().filter(|(_, shown)| !DOCUMENT.contains(shown));
    let missing: String = missing
        .map(|(what, shown)| format!("{what}\n{shown}\n"))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/file-format.md does not show:\n{missing}"
    );
}

fn segment() -> Vec<u8> {
    let mut writer = Writer::new(Head {
        backup: BACKUP,
        stream: 5,
        shards: 1,
        number: 1,
        before: [0; 32],
        id: counted(0x20),
        time: 1_795_178_400_000_000,
        node: "warp@bank".into(),
    });
    writer.begin(0, 0, 7, false);
    assert!(writer.row(0, 1, &row().borrow(), None).expect("taken"));
    writer.reach(0, 3, 7).expect("reaches");
    let edit = Edit {
        shard: 0,
        part: 0,
        position: 3,
        of: 2,
        at: 1_795_178_399_000_000,
    };
    let run = Run {
        shard: 0,
        first: 1,
        run: 7,
    };
    assert!(writer.erased(edit) && writer.run(run));
    let cut = trailer::Cut {
        number: 1,
        record: 3,
        time: 1_795_178_400_000_000,
    };
    let mut bytes = Vec::new();
    let keys = |_, _, _| Found::Key(life());
    writer
        .seal(keys, Some(cut), &backup_key(), &mut bytes)
        .expect("seals");
    bytes
}

#[test]
fn a_segment_and_its_block() {
    let mut pack = Pack::default();
    pack.row(&row().borrow(), &[]);
    let bytes = segment();
    let read = Segment::open(&bytes, BACKUP, 1).expect("opens");
    let hash = read.verify().expect("sound");
    let entry = read.index().first().expect("a block");
    let (header, block) = read.block(entry).expect("a block");
    let mut opened = Vec::new();
    let mut opener = Opener::new().expect("opener");
    let done = opener.open(&life(), &header, block, &mut opened);
    assert_eq!((done, opened.as_slice()), (Ok(()), pack.bytes()));
    let used = bytes[..4096]
        .iter()
        .rposition(|byte| *byte > 0)
        .expect("a label")
        + 1;
    shows(&[
        ("ROWS", hex(pack.bytes())),
        (
            "BLOCKKEY",
            hex(block_key(&life(), &counted(0x20), 0).expose()),
        ),
        ("HEADER", hex(&block[..HEADER])),
        ("SEALED", hex(&block[HEADER..])),
        ("LABEL", hex(&bytes[..used])),
        ("BEHIND", hex(&bytes[4096 + block.len()..])),
        ("SHA", hex(&hash)),
        ("SIZE", format!("has {} bytes and", bytes.len())),
    ]);
}

/// A plan of one step, whose payloads have a key of their own.
#[test]
fn a_row_with_payloads_apart() {
    let data = concat!(
        r#"[{"type":"Planned","payload":{}},{"type":"Forward","payload":{"a":1}},"#,
        r#"{"type":"Reverse","payload":{"b":22}}]"#
    );
    let row = Row {
        entity: "$warp/saga/t".into(),
        aggregate: "$warp/saga".into(),
        count: 3,
        data: data.into(),
        ..row()
    };
    let cuts: Vec<Cut> = super::testing::apart().cuts(&row.data).expect("cuts");
    let mut main = Pack::default();
    main.row(&row.borrow(), &cuts);
    let mut payloads = Pack::default();
    payloads.payloads(&row.borrow(), cuts.iter());
    let unpacked = Rows::of(main.bytes())
        .next()
        .expect("a row")
        .expect("sound");
    let mut joined = RowList::default();
    let is_whole = unpacked.join_into(&mut joined, |_| None).expect("joins");
    assert!(!is_whole);
    shows(&[
        ("DATA", row.data),
        ("CUTROW", hex(main.bytes())),
        ("PAYLOADS", hex(payloads.bytes())),
        ("CLEARED", joined.to_rows().remove(0).data),
    ]);
}

#[test]
fn the_objects_with_keys() {
    let lived = |incarnation, tag, key| Lived {
        incarnation,
        tag,
        keys: vec![key],
    };
    let alice = tag(&backup_key(), "alice");
    let page = Page {
        backup: BACKUP,
        shard: 0,
        number: 0,
        lives: vec![lived(1, alice, Some(life())), lived(2, [0; 8], None)],
    };
    let index = KeysIndex {
        backup: BACKUP,
        stream: 5,
        segment: 0,
        time: 1_795_178_400_000_000,
        shards: vec![Covered {
            shard: 0,
            highest: 1,
            edits: 3,
        }],
    };
    let backup = Backup {
        backup: BACKUP,
        created: 1_795_178_400_000_000,
        shards: 1,
        context: "bank".into(),
        wrapping: "master".into(),
        wrapped: wrap(&key(0xa0), &backup_key(), BACKUP, &counted(0xc0)).expect("wraps"),
    };
    let page = page.seal(&backup_key(), &counted(0x80)).expect("seals");
    shows(&[
        ("TAG", hex(&alice)),
        ("PAGE", hex(&page)),
        ("KEYSINDEX", hex(&index.encode(&backup_key()))),
        ("BACKUP", hex(&backup.encode(&backup_key()))),
    ]);
}
