//! Answers, in Erlang's external term format. Each is one or more frames on standard output:
//!
//! ```text
//! length (4)  next (1)  what (1)  terms
//! next: 0 more follows | 1 that was all | 2 that was all, and the process ends
//! what: 0 a list of rows | 1 the last rows, and a list of the columns | 2 an error
//! ```
//!
//! So no more than a part of a result is in this process, and no term names an atom that the VM
//! does not know.

use std::process::exit;

use rusqlite::types::ValueRef;
use rustix::io::{Errno, write};
use rustix::stdio::stdout;

use crate::query::{Away, MAX_BYTES, MAX_HEAP, Stop};
use crate::status;

/// From this size on, what there is of an answer is sent.
const FRAME: usize = 256 * 1024;

const MORE: u8 = 0;
const LAST: u8 = 1;
const ENDS: u8 = 2;
const ROWS: u8 = 0;
const ROWS_AND_COLUMNS: u8 = 1;
const ERROR: u8 = 2;

/// How long the head of a frame is, and where the count of the rows stands behind it.
const HEAD: usize = 6;
const COUNT_AT: usize = HEAD + 2;

/// The answer to one query, as far as it was not sent yet.
pub struct Answer {
    frame: Vec<u8>,
    rows: u32,
}

impl Answer {
    /// An answer without rows so far.
    pub fn new() -> Self {
        let mut answer = Self {
            frame: Vec::with_capacity(4096),
            rows: 0,
        };
        answer.clear();
        answer
    }

    fn clear(&mut self) {
        self.rows = 0;
        self.frame.clear();
        self.frame.resize(HEAD, 0);
        self.frame.push(VERSION);
        list(&mut self.frame, 0);
    }

    /// Begins a row of that many values, which follow one by one.
    pub fn row(&mut self, values: usize) {
        list(&mut self.frame, values);
    }

    /// Adds a value to the row. `is_bool`: its column was declared to hold booleans.
    pub fn value(&mut self, value: ValueRef<'_>, is_bool: bool) {
        let out = &mut self.frame;
        match value {
            ValueRef::Null => atom(out, "null"),
            ValueRef::Integer(0) if is_bool => atom(out, "false"),
            ValueRef::Integer(1) if is_bool => atom(out, "true"),
            ValueRef::Integer(number) => integer(out, number),
            ValueRef::Real(number) => float(out, number),
            ValueRef::Text(bytes) if std::str::from_utf8(bytes).is_ok() => binary(out, bytes),
            // A CAST can make text that is not UTF-8.
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                tuple(out, 2);
                atom(out, "blob");
                binary(out, bytes);
            }
        }
    }

    /// Ends the row, and sends what there is once that is much.
    pub fn end_row(&mut self) {
        self.frame.push(NIL);
        self.rows += 1;
        if self.frame.len() >= FRAME {
            self.end_rows();
            send(&mut self.frame, MORE, ROWS);
            self.clear();
        }
    }

    fn end_rows(&mut self) {
        self.frame.push(NIL);
        patch(&mut self.frame, COUNT_AT, self.rows);
    }

    /// Sends the rest, with the names of the columns.
    pub fn finish(mut self, columns: &[String], is_last: bool) {
        self.end_rows();
        self.frame.push(VERSION);
        list(&mut self.frame, columns.len());
        for name in columns {
            binary(&mut self.frame, name.as_bytes());
        }
        self.frame.push(NIL);
        send(&mut self.frame, next(is_last), ROWS_AND_COLUMNS);
    }

    /// Sends why there is no result. Rows that were sent before are void.
    pub fn fail(mut self, stop: &Stop, is_last: bool) {
        self.frame.clear();
        self.frame.resize(HEAD, 0);
        self.frame.push(VERSION);
        error(&mut self.frame, stop);
        send(&mut self.frame, next(is_last), ERROR);
    }
}

fn next(is_last: bool) -> u8 {
    if is_last { ENDS } else { LAST }
}

fn error(out: &mut Vec<u8>, stop: &Stop) {
    match stop {
        Stop::ReadOnly => atom(out, "read_only"),
        Stop::Timeout => atom(out, "timeout"),
        Stop::Sql(message) => named(out, "sql_error", |out| binary(out, message.as_bytes())),
        Stop::Params(message) => named(out, "bad_params", |out| binary(out, message.as_bytes())),
        Stop::TooManyRows(most) => named(out, "too_many_rows", |out| integer(out, *most)),
        Stop::ResultTooLarge => named(out, "result_too_large", |out| integer(out, MAX_BYTES)),
        Stop::QueryTooLarge => named(out, "query_too_large", |out| integer(out, MAX_HEAP)),
        Stop::Away(away) => named(out, "away", |out| match away {
            Away::Io(message) => named(out, "io_error", |out| binary(out, message.as_bytes())),
            Away::Corrupt(message) => named(out, "corrupt", |out| binary(out, message.as_bytes())),
        }),
    }
}

/// Writes a frame, whose head is still free. Without a reader there is nothing left to do.
fn send(frame: &mut [u8], next: u8, what: u8) {
    let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
    patch(frame, 0, length);
    if let Some([to_next, to_what]) = frame.get_mut(4..HEAD) {
        (*to_next, *to_what) = (next, what);
    }
    let mut rest = &*frame;
    while !rest.is_empty() {
        match write(stdout(), rest) {
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(_) => exit(status::DONE),
        }
    }
}

fn patch(frame: &mut [u8], at: usize, number: u32) {
    if let Some(place) = frame.get_mut(at..at + 4) {
        place.copy_from_slice(&number.to_be_bytes());
    }
}

// The format: https://www.erlang.org/doc/apps/erts/erl_ext_dist.html

const VERSION: u8 = 131;
const NIL: u8 = 106;

fn named(out: &mut Vec<u8>, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
    tuple(out, 2);
    atom(out, name);
    value(out);
}

fn tuple(out: &mut Vec<u8>, arity: u8) {
    out.extend([104, arity]);
}

/// The elements and a [`NIL`] follow.
fn list(out: &mut Vec<u8>, length: usize) {
    out.push(108);
    out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

/// Of at most 255 bytes.
fn atom(out: &mut Vec<u8>, name: &str) {
    out.extend([119, u8::try_from(name.len()).unwrap_or(u8::MAX)]);
    out.extend(name.as_bytes());
}

fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(109);
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(bytes);
}

fn float(out: &mut Vec<u8>, number: f64) {
    out.push(70);
    out.extend(number.to_be_bytes());
}

fn integer(out: &mut Vec<u8>, number: i64) {
    if let Ok(small) = u8::try_from(number) {
        out.extend([97, small]);
    } else if let Ok(medium) = i32::try_from(number) {
        out.push(98);
        out.extend(medium.to_be_bytes());
    } else {
        out.extend([110, 8, u8::from(number < 0)]);
        out.extend(number.unsigned_abs().to_le_bytes());
    }
}
