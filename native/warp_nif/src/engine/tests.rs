//! The store against a model: random appends, erasures, write-behinds and reopenings.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::engine::testing::{self, KIND, Opened};
use crate::engine::verify_tests;
use crate::erase::clearing::Retyping;
use crate::error::Error;
use crate::event::{GivenId, Packed, parse_row};
use crate::hash::hash64;
use crate::index::ids::Stop;
use crate::log::snapshots::SnapshotRow;
use crate::reader::follow::Followed;
use crate::reader::view::{Reader, with_reader};
use crate::reader::{Direction, Wanted};
use crate::writer::command::{Answer, Command};
use crate::writer::staged::Staged;

/// What a step of a test does to one of a few entities.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Append {
        entity: u8,
        events: u8,
    },
    AppendWithId {
        entity: u8,
        id: u8,
    },
    Erase {
        entity: u8,
    },
    /// Given that its log ends where it does, or so many events later.
    Replace {
        entity: u8,
        off: u8,
    },
    Snapshot {
        entity: u8,
        bytes: u16,
    },
    Flush,
    /// A piece of what is to be erased.
    Piece,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let entity = 0u8..4;
    prop_oneof![
        8 => (entity.clone(), 1u8..5).prop_map(|(entity, events)| Step::Append { entity, events }),
        3 => (entity.clone(), 0u8..6).prop_map(|(entity, id)| Step::AppendWithId { entity, id }),
        1 => entity.clone().prop_map(|entity| Step::Erase { entity }),
        1 => (entity.clone(), 0u8..2).prop_map(|(entity, off)| Step::Replace { entity, off }),
        1 => (entity, 0u16..2000).prop_map(|(entity, bytes)| Step::Snapshot { entity, bytes }),
        1 => Just(Step::Flush),
        2 => Just(Step::Piece),
        1 => Just(Step::Reopen),
    ]
}

/// A store and what should be in it: the data of each event, in order.
pub(super) struct Tested {
    dir: tempfile::TempDir,
    pub(super) open: Option<Opened>,
    pub(super) model: BTreeMap<String, Vec<String>>,
    written: u64,
}

pub(super) fn packed(events: &[String], ids: Vec<(usize, GivenId)>) -> Packed {
    let data = format!("[{}]", events.join(","));
    Packed::new("A".into(), data, events.len(), ids)
}

