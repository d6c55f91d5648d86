//! What a check has found to be damaged.

use crate::error::{Error, Result};

/// How many places are listed.
const MOST: usize = 100;

/// The damaged places, each once, in words that name the file.
#[derive(Default)]
pub struct Findings {
    listed: Vec<String>,
    others: u64,
}

impl Findings {
    /// Notes the error of a place that is damaged. Error: another one, which says nothing of the place.
    pub fn note<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(Error::Corrupt(reason)) => {
                let text = reason.text();
                if self.listed.iter().any(|listed| listed == text) {
                    // Two parts of the check have met the same place.
                } else if self.listed.len() < MOST {
                    self.listed.push(text.to_owned());
                } else {
                    self.others += 1;
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Those that are listed.
    pub fn listed(&self) -> &[String] {
        &self.listed
    }

    /// How many there are beside those.
    pub fn others(&self) -> u64 {
        self.others
    }
}
