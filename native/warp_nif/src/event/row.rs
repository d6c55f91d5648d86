//! The text of a row as it is written: names and objects that callers give, checked and as JSON.

use rustler::{Binary, Encoder, Env, Term, TermType};

use super::{MAX_JSON_BYTES, scratch};
use crate::atoms;
use crate::json::{self, Floats, JsonError, Notes, Parts, Repeats, Terms, Validate};

/// What is written of a row so far.
pub struct Row<'a> {
    env: Env<'a>,
    /// Whether anyone will look at what is written as terms.
    judges: bool,
    budget: usize,
    out: Vec<u8>,
    /// Bytes that were read and not written: blanks around JSON text.
    left_out: usize,
    notes: Notes<'a>,
}

/// Why what was given is not written.
pub enum Why<'a> {
    /// What is wrong with it.
    Bad(Term<'a>),
    /// It takes more than the budget.
    OverBudget,
}

impl<'a> Row<'a> {
    /// A row without text. `budget` limits the bytes of JSON read and written.
    pub fn new(env: Env<'a>, judges: bool, budget: usize) -> Self {
        Self {
            env,
            judges,
            budget,
            out: scratch::take(),
            left_out: 0,
            notes: Notes::default(),
        }
    }

    /// Bytes written.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether more was read and written than the budget allows.
    pub fn is_over_budget(&self) -> bool {
        self.out.len() + self.left_out > self.budget
    }

    /// The text, `None` when it is not UTF-8; and the binaries that may be parts of larger ones.
    pub fn finish(self) -> (Option<String>, Parts<'a>) {
        (scratch::text(self.out), self.notes.parts)
    }

    /// Nobody wants the text.
    pub fn give_up(self) {
        scratch::put_back(self.out);
    }

    /// Writes text as it is.
    pub fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Writes a name of ours as a JSON string.
    pub fn put_name(&mut self, name: &str) {
        json::put(name.as_bytes(), &mut self.out);
    }

    /// Notes a binary that was given, if it may be a part of a larger one.
    pub fn note(&mut self, term: Term<'a>, bytes: &[u8]) {
        self.notes.parts.note(term, bytes);
    }

    /// Writes a non-empty UTF-8 binary of at most `max` bytes as a JSON string.
    pub fn name(&mut self, term: Term<'a>, max: usize) -> Result<&'a [u8], Why<'a>> {
        let binary: Result<Binary<'a>, _> = term.decode();
        let bytes = match &binary {
            Ok(binary) => binary.as_slice(),
            Err(_) => return Err(self.bad(atoms::not_a_binary())),
        };
        if bytes.is_empty() {
            return Err(self.bad(atoms::empty()));
        }
        if bytes.len() > max {
            return Err(self.bad((atoms::too_long(), bytes.len(), max)));
        }
        if !json::put(bytes, &mut self.out) {
            return Err(self.bad(atoms::not_utf8()));
        }
        self.note(term, bytes);
        Ok(bytes)
    }

    /// Writes a JSON object given as a map or as text. Returns it as a term with binary keys, if
    /// anyone will look at it; else whatever term was given for it.
    pub fn object(&mut self, term: Term<'a>) -> Result<Term<'a>, Why<'a>> {
        let from = self.out.len();
        let written = match term.get_type() {
            TermType::Binary => self.text(term),
            TermType::Map => self
                .map(term, Floats::Shortest)
                .or_else(|error| match error {
                    // A text of the size allowed has to fit again when a caller gives back what it read.
                    JsonError::OverBudget(size) if size - from > MAX_JSON_BYTES => {
                        self.out.truncate(from);
                        self.notes.repeats = Repeats::default();
                        self.map(term, Floats::Compact)
                    }
                    error => Err(error),
                }),
            _ => Err(JsonError::NotAnObject),
        };
        written.map_err(|error| match error {
            JsonError::OverBudget(size) if size - from > MAX_JSON_BYTES => {
                self.bad(JsonError::TooLarge(size - from, MAX_JSON_BYTES))
            }
            JsonError::OverBudget(_) => Why::OverBudget,
            error => self.bad(error),
        })
    }

    fn map(&mut self, term: Term<'a>, floats: Floats) -> Result<Term<'a>, JsonError> {
        let from = self.out.len();
        let limit = self.budget.min(from + MAX_JSON_BYTES);
        let found = json::encode(term, &mut self.out, &mut self.notes, limit, floats)?;
        // Only a text and an atom can be the same key twice.
        if found.canonical || !(found.mixed || self.judges) {
            return Ok(term);
        }
        let text = std::str::from_utf8(self.out.get(from..).unwrap_or_default());
        self.parse(text.unwrap_or_default(), term)
    }

    fn text(&mut self, term: Term<'a>) -> Result<Term<'a>, JsonError> {
        let binary: Binary<'a> = term.decode().map_err(|_| JsonError::NotAnObject)?;
        let bytes = binary.as_slice();
        if bytes.len() > MAX_JSON_BYTES {
            return Err(JsonError::TooLarge(bytes.len(), MAX_JSON_BYTES));
        }
        let size = self.out.len() + bytes.len();
        if size + self.left_out > self.budget {
            return Err(JsonError::OverBudget(size));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| JsonError::Invalid(format!("not UTF-8: {error}")))?;
        let value = self.parse(text, term)?;
        let trimmed = text.trim();
        self.left_out += text.len() - trimmed.len();
        self.out.extend_from_slice(trimmed.as_bytes());
        Ok(value)
    }

    fn parse(&self, text: &str, given: Term<'a>) -> Result<Term<'a>, JsonError> {
        if self.judges {
            json::parse(text, Terms(self.env))
        } else {
            json::parse(text, Validate).map(|()| given)
        }
    }

    fn bad(&self, why: impl Encoder) -> Why<'a> {
        Why::Bad(why.encode(self.env))
    }
}
