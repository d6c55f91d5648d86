//! Processes that end while they adopt a shard.

use std::path::Path;
use std::process::Command;

use super::handoff_tests::{A, B, Nodes, copy, note, read, work};
use super::testing::node;
use crate::sqlite::sums::steps;

const CHILD: &str = "WARP_TEST_ADOPT_CHILD";

/// Run by the test below in a process of its own, which ends at some point between two steps.
#[test]
fn child() {
    let Some(task) = std::env::var_os(CHILD) else {
        return;
    };
    let task = task.into_string().expect("a text");
    let (points, dir) = task.split_once(' ').expect("two words");
    let dir = Path::new(dir);
    let mut node = node(dir, B).expect("opened");
    steps::abort_after(points.parse().expect("a number"));
    node.adopt(&dir.join("shard-0000.db")).expect("adopted");
}

/// The shard was here before, and its records are in the journal; or it never was.
#[test]
fn an_adoption_that_ends_at_any_point_is_done_again() {
    for was_here in [false, true] {
        let mut ends = 0;
        for points in 1.. {
            let nodes = Nodes::new();
            let mut expected = Vec::new();
            if was_here {
                let mut opened = nodes.open(nodes.node(B), B);
                work(&mut opened, 1);
                expected = read(&mut opened);
                let mut b = opened.close_shard().expect("closed");
                copy(&nodes.path(B), &nodes.path(A)).expect("copied");
                crate::handoff::discard(&nodes.path(B)).expect("discarded");
                b.journal
                    .put(crate::journal::Kind::Erase, 1, 1, 0, b"other");
                b.journal
                    .commit(std::time::Duration::ZERO)
                    .expect("written");
            }
            let mut a = nodes.node(A);
            if was_here {
                a.adopt(&nodes.path(A)).expect("adopted");
            }
            let mut opened = nodes.open(a, A);
            assert!(read(&mut opened) == expected);
            work(&mut opened, 2);
            let expected = read(&mut opened);
            drop(opened.close_shard().expect("closed"));
            copy(&nodes.path(A), &nodes.path(B)).expect("copied");

            let child = Command::new(std::env::current_exe().expect("this program"))
                .args([
                    "--exact",
                    "engine::handoff_crash_tests::child",
                    "--nocapture",
                ])
                .env(CHILD, format!("{points} {}", nodes.dir(B).display()))
                .output()
                .expect("runs");
            let mut b = nodes.node(B);
            if points % 2 == 0 {
                b.journal.segments().forget(0);
            }
            b.adopt(&nodes.path(B))
                .unwrap_or_else(|error| panic!("{points}: {error}"));
            // Another crash, before it is opened.
            drop(b);
            let mut opened = nodes.open(nodes.node(B), B);
            assert!(read(&mut opened) == expected, "{points}");
            note(&mut opened, "alice", "behind it");
            drop(opened);
            let mut opened = nodes.open(nodes.node(B), B);
            assert_eq!(read(&mut opened).len(), expected.len() + 1, "{points}");
            if child.status.success() {
                break;
            }
            assert!(
                child.status.code().is_none(),
                "{}",
                String::from_utf8_lossy(&child.stderr)
            );
            ends += 1;
        }
        assert!(ends >= 8, "{ends}");
    }
}
