//! What one segment gets of one shard: rows and edits in the order of their positions, and the keys of their lives.

use std::collections::{HashMap, VecDeque};

use rusqlite::Connection;

use super::Part;
use crate::backup::key::Found;
use crate::backup::pages::Lived;
use crate::backup::sections::{Edit, Run};
use crate::backup::write::Writer;
use crate::erase::erasing::Hidden;
use crate::error::Result;
use crate::index::entities;
use crate::journal::RowRef;
use crate::log::Apart;
use crate::log::edits::{self, What};
use crate::log::keys::{self, OF_SHARD};
use crate::log::kinds::Kinds;
use crate::log::rows;
use crate::log::runs;

/// The keys of the lives of a segment, by shard and incarnation.
#[derive(Default)]
pub struct Keys(HashMap<(u16, i64), Lived>);

impl Keys {
    /// The key of a part of a life.
    pub fn find(&self, shard: u16, incarnation: i64, part: u16) -> Found {
        let life = self.0.get(&(shard, incarnation));
        life.map_or(Found::Unknown, |life| life.key(part))
    }

    /// Reads the keys of a life, unless they are known. One that has no row there was erased, and compacted away.
    fn learn(&mut self, connection: &Connection, shard: u16, incarnation: i64) -> Result<()> {
        if self.0.contains_key(&(shard, incarnation)) {
            return Ok(());
        }
        keys::between(
            connection,
            (incarnation - 1, incarnation),
            |position, keys| {
                let lived = Lived::of(position, [0; 8], keys?);
                let lived = lived.ok_or_else(|| keys::broken(position, "no keys"))?;
                self.0.insert((shard, incarnation), lived);
                Ok(())
            },
        )
    }
}

/// What a segment got of a shard.
pub struct Filled {
    /// Up to which position.
    pub to: i64,
    /// The run of that position.
    pub run: i64,
    /// Whether the segment is full, so that the next one goes on behind it.
    pub is_full: bool,
    /// How many rows.
    pub rows: u64,
    /// How many events.
    pub events: u64,
}

/// Adds what the shard has behind `from`, up to `to`, or as much of that as has room. Errors: `Closed`; `Corrupt`, of
/// damage; those of the file.
pub fn fill(part: &Part, writer: &mut Writer, keys: &mut Keys) -> Result<Filled> {
    let shard = part.shard()?;
    let kinds = shard.kinds();
    shard.read(|reader| fill_from(reader.connection(), kinds, part, writer, keys))
}

/// Likewise, from a view of its file.
fn fill_from(
    connection: &Connection,
    kinds: &Kinds,
    part: &Part,
    writer: &mut Writer,
    keys: &mut Keys,
) -> Result<Filled> {
    let mut edits = VecDeque::new();
    edits::between(connection, (part.from, part.to), |edit| {
        edits.push_back(edit);
        Ok(())
    })?;
    let mut filling = Filling {
        connection,
        kinds,
        part,
        writer,
        keys,
        edits,
        hidden: Hidden::read(connection)?,
        lives: HashMap::new(),
        to: part.from,
        counts: (0, 0),
    };
    let is_full = !filling.all()?;
    let (to, (rows, events)) = (filling.to, filling.counts);
    let to = if is_full { to } else { part.to };
    let run = runs::at(connection, to)?;
    writer.reach(part.number, to, run)?;
    Ok(Filled {
        to,
        run,
        is_full,
        rows,
        events,
    })
}

struct Filling<'f> {
    connection: &'f Connection,
    kinds: &'f Kinds,
    part: &'f Part,
    writer: &'f mut Writer,
    keys: &'f mut Keys,
    edits: VecDeque<edits::Edit>,
    /// Lives that are being erased, whose rows may still be there.
    hidden: Hidden,
    /// The incarnations of entities that were met.
    lives: HashMap<String, i64>,
    /// Up to which position all is added.
    to: i64,
    counts: (u64, u64),
}

impl<'f> Filling<'f> {
    /// Whether all had room.
    fn all(&mut self) -> Result<bool> {
        for (first, run) in runs::between(self.connection, (self.part.from, self.part.to))? {
            let run = Run {
                shard: self.part.number,
                first,
                run,
            };
            if !self.writer.run(run) {
                return Ok(false);
            }
        }
        let (connection, from, end) = (self.connection, self.part.from, self.part.to);
        let mut has_room = true;
        rows::each_after(connection, from, |position, row, _| {
            if position > end {
                return Ok(false);
            }
            has_room = self.edits(position - 1)?;
            if has_room && let Some(row) = row?.filter(|row| !self.hidden.has(row)) {
                has_room = self.row(&row)?;
            }
            if has_room {
                self.to = position;
            }
            Ok(has_room)
        })?;
        Ok(has_room && self.edits(end)?)
    }

    /// Adds the edits up to a position. Whether all had room.
    fn edits(&mut self, up_to: i64) -> Result<bool> {
        while let Some(edit) = self.edits.front().copied() {
            if edit.position > up_to {
                break;
            }
            if !self.edit(&edit)? {
                return Ok(false);
            }
            self.edits.pop_front();
            // NOTE: several edits may have one position, which is reached with the last of them.
            if self
                .edits
                .front()
                .is_none_or(|next| next.position > edit.position)
            {
                self.to = edit.position;
            }
        }
        Ok(true)
    }

