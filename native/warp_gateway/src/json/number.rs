//! Numbers of JSON.

use super::cursor::{Cursor, Fault, Reason};
use crate::etf;

/// Takes a number and writes it: what has no fraction and no exponent as an integer, the rest as a float.
pub fn write(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    let begin = *cursor;
    let from = cursor.at();
    let whole = skip(cursor)?;
    let text = cursor.text_since(from);
    if whole {
        let digits = text.strip_prefix('-');
        let size: u64 = digits
            .unwrap_or(text)
            .parse()
            .map_err(|_| begin.fault(Reason::NumberTooLarge))?;
        let negative = digits.is_some();
        if negative && size > i64::MIN.unsigned_abs() {
            return Err(begin.fault(Reason::NumberTooLarge));
        }
        etf::integer(out, negative, size);
    } else {
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => etf::float(out, value),
            _ => return Err(begin.fault(Reason::NumberTooLarge)),
        }
    }
    Ok(())
}

/// Takes a number of any size, and says whether it is an integer.
pub fn skip(cursor: &mut Cursor<'_>) -> Result<bool, Fault> {
    let mut whole = true;
    if cursor.peek() == Some(b'-') {
        cursor.skip(1);
    }
    if cursor.peek() == Some(b'0') {
        cursor.skip(1);
    } else {
        digits(cursor)?;
    }
    if cursor.peek() == Some(b'.') {
        whole = false;
        cursor.skip(1);
        digits(cursor)?;
    }
    if let Some(b'e' | b'E') = cursor.peek() {
        whole = false;
        cursor.skip(1);
        if let Some(b'+' | b'-') = cursor.peek() {
            cursor.skip(1);
        }
        digits(cursor)?;
    }
    Ok(whole)
}

/// Takes one digit or more.
fn digits(cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    let rest = cursor.rest();
    let length = rest
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(rest.len());
    if length == 0 {
        return Err(cursor.syntax("no digit where a number needs one"));
    }
    cursor.skip(length);
    Ok(())
}
