//! Checking a shard, piece by piece.

use std::collections::HashSet;

use rusqlite::Connection;

use super::entity::{self, Walk};
use super::findings::Findings;
use super::keys::Lives;
use super::seen::Seen;
use super::source::Source;
use crate::erase::erasing::Hidden;
use crate::error::{Error, Result};
use crate::hash::hash64;
use crate::index::aggregates::Names;
use crate::log::rows;
use crate::open::replay;

/// How many pages one piece reads.
const PIECE_PAGES: i64 = if cfg!(test) { 4 } else { 1024 };
/// How many rows, or how many bytes of them.
const PIECE_ROWS: usize = if cfg!(test) { 5 } else { 2048 };
const PIECE_BYTES: usize = 4 * 1024 * 1024;

/// What is checked at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// That each page is the one that was written last.
    Pages,
    /// The rows of each entity, and what finds them.
    Entities,
    /// That each row of the log is one of them, and each key that of a life.
    Rows,
    /// Nothing any more.
    Done,
}

/// How much was checked.
#[derive(Clone, Default)]
pub struct Report {
    /// Pages of the file.
    pub pages: u64,
    /// Entities.
    pub entities: u64,
    /// Rows of the log, erased ones left out.
    pub rows: u64,
    /// Events in them.
    pub events: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// How many steps are done, of which there are `total`.
    pub done: u64,
    /// A step is a page, or a row in one of the two parts that look at rows.
    pub total: u64,
}

/// The check of one shard.
pub struct Checker {
    source: Source,
    state: State,
}

struct State {
    part: Part,
    /// The page, or the row, that was looked at last.
    last: i64,
    /// Likewise, of the entities.
    after: (i64, i64),
    walk: Option<Walk>,
    /// What is behind that position came after the check began.
    end: i64,
    seen: Seen,
    /// Not all entities could be looked at.
    is_blind: bool,
    /// The hashes of entities of which not all rows could be seen.
    broken: HashSet<i64>,
    findings: Findings,
    report: Report,
}

impl Checker {
    /// Of what the file has now. Errors: `Closed`; those of the disk.
    pub fn new(source: Source) -> Result<Self> {
        let mut findings = Findings::default();
        let looked = source.view(|connection| {
            let pages: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            Ok((replay::applied(connection)?, pages))
        });
        let (end, pages) = findings.note(looked)?.unwrap_or_default();
        findings.note(source.check_length(pages))?;
        let report = Report {
            total: u64::from(pages) + 2 * end.unsigned_abs(),
            ..Report::default()
        };
        let state = State {
            part: Part::Pages,
            last: 0,
            after: (i64::MIN, i64::MIN),
            walk: None,
            end,
            seen: Seen::none(end),
            is_blind: false,
            broken: HashSet::new(),
            findings,
            report,
        };
        Ok(Self { source, state })
    }

    /// What comes next.
    pub fn part(&self) -> Part {
        self.state.part
    }

    /// How much was checked.
    pub fn report(&self) -> &Report {
        &self.state.report
    }

    /// What is damaged.
    pub fn findings(&self) -> &Findings {
        &self.state.findings
    }

    /// Checks the next piece. Errors: `Closed` when the shard was closed; those of the disk.
    pub fn step(&mut self) -> Result<()> {
        let Self { source, state } = self;
        let stepped = source.view(|connection| match state.part {
            Part::Pages => state.pages(connection, source),
            Part::Entities => state.entities(connection, source),
            Part::Rows => state.rows(connection, source),
            Part::Done => Ok(()),
        });
        // What breaks a piece off breaks off its part: the file cannot be read on there.
        if state.findings.note(stepped)?.is_none() {
            state.is_blind |= state.part == Part::Entities;
            state.next_part();
        }
        Ok(())
    }
}

impl State {
    fn next_part(&mut self) {
        self.last = 0;
        self.part = match self.part {
            Part::Pages => Part::Entities,
            Part::Entities => Part::Rows,
            Part::Rows | Part::Done => Part::Done,
        };
    }

    fn note<T>(&mut self, result: Result<T>, source: &Source) -> Result<Option<T>> {
        self.findings
            .note(result.map_err(|error| error.at(&source.path)))
    }

    fn pages(&mut self, connection: &Connection, source: &Source) -> Result<()> {
        let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        let end = pages.min(self.last + PIECE_PAGES);
        let mut page =
            connection.prepare("SELECT length(data) FROM sqlite_dbpage WHERE pgno = ?1")?;
        while self.last < end {
            self.last += 1;
            let read = page.query_row([self.last], |row| row.get::<_, i64>(0));
            self.note(read.map_err(Error::from), source)?;
            self.report.pages += 1;
            self.report.done += 1;
        }
        if self.last >= pages {
            self.next_part();
        }
        Ok(())
    }

    fn entities(&mut self, connection: &Connection, source: &Source) -> Result<()> {
        let names = Names::find(connection)?;
        let (mut rows, mut bytes) = (0, 0);
        while rows < PIECE_ROWS && bytes < PIECE_BYTES {
            rows += 1;
            let Some(mut walk) = self.walk.take() else {
                let Some((hash, info)) = entity::next(connection, self.after)? else {
                    self.next_part();
                    return Ok(());
                };
                self.after = (hash, info.incarnation);
                self.report.entities += 1;
                let walk = Walk::begin(connection, hash, info, &source.kinds);
                self.walk = self.note(walk, source)?;
                if self.walk.is_none() {
                    self.broken.insert(hash);
                }
                continue;
            };
            let step = walk.step(connection, names.as_ref(), &mut self.seen);
            match self.note(step, source)? {
                Some(Some(size)) => {
                    bytes += size;
                    self.report.done += 1;
                    self.walk = Some(walk);
                }
                Some(None) => {
                    let ended = walk.end(connection, names.as_ref());
                    self.report.snapshots += self.note(ended, source)?.unwrap_or(0);
                }
                None => drop(self.broken.insert(walk.hash)),
            }
        }
        Ok(())
    }

    fn rows(&mut self, connection: &Connection, source: &Source) -> Result<()> {
        let hidden = Hidden::read(connection)?;
        let (after, mut lives) = (self.last, Lives::default());
        let (mut rows, mut bytes, mut is_end) = (0, 0, true);
        rows::each_after(connection, self.last, |position, row, size| {
            if position > self.end {
                return Ok(false);
            }
            self.last = position;
            let row = self
                .findings
                .note(row.map_err(|error| error.at(&source.path)))?;
            if row.is_none() {
                lives.damaged(position);
            }
            if let Some(Some(row)) = row
                && !hidden.has(&row)
            {
                lives.row(&source.kinds, &row);
                self.report.rows += 1;
                self.report.events += row.count;
                let hash = hash64(row.entity.as_bytes()).cast_signed();
                // Its other rows say the same.
                let is_lost = !self.is_blind && !self.seen.has(position);
                if is_lost && self.broken.insert(hash) {
                    let what = rows::broken(position, "not in the log of its entity");
                    self.findings.note::<()>(Err(what.at(&source.path)))?;
                }
            }
            (rows, bytes) = (rows + 1, bytes + size);
            is_end = rows < PIECE_ROWS && bytes < PIECE_BYTES;
            Ok(is_end)
        })?;
        let up_to = if is_end { self.end } else { self.last };
        for wrong in lives.check(connection, (after, up_to))? {
            self.note::<()>(Err(wrong), source)?;
        }
        self.report.done = self.report.total - self.end.unsigned_abs() + self.last.unsigned_abs();
        if is_end {
            self.next_part();
        }
        Ok(())
    }
}
