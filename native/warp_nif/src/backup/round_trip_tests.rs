//! Rows that are written into a segment come back as they were.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::error::{Error, Object};
use super::key::Found;
use super::label::Reach;
use super::read::{Life, Lives};
use super::room::{BLOCK, ROOM};
use super::sections::{Edit, Run};
use super::segment::Segment;
use super::testing::*;
use super::write::{Head, Writer};
use crate::hash::{hash64, jump};
use crate::log::Row;

fn lives_of(written: &Written, keys: impl Fn(u16, i64, u16) -> Found) -> Vec<Life> {
    let lives = written.lives(keys).into_iter();
    lives.map(|life| life.expect("a life")).collect()
}

/// Logs of some lives in one shard: their rows take turns, as their positions say.
fn mixed(lives: Vec<Vec<Row>>) -> Vec<(i64, Row)> {
    let mut rows = BTreeMap::new();
    for (n, life) in lives.into_iter().enumerate() {
        let mut incarnation = 0;
        let mut prev = 0;
        for mut row in life {
            while rows.contains_key(&row.position) || row.position <= prev {
                row.position += 1;
            }
            row.prev = prev;
            prev = row.position;
            row.entity = format!("{n}{}", row.entity);
            incarnation = if row.seq == 1 {
                row.position
            } else {
                incarnation
            };
            rows.insert(row.position, (incarnation, row));
        }
    }
    rows.into_values().collect()
}

proptest! {
    #[test]
    fn lives_come_back_as_they_were(lives in proptest::collection::vec(life(1..8), 1..8)) {
        let rows = mixed(lives);
        let written = segment(1, [0; 32], 0, &rows);
        let mut expected: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
        for (incarnation, row) in &rows {
            expected.entry(*incarnation).or_default().push(row.clone());
        }
        let found = lives_of(&written, life_key);
        let found: BTreeMap<i64, Vec<Row>> = found.into_iter().map(|life| (life.incarnation, life.rows.to_rows())).collect();
        prop_assert_eq!(&found, &expected);
        let segment = written.open();
        prop_assert_eq!(segment.verify().ok(), Some(written.sealed.hash));
        segment.check_signature(&key(0)).expect("signed");
        // Life by life, too.
        for (incarnation, rows) in &expected {
            let mut one = Lives::of(&segment, segment.life(0, *incarnation), life_key).expect("reads");
            prop_assert_eq!(&one.next().expect("a life").expect("reads").rows.to_rows(), rows);
            prop_assert!(one.next().is_none());
        }
    }
}

/// What is in no row: the reach of each shard, lists, the cut.
#[test]
fn what_is_said_of_shards_comes_back() {
    let mut writer = Writer::new(Head {
        shards: 8,
        ..head(1, [0; 32])
    });
    let entity = |shard: u32| {
        let mut names = (0..).map(|n| format!("entity {n}"));
        names
            .find(|name| jump(hash64(name.as_bytes()), 8) == shard)
            .expect("a name")
    };
    let rows: Vec<Row> = [2, 5].map(|shard| row(7, &entity(shard), 1, 0)).into();
    writer.begin(5, 3, 20, true);
    writer.begin(2, 0, 21, false);
    for (shard, row) in [5, 2].iter().zip(rows.iter().rev()) {
        assert!(writer.row(*shard, 7, &row.borrow(), None).expect("taken"));
    }
    writer.reach(5, 9, 22).expect("reaches");
    let edit = Edit {
        shard: 5,
        part: 1,
        position: 8,
        of: 4,
        at: 66,
    };
    let run = Run {
        shard: 5,
        first: 7,
        run: 22,
    };
    assert!(writer.erased(edit) && writer.changed(Edit { part: 0, ..edit }) && writer.run(run));
    let written = seal(writer);
    let segment = written.open();
    let reach = |shard, is_lost, from, to, run| Reach {
        shard,
        is_lost,
        from,
        to,
        run,
    };
    let reaches = [reach(2, false, 0, 7, 21), reach(5, true, 3, 9, 22)];
    assert_eq!(segment.label().reaches, reaches);
    assert_eq!(segment.erased(), [edit]);
    assert_eq!(segment.changed(), [Edit { part: 0, ..edit }]);
    assert_eq!(segment.runs(), [run]);
    assert_eq!(segment.cut(), written.sealed.cut);
    let found: Vec<Row> = lives_of(&written, life_key)
        .into_iter()
        .flat_map(|life| life.rows.to_rows())
        .collect();
    assert_eq!(found, rows);
}

