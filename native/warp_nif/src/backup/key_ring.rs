//! The keys of a backup, as they are looked up: pages that are there, and which keys were erased since.

use std::collections::{BTreeMap, BTreeSet};

use super::key::Found;
use super::pages::{Lived, Page, Tag, page_of};
use super::sections::Edit;

/// Key pages and erased keys.
#[derive(Default)]
pub struct KeyRing {
    pages: BTreeMap<(u16, u64), Page>,
    erased: BTreeSet<(u16, i64, u16)>,
}

impl KeyRing {
    /// Adds a page.
    pub fn add(&mut self, page: Page) {
        self.pages.insert((page.shard, page.number), page);
    }

    /// Adds keys that were erased. Those of all segments are needed, also of later ones than are read: the pages may
    /// be old copies.
    pub fn erase(&mut self, erased: &[Edit]) {
        let keys = erased.iter().map(|edit| (edit.shard, edit.of, edit.part));
        self.erased.extend(keys);
    }

    /// Whether a key was erased, by what the segments say.
    pub fn is_erased(&self, shard: u16, incarnation: i64, part: u16) -> bool {
        [0, part]
            .iter()
            .any(|part| self.erased.contains(&(shard, incarnation, *part)))
    }

    /// The key of a part of a life.
    pub fn find(&self, shard: u16, incarnation: i64, part: u16) -> Found {
        if self.is_erased(shard, incarnation, part) {
            return Found::Erased;
        }
        let life = self.life(shard, incarnation);
        life.map_or(Found::Unknown, |life| life.key(part))
    }

    /// How many keys a life has, erased ones too; 0 when it is not known.
    pub fn parts(&self, shard: u16, incarnation: i64) -> u16 {
        let parts = self.life(shard, incarnation).map(|life| life.keys.len());
        parts.map_or(0, |parts| u16::try_from(parts).unwrap_or(u16::MAX))
    }

    fn life(&self, shard: u16, incarnation: i64) -> Option<&Lived> {
        let page = self.pages.get(&(shard, page_of(incarnation)))?;
        page.find(incarnation)
    }

    /// The lives of the entities with this tag in a shard that were not erased: one entity may have had several.
    pub fn with_tag(&self, shard: u16, tag: Tag) -> impl Iterator<Item = &Lived> {
        let pages = self.pages.range((shard, 0)..=(shard, u64::MAX));
        pages
            .flat_map(move |(_, page)| page.with_tag(tag))
            .filter(move |life| !self.is_erased(shard, life.incarnation, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::testing::key;

    fn erased(of: i64, part: u16) -> Edit {
        Edit {
            shard: 1,
            part,
            position: 9,
            of,
            at: 0,
        }
    }

    fn life(incarnation: i64, keys: Vec<Option<u8>>) -> Lived {
        Lived {
            incarnation,
            tag: [incarnation as u8; 8],
            keys: keys.into_iter().map(|n| n.map(key)).collect(),
        }
    }

    #[test]
    fn a_key_is_there_or_erased_or_unknown() {
        let mut ring = KeyRing::default();
        for (number, incarnation) in [(0, 7), (1, 70_000)] {
            ring.add(Page {
                backup: 1,
                shard: 1,
                number,
                lives: vec![
                    life(incarnation, vec![Some(1), None, Some(3)]),
                    life(incarnation + 1, vec![None]),
                ],
            });
        }
        let state = |ring: &KeyRing, incarnation, part| match ring.find(1, incarnation, part) {
            Found::Key(_) => "key",
            Found::Erased => "erased",
            Found::Unknown => "unknown",
        };
        for incarnation in [7, 70_000] {
            let parts = [0, 1, 2, 3].map(|part| state(&ring, incarnation, part));
            assert_eq!(parts, ["key", "erased", "key", "unknown"]);
            assert_eq!(state(&ring, incarnation + 1, 0), "erased");
            assert_eq!(state(&ring, incarnation + 1, 5), "erased");
        }
        assert_eq!(state(&ring, 9, 0), "unknown");
        assert!(matches!(ring.find(2, 7, 0), Found::Unknown));
        assert_eq!(
            (ring.parts(1, 7), ring.parts(1, 9), ring.parts(2, 7)),
            (3, 0, 0)
        );
        assert_eq!(ring.with_tag(1, [7; 8]).count(), 1);
        assert_eq!(ring.with_tag(2, [7; 8]).count(), 0);
        assert_eq!(ring.with_tag(1, [8; 8]).count(), 0);
        // What the segments say holds, whatever the pages have.
        ring.erase(&[erased(7, 2), erased(70_000, 0)]);
        assert_eq!((state(&ring, 7, 0), state(&ring, 7, 2)), ("key", "erased"));
        assert_eq!(
            (state(&ring, 70_000, 0), state(&ring, 70_000, 2)),
            ("erased", "erased")
        );
        assert_eq!(ring.with_tag(1, [112; 8]).count(), 0);
    }
}
