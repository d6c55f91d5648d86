//! The key pages that a backup needs, which are stored behind its segments.

use std::collections::BTreeSet;

use super::{OpenBackup, Part};
use crate::backup::key::random;
use crate::backup::pages::{Lived, POSITIONS, Page, page_of, tag};
use crate::error::Result;
use crate::log::edits;
use crate::log::keys;
use crate::log::rows;

/// Which pages have other keys than those that were stored: of which part, and its number. The last come first.
pub fn changed(parts: &[Part]) -> Result<Vec<(usize, u64)>> {
    let mut all = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let mut pages = BTreeSet::new();
        if part.to <= part.covered {
            continue;
        }
        // The first one has the shard's own key.
        pages.extend(page_of(part.covered + 1)..=page_of(part.to));
        part.shard()?.read(|reader| {
            edits::between(reader.connection(), (part.covered, part.to), |edit| {
                pages.insert(page_of(edit.of));
                Ok(())
            })
        })?;
        all.extend(pages.into_iter().map(|page| (at, page)));
    }
    all.reverse();
    Ok(all)
}

/// A page as it is now, sealed; `None` when it has no key.
pub fn seal(backup: &OpenBackup, part: &Part, number: u64) -> Result<Option<Vec<u8>>> {
    let first = i64::try_from(number)
        .unwrap_or(i64::MAX)
        .saturating_mul(POSITIONS);
    let last = first.saturating_add(POSITIONS - 1);
    let lives = part.shard()?.read(|reader| {
        let connection = reader.connection();
        let mut lives = Vec::new();
        keys::between(connection, (first - 1, last), |position, keys| {
            let name = match rows::at(connection, position) {
                Ok(Some(row)) => tag(&backup.key, &row.entity),
                // The shard's own, an erased one, or a damaged row, which has its error elsewhere.
                _ => [0; 8],
            };
            lives.extend(Lived::of(position, name, keys?));
            Ok(())
        })?;
        Ok(lives)
    })?;
    if lives.is_empty() {
        return Ok(None);
    }
    let page = Page {
        backup: backup.number,
        shard: part.number,
        number,
        lives,
    };
    Ok(Some(page.seal(&backup.key, &random()?)?))
}
