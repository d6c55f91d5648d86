//! What a read of events has found, until the process that asked makes terms of it.
//!
//! NOTE: no thread of the engine's own can do that. A payload may be a map of more than 32 keys, and
//! OTP 25 ends itself with a segmentation fault when a thread that is not a scheduler makes one.

use std::sync::Mutex;

use rustler::{Encoder, Env, NewBinary, Resource, ResourceArc, Term};

use super::BUDGET;
use super::terms::reply;
use crate::atoms;
use crate::error::{Error, Result};
use crate::event::{self, StoredEvent};
use crate::log::Row;
use crate::reader::{Direction, Page, Seen};
use crate::sync::relock;

/// What was found, once.
pub struct Found(Mutex<Option<Rows>>);

#[rustler::resource_impl]
impl Resource for Found {}

/// What was read, and what of it is wanted.
pub enum Rows {
    /// A page of an entity's history.
    Page {
        /// Its rows, which can hold more events than were asked for.
        page: Page,
        /// How many events were asked for.
        limit: u64,
        /// Which way they go.
        direction: Direction,
    },
    /// Rows of an entity, each with its position.
    OfEntity {
        /// The page that they are.
        page: Page,
        /// Of which aggregates the events are wanted; none: of all.
        aggregates: Option<Vec<String>>,
    },
    /// A stretch of the log.
    Stretch {
        /// Its rows.
        stretch: Seen,
        /// Of which aggregates the events are wanted; none: of all.
        aggregates: Option<Vec<String>>,
    },
}

impl Found {
    /// `{Found, Scheduler}`: which one is to make terms of it, `normal` or `dirty`.
    pub fn answer<'a>(env: Env<'a>, rows: Rows) -> Term<'a> {
        let read = match &rows {
            Rows::Page { page, .. } | Rows::OfEntity { page, .. } => &page.rows,
            Rows::Stretch { stretch, .. } => &stretch.rows,
        };
        let bytes: usize = read.iter().map(|row| row.data.len()).sum();
        let scheduler = if bytes <= BUDGET {
            atoms::normal()
        } else {
            atoms::dirty()
        };
        (ResourceArc::new(Self(Mutex::new(Some(rows)))), scheduler).encode(env)
    }

    fn terms<'a>(&self, env: Env<'a>) -> Term<'a> {
        let rows = relock(&self.0).take();
        let terms = match rows {
            Some(Rows::Page {
                page,
                limit,
                direction,
            }) => of_page(env, &page, limit, direction),
            Some(Rows::OfEntity { page, aggregates }) => {
                of_entity(env, &page, aggregates.as_deref())
            }
            Some(Rows::Stretch {
                stretch,
                aggregates,
            }) => of_stretch(env, &stretch, aggregates.as_deref()),
            None => Err(Error::internal("these events were taken already")),
        };
        reply(env, terms)
    }
}

/// What was found, as terms: see `page` and `follow`.
#[rustler::nif]
fn found<'a>(env: Env<'a>, events: ResourceArc<Found>) -> Term<'a> {
    events.terms(env)
}

/// As `found`, whatever the size.
#[rustler::nif(schedule = "DirtyCpu")]
fn found_dirty<'a>(env: Env<'a>, events: ResourceArc<Found>) -> Term<'a> {
    events.terms(env)
}

fn of_page<'a>(env: Env<'a>, page: &Page, limit: u64, direction: Direction) -> Result<Term<'a>> {
    let (low, high) = match direction {
        Direction::Forward => (page.from, page.from.saturating_add(limit - 1)),
        Direction::Backward => (page.from.saturating_sub(limit - 1), page.from),
    };
    let mut terms = Vec::new();
    for row in &page.rows {
        let of_row = event::parse_row(&row.data)?;
        let first = terms.len();
        for (seq, stored) in (row.seq..).zip(&of_row) {
            if (low..=high).contains(&seq) {
                terms.push(event_term(env, row, seq, stored)?);
            }
        }
        if direction == Direction::Backward
            && let Some(of_row) = terms.get_mut(first..)
        {
            of_row.reverse();
        }
    }
    let next = page
        .next
        .map_or_else(|| atoms::done().encode(env), |seq| seq.encode(env));
    Ok((page.incarnation, terms, next).encode(env))
}

fn of_entity<'a>(env: Env<'a>, page: &Page, aggregates: Option<&[String]>) -> Result<Term<'a>> {
    let rows = page.rows.iter();
    let rows = rows.map(|row| placed(env, row, page.from, aggregates));
    let rows = rows.collect::<Result<Vec<Term<'a>>>>()?;
    let next = page
        .next
        .map_or_else(|| atoms::done().encode(env), |seq| seq.encode(env));
    Ok((page.incarnation, rows, next).encode(env))
}

fn of_stretch<'a>(env: Env<'a>, stretch: &Seen, aggregates: Option<&[String]>) -> Result<Term<'a>> {
    let rows = stretch.rows.iter();
    let rows = rows.map(|row| placed(env, row, 0, aggregates));
    let rows = rows.collect::<Result<Vec<Term<'a>>>>()?;
    let end = if stretch.at_end {
        atoms::done()
    } else {
        atoms::more()
    };
    Ok((rows, stretch.last, end).encode(env))
}

/// A row with its place, and its events from a seq on of the aggregates that are wanted.
fn placed<'a>(
    env: Env<'a>,
    row: &Row,
    from: u64,
    aggregates: Option<&[String]>,
) -> Result<Term<'a>> {
    let is_wanted =
        |aggregate: &str| aggregates.is_none_or(|names| names.iter().any(|name| name == aggregate));
    let of_row = event::parse_row(&row.data)?;
    let mut terms = Vec::with_capacity(of_row.len());
    for (seq, stored) in (row.seq..).zip(&of_row) {
        let aggregate = stored.aggregate.as_deref().unwrap_or(&row.aggregate);
        if seq >= from && is_wanted(aggregate) {
            terms.push(event_term(env, row, seq, stored)?);
        }
    }
    let entity = NewBinary::from_slice(env, row.entity.as_bytes());
    let entity: Term<'a> = entity.into();
    Ok((row.position, entity, row.seq, row.last_seq(), terms).encode(env))
}

fn event_term<'a>(env: Env<'a>, row: &Row, seq: u64, stored: &StoredEvent<'_>) -> Result<Term<'a>> {
    event::to_term(
        env,
        stored,
        &row.entity,
        &row.aggregate,
        seq,
        row.recorded_at,
    )
}