    fn row(&mut self, row: &RowRef<'_>) -> Result<bool> {
        let incarnation = self.life(row)?;
        let (shard, apart) = (self.part.number, self.apart(row));
        let is_taken = self.writer.row(shard, incarnation, row, apart)?;
        if is_taken {
            self.counts.0 += 1;
            self.counts.1 += row.count;
        }
        Ok(is_taken)
    }

    /// Which payloads of a row have keys of their own: those of a first row can.
    fn apart(&self, row: &RowRef<'_>) -> Option<&'f Apart> {
        let kind = self.kinds.of(row.entity).filter(|_| row.prev == 0)?;
        Some(&kind.apart)
    }

    /// The incarnation whose key a row has; 0: the shard's own. Its keys are known then.
    fn life(&mut self, row: &RowRef<'_>) -> Result<i64> {
        let is_first = row.prev == 0;
        if is_first && keys::parts(self.kinds, row)?.is_none() {
            self.learn(OF_SHARD)?;
            return Ok(OF_SHARD);
        }
        if !is_first && let Some(known) = self.lives.get(row.entity) {
            return Ok(*known);
        }
        let incarnation = if is_first {
            row.position
        } else {
            let found = entities::row_of(self.connection, row)?;
            let (_, incarnation, _) = found
                .ok_or_else(|| rows::broken(row.position, "its entity is not in the index"))?;
            incarnation
        };
        self.learn(incarnation)?;
        self.lives.insert(row.entity.into(), incarnation);
        Ok(incarnation)
    }

    fn learn(&mut self, incarnation: i64) -> Result<()> {
        self.keys
            .learn(self.connection, self.part.number, incarnation)
    }

    fn edit(&mut self, edit: &edits::Edit) -> Result<bool> {
        let of_part = |part, of| Edit {
            shard: self.part.number,
            part,
            position: edit.position,
            of,
            at: edit.at,
        };
        match edit.what {
            What::Erased => Ok(self.writer.erased(of_part(0, edit.of))),
            What::Changed => {
                let changed = of_part(0, edit.of);
                match rows::at(self.connection, edit.of) {
                    Ok(Some(row)) if !self.hidden.has(&row.borrow()) => {
                        self.changed(&row.borrow(), changed)
                    }
                    // Erased since, which has an edit of its own.
                    Ok(_) => Ok(true),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// The row as it stands now, if an earlier segment has it; and which of its keys are gone.
    fn changed(&mut self, row: &RowRef<'_>, edit: Edit) -> Result<bool> {
        let incarnation = self.life(row)?;
        if row.prev == 0 && incarnation != OF_SHARD {
            let gone = self.keys.0.get(&(edit.shard, incarnation));
            let gone = gone.map(Lived::erased_parts).unwrap_or_default();
            for part in gone {
                let erased = Edit {
                    part,
                    of: incarnation,
                    ..edit
                };
                if !self.writer.erased(erased) {
                    return Ok(false);
                }
            }
        }
        if row.position > self.part.from {
            // It was added as it stands now.
            return Ok(true);
        }
        let apart = self.apart(row);
        let is_taken = self.writer.revision(edit.shard, incarnation, row, apart)?;
        Ok(is_taken && self.writer.changed(edit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::testing::head;
    use crate::engine::handoff_tests::note;
    use crate::engine::keys_tests::{erase, make_all, retime};
    use crate::engine::testing::{self, Opened, open};

    const ROWS: i64 = 10;

    /// How many rows and events a segment gets of what stands behind the first rows.
    fn fill_rest(opened: &mut Opened) -> Result<(u64, u64)> {
        make_all(opened);
        let connection = opened.store.connection();
        let part = Part {
            shard: None,
            number: 0,
            from: ROWS,
            run: runs::at(connection, ROWS)?,
            to: opened.store.applied(),
            covered: 0,
        };
        let mut writer = Writer::new(head(2, [0; 32]));
        writer.begin(part.number, part.from, part.run, false);
        let (kinds, mut keys) = (testing::kinds(), Keys::default());
        let filled = fill_from(connection, &kinds, &part, &mut writer, &mut keys)?;
        Ok((filled.rows, filled.events))
    }

    #[test]
    fn a_corrected_row_of_a_life_that_is_being_erased_is_left_out() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut opened = open(&dir.path().join("s.db")).expect("opened");
        for _ in 0..ROWS {
            note(&mut opened, "alice", "text");
        }
        make_all(&mut opened);
        retime(&mut opened, "alice", 2);
        erase(&mut opened, "alice");
        note(&mut opened, "alice", "of a new life");
        opened.apply().expect("applied");
        let is_there = rows::at(opened.store.connection(), 2).expect("read");
        assert!(is_there.is_some(), "it was erased in one piece");
        assert_eq!(fill_rest(&mut opened).expect("filled"), (1, 1));
    }
}
