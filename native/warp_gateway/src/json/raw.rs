//! Members that are kept as the text that was sent: it is only checked.

use super::cursor::{Cursor, Fault, Reason};
use super::{MAX_DEPTH, number, text};
use crate::etf;

/// Whether the value of a member is kept as its text, wherever the member stands.
pub fn is_kept(name: &[u8]) -> bool {
    matches!(name, b"payload" | b"metadata" | b"input")
}

/// Takes a value and writes its text as a binary.
pub fn write(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    cursor.space();
    let from = cursor.at();
    skip(cursor, MAX_DEPTH)?;
    etf::binary(out, cursor.since(from));
    Ok(())
}

/// Takes a value in which arrays and objects stand in each other so many times at most.
pub fn skip(cursor: &mut Cursor<'_>, depth: usize) -> Result<(), Fault> {
    match cursor.peek() {
        Some(b'"') => text::skip(cursor),
        Some(b'-' | b'0'..=b'9') => number::skip(cursor).map(|_| ()),
        Some(b't') => cursor.word("true"),
        Some(b'f') => cursor.word("false"),
        Some(b'n') => cursor.word("null"),
        Some(b'[') => elements(cursor, inner(cursor, depth)?),
        Some(b'{') => members(cursor, inner(cursor, depth)?),
        _ => Err(cursor.syntax("no value")),
    }
}

/// What is left of the depth inside an array or an object.
pub fn inner(cursor: &Cursor<'_>, depth: usize) -> Result<usize, Fault> {
    depth
        .checked_sub(1)
        .ok_or_else(|| cursor.fault(Reason::TooDeep))
}

/// Takes an array.
fn elements(cursor: &mut Cursor<'_>, depth: usize) -> Result<(), Fault> {
    cursor.skip(1);
    cursor.space();
    if cursor.peek() == Some(b']') {
        cursor.skip(1);
        return Ok(());
    }
    loop {
        cursor.space();
        skip(cursor, depth)?;
        if !more(cursor, b']')? {
            return Ok(());
        }
    }
}

/// Takes an object.
fn members(cursor: &mut Cursor<'_>, depth: usize) -> Result<(), Fault> {
    cursor.skip(1);
    cursor.space();
    if cursor.peek() == Some(b'}') {
        cursor.skip(1);
        return Ok(());
    }
    loop {
        cursor.space();
        text::skip(cursor)?;
        cursor.space();
        cursor.expect(b':', "no colon behind the name of a member")?;
        cursor.space();
        skip(cursor, depth)?;
        if !more(cursor, b'}')? {
            return Ok(());
        }
    }
}

/// Takes a comma, or the end of an array or an object, and says whether it was a comma.
#[inline]
pub fn more(cursor: &mut Cursor<'_>, end: u8) -> Result<bool, Fault> {
    cursor.space();
    match cursor.next() {
        Some(b',') => Ok(true),
        Some(byte) if byte == end => Ok(false),
        _ => Err(cursor.syntax("neither a comma nor an end")),
    }
}
