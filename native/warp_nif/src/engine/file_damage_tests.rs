//! The files of a killed context, with damage: every answer is right or `Corrupt`. Never is an
//! acknowledged event missing in silence.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::engine::testing::{self, open};
use crate::error::Error;
use crate::event::Packed;
use crate::reader::Direction;
use crate::reader::view::with_reader;

const ENTITIES: [&str; 3] = ["alice", "bob", "carol"];

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn files(dir: &Path) -> Files {
    let entries = std::fs::read_dir(dir).expect("lists");
    let paths = entries.map(|entry| entry.expect("entry").path());
    // The index of a WAL is made again.
    let kept = paths.filter(|path| !path.to_string_lossy().ends_with("-shm"));
    kept.map(|path| {
        let bytes = std::fs::read(&path).expect("reads");
        (path, bytes)
    })
    .collect()
}

fn restore(dir: &Path, files: &Files) {
    for entry in std::fs::read_dir(dir).expect("lists") {
        std::fs::remove_file(entry.expect("entry").path()).expect("removes");
    }
    for (path, bytes) in files {
        std::fs::write(path, bytes).expect("writes");
    }
}

fn event(entity: &str, n: u64) -> String {
    format!("{{\"type\":\"T\",\"payload\":{{\"s\":\"of {entity}, {n}\"}}}}")
}

/// A context that was killed, as it was at the end and some time before.
struct Killed {
    dir: tempfile::TempDir,
    now: Files,
    before: Files,
    events: u64,
}

impl Killed {
    /// `applied`: how many rounds of appends went into the shard's file, and whether out of its WAL.
    fn new(rounds: u64, (applied, moved): (u64, bool)) -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("s.db");
        let mut before = Files::new();
        let mut opened = open(&path).expect("opens");
        for n in 0..rounds {
            if n == applied {
                opened.apply().expect("applies");
                if moved {
                    opened.store.settle(crate::sqlite::BUSY).expect("moves");
                }
                before = files(dir.path());
            }
            for entity in ENTITIES {
                let event = event(entity, n);
                let data = format!("[{event}]");
                let packed = Packed::new("A".into(), data, 1, Vec::new());
                let append = testing::append(entity, n, packed);
                opened.commit(append).expect("commits");
            }
        }
        let now = files(dir.path());
        drop(opened);
        Self {
            dir,
            now,
            before,
            events: rounds,
        }
    }

    fn of(&self, name: &str) -> Vec<PathBuf> {
        let is_it = |path: &&PathBuf| {
            let found = path.file_name().expect("named").to_string_lossy();
            found.starts_with(name)
        };
        self.now.keys().filter(is_it).cloned().collect()
    }

    /// Whether the damage was noticed. It panics when an event is missing or wrong.
    fn check(&self, damage: &str, damaged: &Files) -> bool {
        restore(self.dir.path(), damaged);
        let opened = match open(&self.dir.path().join("s.db")) {
            Ok(opened) => opened,
            Err(Error::Corrupt(what)) => {
                assert!(what.text().contains(' '), "{what}");
                return true;
            }
            // The header of a shard says what it is.
            Err(Error::NotAShard(_) | Error::NewerFormat(..)) => return true,
            Err(error) => panic!("{damage}: {error:?}"),
        };
        for entity in ENTITIES {
            let read = with_reader(&opened.shared, |reader| {
                reader.page(entity, 0, None, 10_000, Direction::Forward)
            });
            let rows = match read {
                Ok(page) => page.rows,
                Err(Error::Corrupt(_)) => return true,
                Err(error) => panic!("{damage}: {error:?}"),
            };
            let found = rows.into_iter().map(|row| row.data);
            let expected = (0..self.events).map(|n| format!("[{}]", event(entity, n)));
            assert!(found.eq(expected), "{damage}: {entity} is wrong");
        }
        false
    }

    fn with(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Files {
        let mut damaged = self.now.clone();
        change(damaged.get_mut(path).expect("is there"));
        damaged
    }
}

