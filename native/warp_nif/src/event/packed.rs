//! An append that was packed, until it is stored or given up.

use std::sync::{Arc, Mutex, MutexGuard};

use rustler::Resource;
use serde_json::value::RawValue;

use super::ids::GivenId;
use super::rules::Earlier;
use super::stored::{elements, other_aggregates, parse_row};
use super::ticket::Ticket;
use super::weight::Weight;
use crate::error::Result;
use crate::sync::relock;

/// From how many bytes on what an append holds is looked at more closely.
const LARGE: usize = 64 * 1024;
/// A cell of a list and a word or two of its own.
const BYTES_PER_VALUE: usize = 24;

/// One append, ready to be written as one row.
pub struct Packed {
    /// The aggregate of the row: that of its first event.
    pub aggregate: Arc<str>,
    /// A JSON array with one element per event.
    pub data: String,
    /// Index of the event and its id, for each id given.
    pub ids: Vec<(usize, GivenId)>,
    /// The aggregates of events that have another one than the row, each once.
    pub others: Vec<Arc<str>>,
    /// The earlier names of the context's aggregates, if there are such.
    pub earlier: Option<Arc<Earlier>>,
    count: usize,
    weight: Weight,
}

impl Packed {
    /// An append of these parts. The array in `data` has `count` elements.
    pub fn new(
        aggregate: Arc<str>,
        data: String,
        count: usize,
        ids: Vec<(usize, GivenId)>,
    ) -> Self {
        let bytes = data.capacity() + ids.capacity() * size_of::<(usize, GivenId)>();
        Self {
            aggregate,
            data,
            ids,
            others: Vec::new(),
            earlier: None,
            count,
            weight: Weight::of(bytes),
        }
    }

    /// The same with the aggregates of events that have another one than the row.
    pub fn with_others(mut self, others: Vec<Arc<str>>) -> Self {
        self.others = others;
        self
    }

    /// The same, of a context whose aggregates had these names earlier.
    pub fn with_earlier(mut self, earlier: Option<Arc<Earlier>>) -> Self {
        self.earlier = earlier;
        self
    }

    /// The aggregates of its events, each once.
    pub fn aggregates(&self) -> impl Iterator<Item = &Arc<str>> {
        std::iter::once(&self.aggregate).chain(&self.others)
    }

    /// Counts, with it, what the terms of its events take on the way to whoever judges them: about
    /// so much for each value. Of small ones that is little.
    pub fn with_terms(mut self) -> Self {
        if self.data.len() >= LARGE {
            let begins = |byte: &u8| matches!(byte, b',' | b'[' | b'{');
            let values = self.data.bytes().filter(|byte| begins(byte)).count();
            self.weight.add(values * BYTES_PER_VALUE);
        }
        self
    }

    /// How many events.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The same append with only the events at `indexes`, which are in order. Error: `Corrupt` when
    /// `data` is not what Warp writes.
    pub fn keep(&self, indexes: &[usize]) -> Result<Self> {
        let all: Vec<&RawValue> = elements(&self.data)?;
        let (mut texts, mut ids) = (Vec::new(), Vec::new());
        for &index in indexes {
            let Some(element) = all.get(index) else {
                continue;
            };
            let of_event = self.ids.iter().filter(|(at, _)| *at == index);
            ids.extend(of_event.map(|(_, id)| (texts.len(), *id)));
            texts.push(element.get());
        }
        let data = format!("[{}]", texts.join(","));
        let others = if self.others.is_empty() {
            Vec::new()
        } else {
            other_aggregates(&parse_row(&data)?)
        };
        let kept = Self::new(Arc::clone(&self.aggregate), data, texts.len(), ids);
        Ok(kept.with_others(others).with_earlier(self.earlier.clone()))
    }
}

/// A packed append as Erlang holds it, until it is stored or given up.
///
/// Processes that have finished with it may keep it as garbage for long. So what it holds can go
/// before it does.
pub struct PackedHandle(Mutex<Held>);

struct Held {
    packed: Option<Arc<Packed>>,
    ticket: Option<Arc<Ticket>>,
}

#[rustler::resource_impl]
impl Resource for PackedHandle {}

impl PackedHandle {
    /// Holds an append that was just packed.
    pub fn new(packed: Packed) -> Self {
        Self(Mutex::new(Held {
            packed: Some(Arc::new(packed)),
            ticket: None,
        }))
    }

    /// The append; `None` once it was released.
    pub fn get(&self) -> Option<Arc<Packed>> {
        self.lock().packed.clone()
    }

    /// The append with the ticket that it is tied to, if it is.
    pub fn get_tied(&self) -> Option<(Arc<Packed>, Option<Arc<Ticket>>)> {
        let held = self.lock();
        let packed = held.packed.clone()?;
        Some((packed, held.ticket.clone()))
    }

    /// Ties the append to a ticket, in place of the one that it was tied to.
    pub fn tie(&self, ticket: Arc<Ticket>) {
        self.lock().ticket = Some(ticket);
    }

    /// Nobody will ask for it any more.
    pub fn release(&self) {
        self.lock().packed.take();
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        relock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_asked_for_are_kept_as_they_are() {
        let data = r#"[{"type":"A","payload":{ "x":"],[\"" }},{"type":"B","id":"b","payload":{}},{"type":"C","payload":{}}]"#;
        let ids = vec![(1, GivenId::Hash(7))];
        let packed = Packed::new("Row".into(), data.into(), 3, ids);
        let kept = packed.keep(&[0, 1]).expect("an array");
        assert_eq!(
            kept.data,
            r#"[{"type":"A","payload":{ "x":"],[\"" }},{"type":"B","id":"b","payload":{}}]"#
        );
        assert_eq!((kept.count(), kept.ids.len()), (2, 1));
        let last = packed.keep(&[1]).expect("an array");
        assert_eq!(last.data, r#"[{"type":"B","id":"b","payload":{}}]"#);
        assert!(matches!(last.ids.as_slice(), [(0, GivenId::Hash(7))]));
        assert_eq!(&*last.aggregate, "Row");
    }
}