impl Tested {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        let open = testing::open(&dir.path().join("s.db")).expect("opens");
        Self {
            dir,
            open: Some(open),
            model: BTreeMap::new(),
            written: 0,
        }
    }

    fn commit(&mut self, command: Command) -> Option<Answer> {
        self.opened().commit(command).expect("commits")
    }

    fn opened(&mut self) -> &mut Opened {
        self.open.as_mut().expect("open")
    }

    pub(super) fn shared(&self) -> &crate::shard::shared::Shared {
        &self.open.as_ref().expect("open").shared
    }

    pub(super) fn append(&mut self, entity: &str, packed: Packed) -> Option<Answer> {
        let base = self.model.get(entity).map_or(0, Vec::len) as u64;
        self.commit(testing::append(entity, base, packed))
    }

    pub(super) fn replace(&mut self, entity: &str, off: u8, row: Packed, event: String) {
        let seq = self.model.get(entity).map_or(0, Vec::len) as u64;
        let answer = self.commit(testing::replace(entity, seq + u64::from(off), row));
        if off > 0 {
            assert!(
                matches!(answer, Some(Answer::WrongBase(at)) if at == seq),
                "{answer:?}"
            );
        } else {
            assert!(matches!(answer, Some(Answer::Stored { .. })), "{answer:?}");
            self.model.insert(entity.into(), vec![event]);
        }
    }

    pub(super) fn run(&mut self, step: &Step) {
        let name = |entity: u8| format!("entity-{entity}");
        match step {
            Step::Append { entity, events } => {
                let events: Vec<_> = (0..*events)
                    .map(|_| {
                        self.written += 1;
                        format!("{{\"type\":\"T\",\"payload\":{{\"n\":{}}}}}", self.written)
                    })
                    .collect();
                let answer = self.append(&name(*entity), packed(&events, Vec::new()));
                assert!(matches!(answer, Some(Answer::Stored { .. })), "{answer:?}");
                self.model.entry(name(*entity)).or_default().extend(events);
            }
            Step::AppendWithId { entity, id } => {
                let event = format!("{{\"type\":\"T\",\"id\":\"id-{id}\",\"payload\":{{}}}}");
                let hash = hash64(format!("id-{id}").as_bytes());
                let row = packed(std::slice::from_ref(&event), vec![(0, GivenId::Hash(hash))]);
                let answer = self.append(&name(*entity), row);
                let log = self.model.entry(name(*entity)).or_default();
                match log.iter().position(|known| *known == event) {
                    None => {
                        assert!(matches!(answer, Some(Answer::Stored { .. })), "{answer:?}");
                        log.push(event);
                    }
                    Some(at) => {
                        let Some(Answer::Stopped {
                            appends: 0,
                            why: Stop::Duplicates(found),
                            ..
                        }) = answer
                        else {
                            panic!("stored twice: {answer:?}");
                        };
                        assert_eq!(found, [(0, at as u64 + 1)]);
                    }
                }
            }
            Step::Erase { entity } => {
                let answer = self.commit(Command::Erase {
                    entity: name(*entity),
                    from: None,
                });
                assert!(matches!(answer, Some(Answer::Erased)), "{answer:?}");
                self.model.remove(&name(*entity));
            }
            Step::Replace { entity, off } => {
                self.written += 1;
                let event = format!("{{\"type\":\"T\",\"payload\":{{\"n\":{}}}}}", self.written);
                let row = packed(std::slice::from_ref(&event), Vec::new());
                self.replace(&name(*entity), *off, row, event);
            }
            Step::Snapshot { entity, bytes } => {
                let incarnation = self
                    .head(&name(*entity))
                    .map_or(0, |(incarnation, _)| incarnation);
                let seq = self.model.get(&name(*entity)).map_or(0, Vec::len) as u64;
                let answer = self.commit(Command::Snapshot {
                    entity: name(*entity),
                    incarnation,
                    snapshot: SnapshotRow {
                        aggregate: "A".into(),
                        version: 1,
                        seq,
                        recorded_at: 0,
                        image: vec![*entity; usize::from(*bytes)],
                    },
                });
                assert!(answer.is_none());
                if seq > 0 {
                    let kept =
                        with_reader(self.shared(), |reader| reader.snapshot(incarnation, "A"))
                            .expect("reads")
                            .expect("kept");
                    assert_eq!((kept.seq, kept.image.len()), (seq, usize::from(*bytes)));
                }
            }
            Step::Flush => {
                self.opened().apply().expect("applies");
            }
            Step::Piece => {
                self.opened().store.erase_piece().expect("erases");
            }
            Step::Reopen => {
                self.open = None;
                let path = self.dir.path().join("s.db");
                self.open = Some(testing::open(&path).expect("opens"));
            }
        }
    }

    fn head(&self, entity: &str) -> Option<(i64, u64)> {
        let head = with_reader(self.shared(), |reader| reader.head(entity)).expect("reads");
        head.map(|head| (head.incarnation, head.seq))
    }

    /// The payloads and ids of a range, as pages of that size give them.
    fn read(
        &self,
        entity: &str,
        from: Option<u64>,
        page: u64,
        direction: Direction,
    ) -> Vec<String> {
        let mut found = Vec::new();
        let mut next = Some(from);
        while let Some(from) = next {
            let page = with_reader(self.shared(), |reader| {
                reader.page(entity, 0, from, page, direction)
            })
            .expect("reads");
            let low = page.next.map_or(1, |seq| {
                if direction == Direction::Backward {
                    seq + 1
                } else {
                    1
                }
            });
            let high = match (page.next, direction) {
                (Some(seq), Direction::Forward) => seq - 1,
                _ => u64::MAX,
            };
            let (low, high) = match direction {
                Direction::Forward => (page.from, high),
                Direction::Backward => (low, page.from),
            };
            for row in &page.rows {
                let mut of_row: Vec<_> = (row.seq..)
                    .zip(parse_row(&row.data).expect("parses"))
                    .collect();
                if direction == Direction::Backward {
                    of_row.reverse();
                }
                for (seq, event) in of_row {
                    if (low..=high).contains(&seq) {
                        let id = event
                            .id
                            .map(|id| format!("\"id\":\"{id}\","))
                            .unwrap_or_default();
                        found.push(format!(
                            "{{\"type\":\"T\",{id}\"payload\":{}}}",
                            event.payload.get()
                        ));
                    }
                }
            }
            next = page.next.map(Some);
        }
        found
    }

    /// What is being erased is not seen by those who follow the log.
    fn check_followed(&self) {
        let mut followed: BTreeMap<String, u64> = BTreeMap::new();
        let mut from = 0;
        loop {
            let stretch = with_reader(self.shared(), |reader| {
                reader.follow(from, 1000, &Followed::Users)
            })
            .expect("follows");
            for row in stretch.rows {
                let seq = followed.entry(row.entity).or_default();
                assert_eq!(row.seq, *seq + 1);
                *seq += row.count;
            }
            from = stretch.last;
            if stretch.at_end {
                break;
            }
        }
        let logs = self.model.iter().filter(|(_, log)| !log.is_empty());
        let expected = logs.map(|(entity, log)| (entity.clone(), log.len() as u64));
        assert_eq!(followed, expected.collect());
    }

    /// Erases what is left, and makes sure that no byte of it is.
    fn finish_erasing(&mut self) {
        self.opened().erase_all().expect("erases");
        let connection = rusqlite::Connection::open(self.dir.path().join("s.db")).expect("opens");
        let count =
            |sql: &str| -> i64 { connection.query_row(sql, [], |row| row.get(0)).expect(sql) };
        let rows = self.model.values().filter(|log| !log.is_empty()).count();
        let live = "SELECT count(DISTINCT entity) FROM log WHERE typeof(entity) = 'text'";
        assert_eq!(count(live), i64::try_from(rows).expect("few"));
        assert_eq!(count("SELECT count(*) FROM erasing"), 0);
        for table in ["marks", "ids", "snapshot_slots"] {
            let orphans = format!(
                "SELECT count(*) FROM {table} WHERE incarnation != 0 AND incarnation NOT IN
                   (SELECT position FROM log WHERE prev = 0 AND typeof(entity) = 'text')"
            );
            assert_eq!(count(&orphans), 0, "{table}");
        }
    }

    fn check_listed(&self, page: usize) {
        for aggregate in [None, Some("A"), Some("B")] {
            let aggregates = aggregate.map(|name| vec![name.to_owned()]);
            let wanted = Wanted {
                prefix: "",
                aggregates: aggregates.as_deref(),
            };
            let (mut listed, mut next) = (BTreeMap::new(), Some((i64::MIN, i64::MIN)));
            while let Some(after) = next {
                let found = with_reader(self.shared(), |reader| {
                    reader.entities(after, &wanted, page)
                })
                .expect("lists");
                for (entity, seq) in found.found {
                    assert_eq!(listed.insert(entity, seq), None, "listed twice");
                }
                next = found.next;
            }
            let has = |log: &Vec<String>| !log.is_empty() && aggregate != Some("B");
            let logs = self.model.iter().filter(|(_, log)| has(log));
            let expected = logs.map(|(entity, log)| (entity.clone(), log.len() as u64));
            assert_eq!(listed, expected.collect());
        }
    }

    fn check(&self, page: u64) {
        self.check_followed();
        self.check_listed(usize::try_from(page).expect("small"));
        let opened = self.open.as_ref().expect("open");
        assert_eq!(verify_tests::check(opened).1, Vec::<String>::new());
        for entity in (0..4).map(|n| format!("entity-{n}")) {
            let mut expected = self.model.get(&entity).cloned().unwrap_or_default();
            let seq = self.head(&entity).map_or(0, |(_, seq)| seq);
            assert_eq!(seq, expected.len() as u64, "{entity}");
            assert_eq!(self.read(&entity, None, page, Direction::Forward), expected);
            expected.reverse();
            assert_eq!(
                self.read(&entity, None, page, Direction::Backward),
                expected
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_store_holds_what_the_model_does(
        steps in prop::collection::vec(step(), 1..250),
        page in 1u64..40,
    ) {
        let mut tested = Tested::new();
        for step in &steps {
            tested.run(step);
        }
        tested.check(page);
        tested.run(&Step::Reopen);
        tested.check(page);
        tested.finish_erasing();
        tested.check(page);
        tested.run(&Step::Reopen);
        tested.check(page);
    }
}

#[test]
fn an_erased_entity_leaves_no_bytes() {
    let mut tested = Tested::new();
    let secret = |n: usize| {
        format!(
            "{{\"type\":\"T\",\"payload\":{{\"s\":\"secret-{n}-{}\"}}}}",
            "x".repeat(n * 7 % 900)
        )
    };
    for n in 0..600 {
        let entity = format!("entity-{}", n % 60);
        tested.append(&entity, packed(&[secret(n)], Vec::new()));
        tested.model.entry(entity).or_default().push(secret(n));
    }
    for n in (0..60).step_by(2) {
        let entity = format!("entity-{n}");
        tested.commit(Command::Erase {
            entity: entity.clone(),
            from: None,
        });
        tested.model.remove(&entity);
    }
    tested.finish_erasing();
    let mut bytes = Vec::new();
    for file in std::fs::read_dir(tested.dir.path()).expect("lists") {
        bytes.extend(std::fs::read(file.expect("entry").path()).expect("reads"));
    }
    let holds = |text: &str| {
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    for n in 0..600 {
        assert_eq!(holds(&format!("secret-{n}-")), n % 2 == 1, "event {n}");
    }
    for n in 0..60 {
        assert_eq!(holds(&format!("entity-{n}A")), n % 2 == 1, "entity {n}");
    }
}

#[test]
fn a_changed_byte_is_never_taken_for_data() {
    let mut tested = Tested::new();
    for n in 0..50 {
        let event = format!("{{\"type\":\"T\",\"payload\":{{\"n\":\"value-{n:04}\"}}}}");
        tested.append("entity-0", packed(std::slice::from_ref(&event), Vec::new()));
        tested
            .model
            .entry("entity-0".into())
            .or_default()
            .push(event);
    }
    tested.run(&Step::Flush);
    let path = tested.dir.path().join("s.db");
    tested
        .opened()
        .store
        .settle(crate::sqlite::BUSY)
        .expect("moved into the file");
    tested.run(&Step::Reopen);
    let mut bytes = std::fs::read(&path).expect("reads");
    let at = bytes
        .windows(10)
        .position(|window| window == b"value-0025")
        .expect("is there");
    *bytes.get_mut(at).expect("in range") = b'V';
    std::fs::write(&path, bytes).expect("writes");
    let read = with_reader(tested.shared(), |reader| {
        reader.page("entity-0", 0, None, 100, Direction::Forward)
    });
    assert!(
        matches!(read, Err(Error::Corrupt(_))),
        "read as if nothing was"
    );
}

#[test]
fn a_run_begins_with_the_first_row_of_a_writer() {
    let mut tested = Tested::new();
    let run = |tested: &Tested, position| {
        with_reader(tested.shared(), |reader| reader.run_of(position)).expect("reads")
    };
    let append = |tested: &mut Tested| {
        tested.run(&Step::Append {
            entity: 1,
            events: 1,
        })
    };
    assert_eq!((run(&tested, 0), run(&tested, 1)), (Some(0), None));
    append(&mut tested);
    append(&mut tested);
    let first = run(&tested, 1);
    assert_eq!((run(&tested, 0), run(&tested, 2)), (Some(0), first));
    assert!(first.is_some_and(|run| run > 0));
    // These write no row, and so leave no run.
    tested.run(&Step::Reopen);
    tested.run(&Step::Snapshot {
        entity: 1,
        bytes: 9,
    });
    tested.run(&Step::Reopen);
    append(&mut tested);
    let second = run(&tested, 3);
    assert_eq!((run(&tested, 2), run(&tested, 4)), (first, None));
    assert!(second.is_some_and(|run| run > 0) && second != first);
    tested.run(&Step::Flush);
    assert_eq!((run(&tested, 2), run(&tested, 3)), (first, second));
    let file = rusqlite::Connection::open(tested.dir.path().join("s.db")).expect("opens");
    let runs: i64 = file
        .query_row("SELECT count(*) FROM runs", [], |row| row.get(0))
        .expect("counts");
    assert_eq!(runs, 2);
}

/// The looks of one commit share a view of the file, which may be older than what memory has let go.
#[test]
fn what_goes_into_the_file_while_a_commit_is_decided_is_found() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut open = testing::open(&dir.path().join("s.db")).expect("opens");
    let append = |entity: &str, base, id: &str| {
        let event = format!(r#"{{"type":"T","payload":{{}},"id":"{id}"}}"#);
        let ids = vec![(0, GivenId::Hash(hash64(id.as_bytes())))];
        testing::append(entity, base, packed(&[event], ids))
    };
    for (entity, id) in [("first", "a"), ("second", "b")] {
        let stored = open.commit(append(entity, 0, id));
        assert!(matches!(stored, Ok(Some(Answer::Stored { .. }))));
    }
    let mut staged = Staged::new(Arc::clone(&open.shared));
    let other = open.decide(&mut staged, &append("other", 0, "c"));
    assert!(matches!(other, Ok(Answer::Stored { .. })));
    open.apply().expect("applies");
    drop(open.shared.tail_mut().forget_applied());
    let again = open.decide(&mut staged, &append("first", 1, "a"));
    let is_found = |found: &[(usize, u64)]| found == [(0, 1)];
    assert!(matches!(
        again,
        Ok(Answer::Stopped { why: Stop::Duplicates(found), .. }) if is_found(&found)
    ));
    let new = open.decide(&mut staged, &append("second", 1, "d"));
    assert!(matches!(new, Ok(Answer::Stored { .. })));
    // A view that stays open would keep the WAL.
    staged.end_view();
    open.store.settle(crate::sqlite::BUSY).expect("settles");
}

#[test]
fn cleared_payloads_leave_no_bytes_and_the_row_is_sound() {
    let mut tested = Tested::new();
    let event =
        |n: usize| format!("{{\"type\":\"Forward\",\"payload\":{{\"s\":\"secret-{n}-\"}}}}");
    for n in 0..200 {
        tested.append(
            &format!("entity-{n}"),
            packed(&[event(n), event(n + 1000)], Vec::new()),
        );
    }
    tested.run(&Step::Flush);
    let events = (0..200)
        .step_by(2)
        .map(|n| (format!("entity-{n}"), vec![2]));
    let answer = tested.commit(Command::Clear {
        events: events.collect(),
        types: Retyping::default().into(),
        from: None,
    });
    assert!(matches!(answer, Some(Answer::Cleared)), "{answer:?}");
    tested.opened().erase_all().expect("emptied");
    let mut bytes = Vec::new();
    for file in std::fs::read_dir(tested.dir.path()).expect("lists") {
        bytes.extend(std::fs::read(file.expect("entry").path()).expect("reads"));
    }
    let holds = |text: &str| {
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    for n in 0..200 {
        assert!(holds(&format!("secret-{n}-")), "event {n}");
        assert_eq!(
            holds(&format!("secret-{}-", n + 1000)),
            n % 2 == 1,
            "event {n}"
        );
        // Reading checks the checksum.
        let page = with_reader(tested.shared(), |reader| {
            reader.page(&format!("entity-{n}"), 0, None, 10, Direction::Forward)
        });
        assert_eq!(page.expect("reads").rows.len(), 1);
    }
}

/// Rows of Warp's own entities are for those who ask for them.
#[test]
fn a_follower_sees_the_kind_of_rows_that_it_asks_for() {
    let mut tested = Tested::new();
    for entity in [
        "alice",
        "$warp/saga/s",
        "$warp/other/o",
        "$warp/saga/t",
        "bob",
    ] {
        let event = "{\"type\":\"T\",\"payload\":{}}".to_owned();
        tested.append(entity, packed(&[event], Vec::new()));
    }
    let follow = |after: i64, max_bytes: usize, followed: &Followed| {
        let read = |reader: &Reader<'_>| reader.follow(after, max_bytes, followed);
        let stretch = with_reader(tested.shared(), read).expect("follows");
        let positions: Vec<_> = stretch.rows.iter().map(|row| row.position).collect();
        (positions, stretch.last, stretch.at_end)
    };
    assert_eq!(follow(0, 10_000, &Followed::Users), (vec![1, 5], 5, true));
    let sagas = Followed::Kind(KIND.into());
    assert_eq!(follow(0, 10_000, &sagas), (vec![2, 4], 5, true));
    assert_eq!(follow(2, 10_000, &sagas), (vec![4], 5, true));
    let own = Followed::Kind("$warp/".into());
    assert_eq!(follow(0, 10_000, &own), (vec![2, 3, 4], 5, true));
    assert_eq!(
        follow(1, 10_000, &Followed::All),
        (vec![2, 3, 4, 5], 5, true)
    );
    assert_eq!(
        follow(i64::MAX, 10_000, &Followed::All),
        (vec![], i64::MAX, true)
    );
    // What is not followed counts too: a follower of few rows does not read the whole log at once.
    assert_eq!(follow(2, 1, &Followed::Users), (vec![], 3, false));
}
