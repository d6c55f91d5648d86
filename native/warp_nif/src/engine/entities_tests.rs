//! Listing entities: from memory and the file, by what their ids begin with, and by aggregate.

use std::sync::Arc;

use rusqlite::Connection;

use crate::engine::testing::{self, CLOSING, KIND, Opened};
use crate::event::{Packed, other_aggregates, parse_row};
use crate::log::schema;
use crate::reader::Wanted;
use crate::reader::view::with_reader;
use crate::writer::command::Command;

/// An append with an event of each of these aggregates.
fn packed(aggregates: &[&str]) -> Packed {
    let (first, _) = aggregates.split_first().expect("one");
    let event = |name: &&str| match name == first {
        true => r#"{"type":"T","payload":{}}"#.to_owned(),
        false => format!(r#"{{"type":"T","aggregate":"{name}","payload":{{}}}}"#),
    };
    let events: Vec<_> = aggregates.iter().map(event).collect();
    let data = format!("[{}]", events.join(","));
    let others = other_aggregates(&parse_row(&data).expect("parses"));
    Packed::new((*first).into(), data, aggregates.len(), Vec::new()).with_others(others)
}

fn append(opened: &mut Opened, entity: &str, base: u64, aggregates: &[&str]) {
    let append = testing::append(entity, base, packed(aggregates));
    opened.commit(append).expect("stored");
}

fn erase(opened: &mut Opened, entity: &str) {
    let erase = Command::Erase {
        entity: entity.into(),
        from: None,
    };
    opened.commit(erase).expect("erased");
}

/// All entities, by name, as pages of that size give them.
fn list(opened: &Opened, prefix: &str, aggregate: Option<&str>, page: usize) -> Vec<(String, u64)> {
    let aggregates = aggregate.map(|name| vec![name.to_owned()]);
    let wanted = Wanted {
        prefix,
        aggregates: aggregates.as_deref(),
    };
    let (mut found, mut next) = (Vec::new(), Some((i64::MIN, i64::MIN)));
    while let Some(after) = next {
        let listed = with_reader(&opened.shared, |reader| {
            reader.entities(after, &wanted, page)
        })
        .expect("lists");
        assert!(listed.found.len() <= page);
        assert!(listed.next.is_none_or(|place| place > after));
        found.extend(listed.found);
        next = listed.next;
    }
    found.sort();
    found
}

fn names(found: &[(String, u64)]) -> Vec<&str> {
    found.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn memory_and_the_file_make_one_list() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut opened = testing::open(&dir.path().join("s.db")).expect("opens");
    for entity in ["a/1", "a/2", "a/3", "b/1", "b/2"] {
        append(&mut opened, entity, 0, &["A", "A"]);
    }
    append(&mut opened, &format!("{KIND}1"), 0, &["A"]);
    opened.apply().expect("applies");
    // Of the file, and changed since: one is longer, one is gone, and one lives again.
    append(&mut opened, "a/1", 2, &["A"]);
    erase(&mut opened, "a/2");
    erase(&mut opened, "b/1");
    append(&mut opened, "b/1", 0, &["A"]);
    // In memory alone; and one of these that is gone again.
    append(&mut opened, "a/4", 0, &["A", "A", "A"]);
    append(&mut opened, "a/5", 0, &["A"]);
    erase(&mut opened, "a/5");
    let expected = [("a/1", 3), ("a/3", 2), ("a/4", 3), ("b/1", 1), ("b/2", 2)];
    let expected = expected.map(|(name, seq)| (name.to_owned(), seq));
    for page in [1, 2, 3, 100] {
        assert_eq!(list(&opened, "", None, page), expected);
        assert_eq!(list(&opened, "a/", None, page), expected[..3]);
    }
    opened.apply().expect("applies");
    opened.erase_all().expect("erases");
    assert_eq!(list(&opened, "", None, 2), expected);
}

#[test]
fn entities_are_found_by_any_of_their_aggregates() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("s.db");
    let mut opened = testing::open(&path).expect("opens");
    append(&mut opened, "a", 0, &["A"]);
    append(&mut opened, "ab", 0, &["A", "B"]);
    append(&mut opened, "b", 0, &["B"]);
    append(&mut opened, "later", 0, &["A"]);
    let check = |opened: &Opened, of_b: &[&str]| {
        assert_eq!(names(&list(opened, "", Some("A"), 2)), ["a", "ab", "later"]);
        assert_eq!(names(&list(opened, "", Some("B"), 2)), of_b);
        assert_eq!(
            names(&list(opened, "l", Some("B"), 2)).len(),
            of_b.len() - 2
        );
        assert_eq!(names(&list(opened, "", Some("C"), 2)), Vec::<&str>::new());
    };
    check(&opened, &["ab", "b"]);
    opened.apply().expect("applies");
    check(&opened, &["ab", "b"]);
    append(&mut opened, "later", 1, &["B"]);
    check(&opened, &["ab", "b", "later"]);
    drop(opened);
    // From the journal, as after a kill.
    let opened = testing::open(&path).expect("opens again");
    check(&opened, &["ab", "b", "later"]);
    let others = with_reader(&opened.shared, |reader| {
        reader.other_aggregates(&["A".to_owned()])
    });
    assert_eq!(others.expect("counts"), [("B".to_owned(), 3)]);
}

