//! The place in a JSON text that is being read, and what can be wrong there.

use std::fmt;

/// What is wrong with a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The text is no JSON.
    Syntax(&'static str),
    /// An object has a member twice.
    Twice,
    /// Arrays and objects stand in each other more than 128 times.
    TooDeep,
    /// An integer is larger than 64 bits, or another number larger than a float.
    NumberTooLarge,
    /// A message is JSON, but neither an object nor an array of objects.
    NoCall,
    /// A message has more calls than may be in flight.
    TooMany,
}

/// What is wrong with a JSON text, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub reason: Reason,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.reason {
            Reason::Syntax(what) => what,
            Reason::Twice => "a member stands twice in an object",
            Reason::TooDeep => "nested deeper than 128",
            Reason::NumberTooLarge => "a number beyond 64 bits",
            Reason::NoCall => "neither an object nor an array of objects",
            Reason::TooMany => "more calls than may be in flight",
        };
        write!(to, "{what} at line {}, column {}", self.line, self.column)
    }
}

/// A text and the place in it.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    /// The text.
    text: &'a str,
    /// How many bytes of it were read. It never stands inside a character when text is taken.
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The beginning of a text.
    pub fn new(text: &'a str) -> Self {
        Cursor { text, at: 0 }
    }

    /// How many bytes were read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The next byte.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes the next byte.
    #[inline]
    pub fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at = self.at.saturating_add(1);
        Some(byte)
    }

    /// Goes on by so many bytes, which were seen in `rest`.
    #[inline]
    pub fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    /// What was not read yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// The bytes since an earlier place.
    #[inline]
    pub fn since(&self, from: usize) -> &'a [u8] {
        self.text.as_bytes().get(from..self.at).unwrap_or_default()
    }

    /// The text since an earlier place.
    pub fn text_since(&self, from: usize) -> &'a str {
        self.text.get(from..self.at).unwrap_or_default()
    }

    /// Skips white space.
    #[inline]
    pub fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.skip(1);
        }
    }

    /// Takes a byte that has to be there.
    #[inline]
    pub fn expect(&mut self, byte: u8, otherwise: &'static str) -> Result<(), Fault> {
        if self.peek() == Some(byte) {
            self.skip(1);
            Ok(())
        } else {
            Err(self.syntax(otherwise))
        }
    }

    /// Takes a word, as `true`, that has to be there.
    pub fn word(&mut self, word: &str) -> Result<(), Fault> {
        if self.rest().starts_with(word.as_bytes()) {
            self.skip(word.len());
            Ok(())
        } else {
            Err(self.syntax("no value"))
        }
    }

    /// Nothing but white space may follow.
    pub fn end(&mut self) -> Result<(), Fault> {
        self.space();
        if self.rest().is_empty() {
            Ok(())
        } else {
            Err(self.syntax("more after the end of the value"))
        }
    }

    /// The text is no JSON here.
    #[cold]
    pub fn syntax(&self, what: &'static str) -> Fault {
        self.fault(Reason::Syntax(what))
    }

    /// Something is wrong here.
    #[cold]
    pub fn fault(&self, reason: Reason) -> Fault {
        let before = self.text.as_bytes().get(..self.at).unwrap_or_default();
        let line_start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at.saturating_add(1));
        let lines = before.iter().filter(|byte| **byte == b'\n').count();
        // The bytes that begin a character.
        let characters = before
            .iter()
            .skip(line_start)
            .filter(|byte| **byte & 0xC0 != 0x80)
            .count();
        Fault {
            reason,
            line: lines.saturating_add(1),
            column: characters.saturating_add(1),
        }
    }
}