/// A saga with three steps: one of them, or all, lose their keys.
#[test]
fn a_step_without_its_key_comes_back_cleared_and_the_others_as_they_were() {
    let plan = plan_row(4, 3);
    let other = row(5, "alice", 1, 0);
    let mut later = row(9, &plan.entity, plan.last_seq() + 1, 4);
    later.aggregate = "$warp/saga/end".into();
    let mut writer = Writer::new(head(1, [0; 32]));
    writer.begin(0, 0, 1, false);
    for (incarnation, row) in [(4, &plan), (5, &other), (4, &later)] {
        let apart = (incarnation == 4).then(apart);
        assert!(
            writer
                .row(0, incarnation, &row.borrow(), apart.as_ref())
                .expect("taken")
        );
    }
    let written = seal(writer);
    assert_eq!(written.sealed.blocks, 5);
    let whole = lives_of(&written, life_key);
    assert_eq!(whole[0].rows.to_rows(), [plan.clone(), later.clone()]);
    assert_eq!(
        (whole[0].cleared, whole[1].rows.to_rows()),
        (0, vec![other])
    );
    let without = lives_of(&written, keys_without(&[(0, 4, 2)]));
    let cleared = plan
        .data
        .replace(
            r#""Forward","payload":{"f":"secret 2"}"#,
            r#""Cleared","payload":{              }"#,
        )
        .replace(
            r#""Reverse","payload":{"r":"secret 2"}"#,
            r#""Cleared","payload":{              }"#,
        );
    let rows = without[0].rows.to_rows();
    assert_eq!(rows[0].data, cleared);
    assert_eq!((without[0].cleared, &rows[1]), (1, &later));
    let gone = lives_of(&written, keys_without(&[(0, 4, 0)]));
    assert!(gone[0].is_erased && gone[0].rows.len() == 0 && !gone[1].is_erased);
}

/// Rows whose keys are zero by now are never written, and those without any key are an error.
#[test]
fn only_rows_with_keys_are_sealed() {
    let plan = plan_row(4, 2);
    let sealed_with = |keys: &dyn Fn(u16, i64, u16) -> Found| {
        let mut writer = Writer::new(head(1, [0; 32]));
        writer.begin(0, 0, 1, false);
        assert!(
            writer
                .row(0, 4, &plan.borrow(), Some(&apart()))
                .expect("taken")
        );
        let mut bytes = Vec::new();
        let sealed = writer.seal(keys, None, &key(0), &mut bytes);
        sealed.map(|sealed| Written { bytes, sealed })
    };
    let erased = sealed_with(&keys_without(&[(0, 4, 0)])).expect("seals");
    assert!(erased.open().index().is_empty());
    let step = sealed_with(&keys_without(&[(0, 4, 1)])).expect("seals");
    assert_eq!(step.open().index().len(), 2);
    let lives = lives_of(&step, keys_without(&[(0, 4, 1)]));
    let data = &lives[0].rows.to_rows()[0].data;
    assert!(data.contains("secret 2") && !data.contains("secret 1"));
    // The block was left out: a key that is there after all finds that it is missing.
    let missing = step.lives(life_key).pop().expect("a life");
    assert!(matches!(missing, Err(Error::Damaged { .. })));
    let unknown = |_, _, part| {
        if part == 2 {
            Found::Unknown
        } else {
            Found::Key(key(1))
        }
    };
    match sealed_with(&unknown) {
        Err(Error::KeyUnknown(Object::Segment(1), place)) => {
            assert_eq!((place.incarnation, place.part, place.first), (4, 2, 4));
        }
        _ => panic!("sealed without a key"),
    }
}

