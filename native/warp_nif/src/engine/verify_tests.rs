//! What a check of a shard finds in its tables, where each page is as it was written.

use super::testing::{self, CLOSING, KIND, Opened, open};
use crate::event::{GivenId, Packed};
use crate::hash::hash64;
use crate::log::SnapshotRow;
use crate::verify::{Checker, Part, Source};
use crate::writer::command::Command;

/// A check of all that is in the file: what it counts, and what is damaged.
pub fn check(opened: &Opened) -> ([u64; 4], Vec<String>) {
    let mut checker = Checker::new(Source::open(&opened.shared)).expect("begins");
    let mut pieces = 0;
    while checker.part() != Part::Done {
        checker.step().expect("reads");
        pieces += 1;
        assert!(pieces < 100_000, "it never ends");
    }
    let report = checker.report();
    let counts = [
        report.entities,
        report.rows,
        report.events,
        report.snapshots,
    ];
    (counts, checker.findings().listed().to_vec())
}

fn packed(aggregate: &str, id: Option<&str>) -> Packed {
    let hash = id.map(|id| (0, GivenId::Hash(hash64(id.as_bytes()))));
    let id = id.map_or_else(String::new, |id| format!("\"id\":\"{id}\","));
    let data =
        format!("[{{\"type\":\"T\",{id}\"payload\":{{}}}},{{\"type\":\"T\",\"payload\":{{}}}}]");
    Packed::new(aggregate.into(), data, 2, hash.into_iter().collect())
}

/// Three entities of twenty rows, of which one is erased; two of the kind, of which one is closed; and a
/// snapshot.
fn filled(dir: &std::path::Path) -> Opened {
    let mut opened = open(&dir.join("s.db")).expect("opens");
    for row in 0..20 {
        for entity in ["a", "b", "c"] {
            let id = format!("id-{row}");
            let append = testing::append(entity, 2 * row, packed("A", Some(&id)));
            opened.commit(append).expect("stored");
        }
    }
    for entity in ["1", "2"] {
        let name = format!("{KIND}{entity}");
        opened
            .commit(testing::append(&name, 0, packed("A", None)))
            .expect("stored");
    }
    let closes = testing::append(&format!("{KIND}2"), 2, packed(CLOSING, None));
    opened.commit(closes).expect("stored");
    opened
        .commit(Command::Erase {
            from: None,
            entity: "b".into(),
        })
        .expect("erased");
    opened
        .commit(Command::Snapshot {
            entity: "a".into(),
            incarnation: 1,
            snapshot: SnapshotRow {
                aggregate: "A".into(),
                version: 1,
                seq: 40,
                recorded_at: 0,
                image: vec![7; 50],
            },
        })
        .expect("kept");
    opened.erase_all().expect("applied");
    opened
}

#[test]
fn a_sound_shard_is_counted() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (counts, damaged) = check(&filled(dir.path()));
    assert_eq!(damaged, Vec::<String>::new());
    assert_eq!(counts, [4, 43, 86, 1]);
}

#[test]
fn whatever_does_not_fit_the_log_is_found() {
    // Rows of `a` have the positions 1, 4, 7, ...; those of `c` 3, 6, 9, ....
    for damage in [
        "DELETE FROM ids WHERE incarnation = 1 AND position = 31",
        "UPDATE ids SET hash = hash + 1 WHERE incarnation = 1 AND position = 31",
        "UPDATE ids SET position = 34 WHERE incarnation = 1 AND position = 31",
        "INSERT INTO ids VALUES (1, 77, 31)",
        "DELETE FROM marks WHERE incarnation = 1 AND seq = 15",
        "UPDATE marks SET position = position + 3 WHERE incarnation = 1 AND seq = 15",
        "INSERT INTO marks VALUES (1, 17, 25)",
        "UPDATE entities SET rows = rows + 1 WHERE incarnation = 1",
        "UPDATE entities SET rows = rows - 1 WHERE incarnation = 1",
        "UPDATE entities SET seq = seq + 1 WHERE incarnation = 1",
        "UPDATE entities SET seq = seq - 2, head = head - 3, rows = rows - 1 WHERE incarnation = 1",
        "UPDATE entities SET hash = hash + 1 WHERE incarnation = 1",
        "UPDATE entities SET incarnation = 2 WHERE incarnation = 1",
        "UPDATE entities SET aggregates = 0 WHERE incarnation = 1",
        "UPDATE entities SET aggregates = aggregates | 4 WHERE incarnation = 1",
        "DELETE FROM aggregates WHERE number = 1",
        "DELETE FROM entities WHERE incarnation = 1",
        "DELETE FROM log WHERE position = 31",
        "DELETE FROM log WHERE position = (SELECT max(position) FROM log)",
        "UPDATE log SET data = replace(data, 'T', 'U') WHERE position = 31",
        "UPDATE log SET recorded_at = recorded_at + 1 WHERE position = 31",
        "UPDATE log SET prev = prev - 3 WHERE position = 31",
        "UPDATE log SET entity = zeroblob(1), aggregate = zeroblob(1), data = zeroblob(length(data)),
                        checksum = 1 << 62 WHERE position = 31",
        "DELETE FROM open_sagas",
        "DELETE FROM closed_sagas",
        "INSERT INTO closed_sagas SELECT incarnation FROM open_sagas",
        "INSERT INTO open_sagas SELECT incarnation FROM entities WHERE seq = 4",
        "UPDATE snapshots SET image = zeroblob(length(image))",
        "DELETE FROM snapshots",
        "UPDATE snapshot_slots SET seq = seq - 1 WHERE incarnation = 1",
        "UPDATE meta SET value = value - 1 WHERE name = 'last_row'",
    ] {
        let dir = tempfile::tempdir().expect("temp dir");
        let opened = filled(dir.path());
        let connection = opened.store.connection();
        assert_ne!(connection.execute(damage, []).expect(damage), 0, "{damage}");
        let (_, damaged) = check(&opened);
        assert!(!damaged.is_empty(), "not found: {damage}");
        let path = dir.path().join("s.db").display().to_string();
        assert!(damaged.iter().all(|what| what.starts_with(&path)), "{damaged:?}");
        // One cause is not told as many.
        assert!(damaged.len() <= 2, "{damage}: {damaged:?}");
    }
}
