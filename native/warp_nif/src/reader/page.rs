//! A page of an entity's log: the rows with some of its events, in either direction.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::view::{EntityLog, Reader};
use crate::error::{Error, Result};
use crate::index::chain;
use crate::index::entities::EntityInfo;
use crate::log::Row;

/// How many bytes of rows one page holds at most, but for a single larger row.
pub const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// How many rows, or entries of an index, one piece of a long read takes at most.
pub const PIECE_ROWS: usize = 1024;

/// Which way a history goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// By rising seq.
    Forward,
    /// By falling seq.
    Backward,
}

/// Rows in the order asked for, and the seq to go on from.
pub struct Page {
    /// Which life of the entity this is; 0 when it has no events.
    pub incarnation: i64,
    /// Rows whose events are wanted, some perhaps only in part.
    pub rows: Vec<Row>,
    /// The first seq wanted of `rows`, in the direction asked for.
    pub from: u64,
    /// The seq that the next page begins with; none when this is the last one.
    pub next: Option<u64>,
}

impl Reader<'_> {
    /// The rows that hold up to `limit` events from `from` on.
    ///
    /// `incarnation` is that of an earlier page, or 0; another one now is the error `Changed`.
    pub fn page(
        &self,
        entity: &str,
        incarnation: i64,
        from: Option<u64>,
        limit: u64,
        direction: Direction,
    ) -> Result<Page> {
        let found = self.find(entity)?;
        if incarnation != 0
            && found
                .as_ref()
                .is_none_or(|log| log.info.incarnation != incarnation)
        {
            return Err(Error::Changed);
        }
        let Some(log) = found else {
            return Ok(Page {
                incarnation: 0,
                rows: Vec::new(),
                from: 1,
                next: None,
            });
        };
        match direction {
            Direction::Forward => self.forward(entity, log, from.unwrap_or(1), limit),
            Direction::Backward => {
                let from = from.unwrap_or(log.info.seq).min(log.info.seq);
                self.backward(entity, log, from, limit)
            }
        }
    }

    /// The row to walk back from in order to reach `seq`.
    fn enter(&self, entity: &str, log: EntityLog, seq: u64) -> Result<Row> {
        let position = chain::entry(self, &log.info, &log.marks, seq)?;
        if position == log.head.position {
            return Ok(log.head);
        }
        chain::link(self, entity, position)
    }

    fn forward(&self, entity: &str, log: EntityLog, from: u64, limit: u64) -> Result<Page> {
        let end = from.saturating_add(limit);
        let EntityInfo {
            incarnation, seq, ..
        } = log.info;
        let mut found = VecDeque::new();
        let mut bytes = 0;
        if from <= seq {
            let entry = self.enter(entity, log, end)?;
            chain::walk_back(self, entity, entry, |row| {
                if row.last_seq() < from {
                    return ControlFlow::Break(());
                }
                let is_last = row.seq <= from;
                if row.seq < end {
                    bytes += row.data.len();
                    found.push_front(row);
                    // This is too much for one page, so the later rows wait for the next one.
                    while bytes > PAGE_BYTES && found.len() > 1 {
                        bytes -= found.pop_back().map_or(0, |row| row.data.len());
                    }
                }
                if is_last {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })?;
        }
        let next = found.back().map(|row| row.last_seq().min(end - 1) + 1);
        Ok(Page {
            incarnation,
            rows: found.into(),
            from,
            next: next.filter(|next| *next <= seq),
        })
    }

    fn backward(&self, entity: &str, log: EntityLog, from: u64, limit: u64) -> Result<Page> {
        // The lowest seq wanted.
        let end = from.saturating_sub(limit.saturating_sub(1)).max(1);
        let incarnation = log.info.incarnation;
        let mut found = Vec::new();
        let mut bytes = 0;
        if from > 0 {
            let entry = self.enter(entity, log, from)?;
            chain::walk_back(self, entity, entry, |row| {
                if row.seq > from {
                    return ControlFlow::Continue(());
                }
                bytes += row.data.len();
                let is_last = row.seq <= end || bytes > PAGE_BYTES;
                found.push(row);
                if is_last {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })?;
        }
        let next = found.last().map(|row| row.seq.max(end) - 1);
        Ok(Page {
            incarnation,
            rows: found,
            from,
            next: next.filter(|seq| *seq > 0),
        })
    }
}