fn count(opened: &Opened) -> u64 {
    with_reader(&opened.shared, |reader| reader.entity_count()).expect("counts")
}

#[test]
fn a_count_is_exact_while_there_are_few_and_near_beyond() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut opened = testing::open(&dir.path().join("s.db")).expect("opens");
    let expect = |opened: &mut Opened, entities: u64| {
        // In memory, and in the file.
        assert_eq!(count(opened), entities);
        opened.apply().expect("applies");
        assert_eq!(count(opened), entities);
    };
    expect(&mut opened, 0);
    for entity in ["a", "b", "c", "gone"] {
        append(&mut opened, entity, 0, &["A"]);
        append(&mut opened, entity, 1, &["B", "A"]);
    }
    append(&mut opened, &format!("{KIND}1"), 0, &["$warp/saga"]);
    append(&mut opened, &format!("{KIND}1"), 1, &[CLOSING]);
    erase(&mut opened, "gone");
    expect(&mut opened, 3);
    append(&mut opened, "a", 3, &["A"]);
    erase(&mut opened, "b");
    erase(&mut opened, &format!("{KIND}1"));
    erase(&mut opened, "never");
    append(&mut opened, "gone", 0, &["A"]);
    append(&mut opened, "later", 0, &["A"]);
    expect(&mut opened, 4);
    for n in 0..3000 {
        append(&mut opened, &format!("many/{n}"), 0, &["A"]);
        append(&mut opened, &format!("{KIND}{n}"), 0, &["$warp/saga"]);
    }
    opened.apply().expect("applies");
    let counted = count(&opened);
    assert!((2500..3500).contains(&counted), "{counted}");
}

#[test]
fn more_aggregates_than_an_entity_has_bits_for() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut opened = testing::open(&dir.path().join("s.db")).expect("opens");
    let aggregates: Vec<_> = (0..70).map(|n| format!("A{n}")).collect();
    for (entity, aggregate) in aggregates.iter().enumerate() {
        append(&mut opened, &format!("e{entity}"), 0, &[aggregate]);
        append(&mut opened, &format!("e{entity}"), 1, &["A0"]);
    }
    opened.apply().expect("applies");
    for (entity, aggregate) in aggregates.iter().enumerate().skip(1) {
        let found = list(&opened, "", Some(aggregate), 100);
        assert_eq!(names(&found), [format!("e{entity}")]);
    }
    assert_eq!(list(&opened, "", Some("A0"), 100).len(), 70);
    assert_eq!(super::verify_tests::check(&opened).1, Vec::<String>::new());
}

#[test]
fn a_file_of_format_2_gets_its_aggregates() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("s.db");
    let mut opened = testing::open(&path).expect("opens");
    append(&mut opened, "a", 0, &["A"]);
    append(&mut opened, "gone", 0, &["A"]);
    append(&mut opened, "ab", 0, &["A"]);
    append(&mut opened, "ab", 1, &["B", "C"]);
    erase(&mut opened, "gone");
    append(&mut opened, "gone", 0, &["C"]);
    opened.erase_all().expect("applies");
    let old = "DROP TABLE aggregates; ALTER TABLE entities DROP COLUMN aggregates;
               PRAGMA user_version = 2";
    opened.store.connection().execute_batch(old).expect(old);
    let shared = Arc::clone(&opened.shared);
    drop(opened);
    drop(shared);
    let mut opened = testing::open(&path).expect("opens again");
    append(&mut opened, "b", 0, &["B"]);
    assert_eq!(names(&list(&opened, "", Some("A"), 9)), ["a", "ab"]);
    assert_eq!(names(&list(&opened, "", Some("B"), 9)), ["ab", "b"]);
    assert_eq!(names(&list(&opened, "", Some("C"), 9)), ["ab", "gone"]);
    opened.apply().expect("applies");
    assert_eq!(super::verify_tests::check(&opened).1, Vec::<String>::new());
    let fresh = Connection::open_in_memory().expect("opens");
    fresh.execute_batch(schema::SCHEMA).expect("made");
    let columns = |connection: &Connection| -> i64 {
        let sql = "SELECT count(*) FROM pragma_table_info('entities')";
        connection.query_row(sql, [], |row| row.get(0)).expect(sql)
    };
    assert_eq!(columns(opened.store.connection()), columns(&fresh));
}
