//! Strings of JSON: their characters, or only whether they are right.

use super::cursor::{Cursor, Fault};

/// What is said of a text that ends within a string.
const OPEN: &str = "a string without an end";
/// What is said of a wrong `\` in a string.
const ESCAPE: &str = "no escape that JSON has";

/// Takes a string and appends its characters.
pub fn string(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    cursor.expect(b'"', "no string")?;
    loop {
        let from = cursor.at();
        plain(cursor);
        out.extend_from_slice(cursor.since(from));
        match cursor.peek() {
            Some(b'"') => {
                cursor.skip(1);
                return Ok(());
            }
            Some(b'\\') => {
                cursor.skip(1);
                escape(cursor, out)?;
            }
            Some(_) => return Err(cursor.syntax("a control character in a string")),
            None => return Err(cursor.syntax(OPEN)),
        }
    }
}

/// Takes a string whose characters nobody needs. As in the grammar, half of a surrogate pair may stand alone.
pub fn skip(cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    cursor.expect(b'"', "no string")?;
    loop {
        plain(cursor);
        match cursor.next() {
            Some(b'"') => return Ok(()),
            Some(b'\\') => match cursor.next() {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                Some(b'u') => {
                    unit(cursor)?;
                }
                _ => return Err(cursor.syntax(ESCAPE)),
            },
            Some(_) => return Err(cursor.syntax("a control character in a string")),
            None => return Err(cursor.syntax(OPEN)),
        }
    }
}

/// Goes on to the next byte that is not only itself.
#[inline]
fn plain(cursor: &mut Cursor<'_>) {
    let rest = cursor.rest();
    let length = rest
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1F))
        .unwrap_or(rest.len());
    cursor.skip(length);
}

/// Takes what stands behind a `\`, and appends the character that it means.
fn escape(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    let byte = match cursor.next() {
        Some(byte @ (b'"' | b'\\' | b'/')) => byte,
        Some(b'b') => 8,
        Some(b'f') => 12,
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'u') => return character(cursor, out),
        _ => return Err(cursor.syntax(ESCAPE)),
    };
    out.push(byte);
    Ok(())
}

/// Takes what stands behind `\u`, with the other half of a pair, and appends the character.
fn character(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut code = unit(cursor)?;
    if (0xD800..0xDC00).contains(&code) {
        if !cursor.rest().starts_with(b"\\u") {
            return Err(cursor.syntax("half of a surrogate pair"));
        }
        cursor.skip(2);
        let low = unit(cursor)?;
        if !(0xDC00..0xE000).contains(&low) {
            return Err(cursor.syntax("half of a surrogate pair"));
        }
        code = 0x10000 + (((code & 0x3FF) << 10) | (low & 0x3FF));
    }
    let Some(character) = char::from_u32(code) else {
        return Err(cursor.syntax("half of a surrogate pair"));
    };
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(())
}

/// Takes four hexadecimal digits.
fn unit(cursor: &mut Cursor<'_>) -> Result<u32, Fault> {
    let mut unit = 0;
    for _ in 0..4 {
        match cursor.next().and_then(|byte| char::from(byte).to_digit(16)) {
            Some(digit) => unit = (unit << 4) | digit,
            None => return Err(cursor.syntax(ESCAPE)),
        }
    }
    Ok(unit)
}