#[test]
fn a_key_that_is_unknown_or_wrong_is_named_and_the_other_lives_come_back() {
    let rows = [
        (1, row(1, "a", 1, 0)),
        (2, row(2, "b", 1, 0)),
        (3, row(3, "c", 1, 0)),
    ];
    let written = segment(1, [0; 32], 0, &rows);
    for is_unknown in [true, false] {
        let lives = written.lives(|shard, incarnation, part| match incarnation {
            2 if is_unknown => Found::Unknown,
            2 => life_key(shard, 3, part),
            _ => life_key(shard, incarnation, part),
        });
        assert!(lives[0].is_ok() && lives[2].is_ok());
        let error = lives[1].as_ref().expect_err("no key");
        assert_eq!(matches!(error, Error::KeyUnknown(..)), is_unknown);
        assert_eq!(matches!(error, Error::WrongKey(..)), !is_unknown);
        let named = "shard 0, incarnation 2, part 0, positions 2 to 2";
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn a_changed_row_comes_back_as_a_revision() {
    let first = segment(
        1,
        [0; 32],
        0,
        &[(1, row(1, "a", 1, 0)), (1, row(2, "a", 2, 1))],
    );
    let mut changed = row(1, "a", 1, 0);
    changed.recorded_at += 5;
    let mut writer = Writer::new(head(2, first.sealed.hash));
    writer.begin(0, 2, 1, false);
    assert!(
        writer
            .row(0, 1, &row(3, "a", 3, 2).borrow(), None)
            .expect("taken")
    );
    assert!(
        writer
            .revision(0, 1, &changed.borrow(), None)
            .expect("taken")
    );
    let lives = lives_of(&seal(writer), life_key);
    assert_eq!(lives[0].rows.to_rows(), [row(3, "a", 3, 2)]);
    assert_eq!(lives[0].revisions.to_rows(), [changed]);
}

/// Rows of several entities that share the key of the shard.
#[test]
fn rows_without_a_key_of_their_own_come_back_together() {
    let rows = [
        (0, row(1, "a", 1, 0)),
        (0, row(5, "b", 1, 0)),
        (0, row(6, "c", 1, 0)),
    ];
    let written = segment(1, [0; 32], 0, &rows);
    assert_eq!(written.sealed.blocks, 1);
    let lives = lives_of(&written, life_key);
    let expected: Vec<Row> = rows.iter().map(|(_, row)| row.clone()).collect();
    assert_eq!(lives[0].rows.to_rows(), expected);
}

#[test]
fn a_large_life_gets_several_blocks_and_a_full_segment_takes_no_more() {
    let mut writer = Writer::new(head(1, [0; 32]));
    writer.begin(0, 0, 1, false);
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let position = rows.len() as i64 + 1;
        let mut next = row(position, "a", position as u64, position - 1);
        next.data = format!(r#"[{{"type":"A","payload":"{}"}}]"#, "x".repeat(30_000));
        if !writer.row(0, 1, &next.borrow(), None).expect("sound") {
            break;
        }
        rows.push(next);
    }
    assert!(
        (ROOM - 2 * 30_100..ROOM).contains(&(rows.len() * 30_060)),
        "{}",
        rows.len()
    );
    let written = seal(writer);
    let segment = written.open();
    for entry in segment.index() {
        let (header, _) = segment.block(entry).expect("a block");
        assert!((header.plain as usize) <= BLOCK);
    }
    assert!(written.sealed.blocks >= ROOM / BLOCK);
    assert_eq!(lives_of(&written, life_key)[0].rows.to_rows(), rows);
    // The largest row that there is fits into an empty one.
    let mut large = row(1, "b", 1, 0);
    large.data = "x".repeat(18 * 1024 * 1024);
    let written = self::segment(1, [0; 32], 0, &[(1, large.clone())]);
    assert_eq!(lives_of(&written, life_key)[0].rows.to_rows(), [large]);
}

#[test]
fn lists_take_room_too() {
    let mut writer = Writer::new(head(1, [0; 32]));
    let edit = Edit {
        shard: 0,
        part: 0,
        position: 1,
        of: 1,
        at: 0,
    };
    let taken = (0..).take_while(|_| writer.erased(edit)).count();
    assert_eq!(taken, ROOM / 32);
    assert!(!writer.changed(edit));
}

#[test]
fn rows_that_are_not_the_next_ones_are_refused() {
    let mut writer = Writer::new(head(1, [0; 32]));
    let refused = |result: super::error::Result<bool>| matches!(result, Err(Error::Misuse(_)));
    let a = row(5, "a", 1, 0);
    assert!(refused(writer.row(0, 5, &a.borrow(), None)));
    writer.begin(0, 4, 1, false);
    assert!(refused(writer.row(0, 4, &a.borrow(), None)));
    assert!(refused(writer.row(0, 5, &row(4, "a", 1, 0).borrow(), None)));
    assert!(refused(writer.row(0, 5, &row(5, "a", 2, 0).borrow(), None)));
    assert!(refused(writer.row(0, 6, &row(6, "a", 2, 3).borrow(), None)));
    assert!(refused(writer.revision(0, 5, &a.borrow(), None)));
    assert!(writer.row(0, 5, &a.borrow(), None).expect("taken"));
    assert!(refused(writer.row(0, 5, &a.borrow(), None)));
    assert!(writer.revision(0, 5, &a.borrow(), None).expect("taken"));
    assert!(refused(writer.revision(0, 5, &a.borrow(), None)));
    assert!(writer.reach(0, 4, 1).is_err() && writer.reach(1, 9, 1).is_err());
}

/// What whoever has the keys wrote wrongly is not taken for a log.
#[cfg(not(feature = "weak_hash"))]
#[test]
fn rows_that_are_no_log_are_told() {
    let gap = segment(
        1,
        [0; 32],
        0,
        &[(1, row(1, "a", 1, 0)), (1, row(3, "a", 3, 1))],
    );
    let before = segment(
        1,
        [0; 32],
        0,
        &[(1, row(1, "a", 1, 0)), (1, row(3, "a", 2, 2))],
    );
    let two = segment(
        1,
        [0; 32],
        0,
        &[(1, row(1, "a", 1, 0)), (1, row(3, "b", 2, 1))],
    );
    let mut writer = Writer::new(Head {
        shards: 8,
        ..head(1, [0; 32])
    });
    writer.begin(0, 0, 1, false);
    assert!(
        writer
            .row(0, 1, &row(1, "alice", 1, 0).borrow(), None)
            .expect("taken")
    );
    for (written, why) in [
        (gap, "do not follow"),
        (before, "do not follow"),
        (two, "two entities"),
        (seal(writer), "not of this shard"),
    ] {
        let error = written.lives(life_key).remove(0).expect_err("no log");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn a_segment_of_another_backup_is_named() {
    let written = segment(1, [0; 32], 0, &[]);
    let foreign = Segment::open(&written.bytes, BACKUP + 1, 1);
    assert!(matches!(
        foreign,
        Err(Error::Foreign(Object::Segment(1), BACKUP))
    ));
    let unsigned = written.open().check_signature(&key(1));
    assert!(matches!(unsigned, Err(Error::Unsigned(Object::Segment(1)))));
}
