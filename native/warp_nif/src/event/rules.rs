//! What a context knows about its aggregates, for the checks of new events.

use std::collections::HashMap;
use std::sync::Arc;

use rustler::Resource;

use super::RESERVED;

/// The aggregates of a context.
pub struct Rules {
    by_name: HashMap<Arc<str>, Aggregate>,
    default: Option<Aggregate>,
    /// Whether one of them judges events.
    pub judges: bool,
    /// The names that aggregates had earlier, if any had.
    pub earlier: Option<Arc<Earlier>>,
    /// Whether its events are Warp's own. Small ones are packed however much memory is held: they
    /// finish what was begun.
    pub is_own: bool,
}

#[rustler::resource_impl]
impl Resource for Rules {}

/// The names that aggregates had earlier, each with the name of now.
#[derive(Debug)]
pub struct Earlier(HashMap<String, String>);

impl Earlier {
    /// The name that an aggregate has now.
    pub fn current<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.get(name).map_or(name, String::as_str)
    }
}

/// An aggregate of the context.
#[derive(Clone)]
pub struct Aggregate {
    /// Its name, which every row of it shares.
    pub name: Arc<str>,
    /// The current schema version.
    pub version: u64,
    /// Whether it judges events before they are stored.
    pub judges: bool,
}

impl Rules {
    /// Of aggregates with their versions, and whether they judge; and of earlier names, each with the name of now.
    pub fn new(aggregates: Vec<(String, u64, bool)>, earlier: Vec<(String, String)>) -> Self {
        let all: Vec<Aggregate> = aggregates
            .into_iter()
            .map(|(name, version, judges)| Aggregate {
                name: name.into(),
                version,
                judges,
            })
            .collect();
        Self {
            default: match all.as_slice() {
                [only] => Some(only.clone()),
                _ => None,
            },
            judges: all.iter().any(|aggregate| aggregate.judges),
            earlier: match earlier.is_empty() {
                true => None,
                false => Some(Arc::new(Earlier(earlier.into_iter().collect()))),
            },
            is_own: all
                .iter()
                .all(|aggregate| aggregate.name.starts_with(RESERVED)),
            by_name: all
                .into_iter()
                .map(|aggregate| (Arc::clone(&aggregate.name), aggregate))
                .collect(),
        }
    }

    /// The aggregate of that name.
    pub fn find(&self, name: &[u8]) -> Option<&Aggregate> {
        self.by_name.get(std::str::from_utf8(name).ok()?)
    }

    /// The aggregate of events that name none, when there is just one.
    pub fn default(&self) -> Option<&Aggregate> {
        self.default.as_ref()
    }
}
