//! What tests of backups share.

use std::ops::Range;

use proptest::prelude::*;

use super::assemble::Sealed;
use super::error::Result;
use super::key::{Found, Key};
use super::label::{Label, NO_HASH};
use super::read::{Life, Lives};
use super::segment::Segment;
use super::trailer::Cut;
use super::write::{Head, Writer};
use crate::log::Row;
use crate::log::apart::Apart;

/// The id of the backup.
pub const BACKUP: u64 = 0xb0;

/// A key that is made of a number.
pub fn key(number: u8) -> Key {
    Key::of(&[number.wrapping_add(1).max(1); 32]).expect("not zero")
}

/// The key of a shard's incarnation and part. None is erased.
pub fn life_key(shard: u16, incarnation: i64, part: u16) -> Found {
    let parts = [
        &shard.to_le_bytes()[..],
        &incarnation.to_le_bytes(),
        &part.to_le_bytes(),
    ];
    Found::Key(key(9).derive(&parts))
}

/// A label of a segment of one shard without rows.
pub fn label() -> Label {
    Label {
        backup: BACKUP,
        stream: 5,
        shards: 1,
        number: 1,
        first: 1,
        id: [7; 32],
        before: NO_HASH,
        stands_for: NO_HASH,
        time: 1_795_178_321_547_399,
        node: "warp@bank".into(),
        reaches: vec![],
    }
}

/// What is known of the segment of this number in a context of one shard.
pub fn head(number: u64, before: [u8; 32]) -> Head {
    let label = label();
    let mut id = label.id;
    id[0] = number as u8;
    Head {
        backup: label.backup,
        stream: label.stream,
        shards: label.shards,
        number,
        before,
        id,
        time: label.time,
        node: label.node,
    }
}

/// Which payloads of plans have keys of their own.
pub fn apart() -> Apart {
    let pairs = ["Forward", "Reverse"].map(|kind| (kind.into(), "Cleared".into()));
    Apart::new(pairs.into(), 2).expect("apart")
}

/// The row of a plan of so many steps, each of which has secrets.
pub fn plan_row(position: i64, steps: u64) -> Row {
    let step = |n| {
        [("Forward", "f"), ("Reverse", "r")]
            .map(|(kind, key)| {
                format!(r#",{{"type":"{kind}","payload":{{"{key}":"secret {n}"}}}}"#)
            })
            .concat()
    };
    let steps_of = (1..=steps).map(step).collect::<String>();
    Row {
        position,
        entity: format!("$warp/saga/{position}"),
        aggregate: "$warp/saga".into(),
        seq: 1,
        count: 1 + 2 * steps,
        recorded_at: 1_795_178_321_547_399 + position,
        prev: 0,
        data: format!(r#"[{{"type":"Planned","payload":{{}}}}{steps_of}]"#),
    }
}

/// A row of one event.
pub fn row(position: i64, entity: &str, seq: u64, prev: i64) -> Row {
    Row {
        position,
        entity: entity.into(),
        aggregate: "Account".into(),
        seq,
        count: 1,
        recorded_at: 1_795_178_321_547_399 + position,
        prev,
        data: format!(r#"[{{"type":"Paid","payload":{{"amount":{position}}}}}]"#),
    }
}

prop_compose! {
    /// The log of one life: so many rows, each behind the one before.
    pub fn life(rows: Range<usize>)(
        entity in ".{1,20}",
        first in 1..1i64 << 40,
        rows in proptest::collection::vec((1..1000i64, 1..50u64, any::<i64>(), "(A|B|C)", ".{0,60}"), rows),
    ) -> Vec<Row> {
        let mut log: Vec<Row> = Vec::new();
        for (further, count, recorded_at, aggregate, data) in rows {
            let last = log.last();
            log.push(Row {
                position: last.map_or(first, |row| row.position + further),
                entity: entity.clone(),
                aggregate,
                seq: last.map_or(1, |row| row.last_seq() + 1),
                count,
                recorded_at,
                prev: last.map_or(0, |row| row.position),
                data,
            });
        }
        log
    }
}

/// Keys of which some are erased.
pub fn keys_without<'e>(
    erased: &'e [(u16, i64, u16)],
) -> impl Fn(u16, i64, u16) -> Found + Copy + 'e {
    move |shard, incarnation, part| {
        let is_erased = |part| erased.contains(&(shard, incarnation, part));
        if is_erased(0) || is_erased(part) {
            Found::Erased
        } else {
            life_key(shard, incarnation, part)
        }
    }
}

/// A segment, written.
pub struct Written {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What the writer says of it.
    pub sealed: Sealed,
}

impl Written {
    /// The segment, read.
    pub fn open(&self) -> Segment<'_> {
        Segment::open(&self.bytes, BACKUP, self.sealed.label.number).expect("opens")
    }

    /// All its lives.
    pub fn lives(&self, keys: impl Fn(u16, i64, u16) -> Found) -> Vec<Result<Life>> {
        let segment = self.open();
        let lives = Lives::of(&segment, segment.index(), keys);
        lives.expect("reads").collect()
    }
}

/// Seals what is in a writer with all keys.
pub fn seal(writer: Writer) -> Written {
    let mut bytes = Vec::new();
    let cut = Cut {
        number: 3,
        record: 400,
        time: 77,
    };
    let sealed = writer
        .seal(life_key, Some(cut), &key(0), &mut bytes)
        .expect("seals");
    assert_eq!(sealed.bytes, bytes.len() as u64);
    Written { bytes, sealed }
}

/// A segment of one shard with these rows of lives behind `from`, all of which it has to take.
pub fn segment(number: u64, before: [u8; 32], from: i64, rows: &[(i64, Row)]) -> Written {
    let mut writer = Writer::new(head(number, before));
    writer.begin(0, from, 11, false);
    for (incarnation, row) in rows {
        let taken = writer.row(0, *incarnation, &row.borrow(), None);
        assert!(taken.expect("takes the row"));
    }
    seal(writer)
}