/// Up to where something was written into the file.
fn used(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1)
}

#[test]
fn no_damage_to_a_file_goes_unnoticed() {
    let many = if std::env::var_os("WARP_LONG").is_some() {
        4000
    } else {
        150
    };
    // All in memory, a part of it, another in the WAL, and nothing.
    for (rounds, applied) in [
        (30, (0, true)),
        (30, (20, true)),
        (30, (20, false)),
        (12, (11, true)),
    ] {
        let killed = Killed::new(rounds, applied);
        assert!(!killed.check("none", &killed.now));
        let mut noticed = 0;
        let names = ["journal-", "note", "s.db", "s.sums"];
        for path in names.into_iter().flat_map(|name| killed.of(name)) {
            let bytes = killed.now.get(&path).expect("is there");
            let (size, name) = (used(bytes), path.display().to_string());
            if size == 0 {
                continue;
            }
            for n in 0..many {
                // Spread over the file, the same in each run.
                let at = (n * 7919 + n * n * 31) % size;
                let flip = killed.with(&path, |bytes| bytes[at] ^= 1 << (n % 8));
                noticed += u32::from(killed.check(&format!("{name}: bit of {at}"), &flip));
                if n % 3 > 0 {
                    continue;
                }
                let sector = at / 512 * 512;
                let end = (sector + 512).min(bytes.len());
                let zero = killed.with(&path, |bytes| bytes[sector..end].fill(0));
                noticed += u32::from(killed.check(&format!("{name}: zeros at {sector}"), &zero));
                let cut = killed.with(&path, |bytes| bytes.truncate(at));
                noticed += u32::from(killed.check(&format!("{name}: cut at {at}"), &cut));
                let other = (at + 1536) % size / 512 * 512;
                let swap = killed.with(&path, |bytes| {
                    let to = (other + 512).min(bytes.len());
                    let (a, b) = (bytes[sector..end].to_vec(), bytes[other..to].to_vec());
                    if a.len() == b.len() {
                        bytes[sector..end].copy_from_slice(&b);
                        bytes[other..to].copy_from_slice(&a);
                    }
                });
                noticed += u32::from(killed.check(&format!("{name}: swap {sector}"), &swap));
                if let Some(old) = killed.before.get(&path) {
                    let stale = killed.with(&path, |bytes| {
                        bytes[sector..end].copy_from_slice(&old[sector..end]);
                    });
                    noticed += u32::from(killed.check(&format!("{name}: old {sector}"), &stale));
                }
            }
            let mut gone = killed.now.clone();
            gone.remove(&path);
            killed.check(&format!("{name}: gone"), &gone);
            if let Some(old) = killed.before.get(&path) {
                let stale = killed.with(&path, |bytes| bytes.clone_from(old));
                killed.check(&format!("{name}: of before"), &stale);
            }
        }
        assert!(noticed > 50, "only {noticed} were noticed");
    }
}

/// A kill while the segment is changed, and a failed commit before it: nothing comes back, nothing goes.
#[test]
fn segments_that_are_missing_or_swapped_are_noticed() {
    let killed = Killed::new(3000, (1, true));
    let mut segments = killed.of("journal-");
    // One may be prepared, and not begun.
    segments.retain(|path| used(&killed.now[path]) > 0);
    assert!(segments.len() > 1, "one segment only");
    for (index, path) in segments.iter().enumerate() {
        let mut gone = killed.now.clone();
        gone.remove(path);
        assert!(killed.check(&format!("segment {index} gone"), &gone));
        if let Some(other) = segments.get(index + 1) {
            let mut swapped = killed.now.clone();
            let (a, b) = (killed.now[path].clone(), killed.now[other].clone());
            swapped.insert(path.clone(), b);
            swapped.insert(other.clone(), a);
            assert!(killed.check(&format!("segment {index} swapped"), &swapped));
        }
    }
}
