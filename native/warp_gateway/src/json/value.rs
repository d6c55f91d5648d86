//! Values of JSON as Erlang terms.

use super::cursor::{Cursor, Fault, Reason};
use super::{MAX_DEPTH, number, raw, text};
use crate::etf;

/// Up to so many members an object's names are compared with each other, beyond it they are sorted.
const FEW_NAMES: usize = 12;

/// Where the names of the objects that are being read stand in what was written: those of an inner object last.
pub type Names = Vec<(usize, usize)>;

/// Writes a body: any value of JSON.
pub fn body(json: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut cursor = Cursor::new(json);
    cursor.space();
    value(&mut cursor, out, &mut Names::new(), MAX_DEPTH)?;
    cursor.end()
}

/// Takes a value and writes it. The cursor stands at its first byte.
fn value(
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
    names: &mut Names,
    depth: usize,
) -> Result<(), Fault> {
    match cursor.peek() {
        Some(b'"') => {
            let mark = etf::binary_begin(out);
            text::string(cursor, out)?;
            etf::binary_end(out, mark);
            Ok(())
        }
        Some(b'-' | b'0'..=b'9') => number::write(cursor, out),
        Some(b't') => word(cursor, out, "true"),
        Some(b'f') => word(cursor, out, "false"),
        Some(b'n') => word(cursor, out, "null"),
        Some(b'[') => elements(cursor, out, names, raw::inner(cursor, depth)?),
        Some(b'{') => object(cursor, out, names, depth).map(|_| ()),
        _ => Err(cursor.syntax("no value")),
    }
}

/// Takes a word and writes it as an atom.
fn word(cursor: &mut Cursor<'_>, out: &mut Vec<u8>, word: &str) -> Result<(), Fault> {
    cursor.word(word)?;
    etf::atom(out, word);
    Ok(())
}

/// Takes an array and writes it as a list.
fn elements(
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
    names: &mut Names,
    depth: usize,
) -> Result<(), Fault> {
    cursor.skip(1);
    let mark = etf::list_begin(out);
    let mut count = 0;
    cursor.space();
    if cursor.peek() == Some(b']') {
        cursor.skip(1);
    } else {
        loop {
            cursor.space();
            value(cursor, out, names, depth)?;
            count += 1;
            if !raw::more(cursor, b']')? {
                break;
            }
        }
    }
    etf::list_end(out, mark, count);
    Ok(())
}

/// Takes an object and writes it as a map. Says whether it has a member `id`.
pub fn object(
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
    names: &mut Names,
    depth: usize,
) -> Result<bool, Fault> {
    let depth = raw::inner(cursor, depth)?;
    let begin = *cursor;
    cursor.skip(1);
    let mark = etf::map_begin(out);
    let outer = names.len();
    let mut has_id = false;
    cursor.space();
    if cursor.peek() == Some(b'}') {
        cursor.skip(1);
    } else {
        loop {
            let kept = name(cursor, out, names, &mut has_id)?;
            if kept {
                raw::write(cursor, out)?;
            } else {
                cursor.space();
                value(cursor, out, names, depth)?;
            }
            if !raw::more(cursor, b'}')? {
                break;
            }
        }
    }
    let own = names.get_mut(outer..).unwrap_or_default();
    let count = own.len();
    if any_twice(out, own) {
        return Err(begin.fault(Reason::Twice));
    }
    names.truncate(outer);
    etf::map_end(out, mark, count);
    Ok(has_id)
}

/// Takes the name of a member and the colon. Says whether the member's text is kept.
#[inline]
fn name(
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
    names: &mut Names,
    has_id: &mut bool,
) -> Result<bool, Fault> {
    cursor.space();
    let mark = etf::binary_begin(out);
    text::string(cursor, out)?;
    let place = etf::binary_end(out, mark);
    names.push((place.start, place.end));
    let name = out.get(place).unwrap_or_default();
    *has_id |= name == b"id";
    let kept = raw::is_kept(name);
    cursor.space();
    cursor.expect(b':', "no colon behind the name of a member")?;
    Ok(kept)
}

/// Whether one of the names of an object is there twice.
fn any_twice(out: &[u8], names: &mut [(usize, usize)]) -> bool {
    let name = |place: &(usize, usize)| out.get(place.0..place.1).unwrap_or_default();
    if names.len() > FEW_NAMES {
        names.sort_unstable_by(|one, other| name(one).cmp(name(other)));
        return names
            .windows(2)
            .any(|pair| matches!(pair, [one, other] if name(one) == name(other)));
    }
    names
        .iter()
        .enumerate()
        .any(|(at, one)| names.iter().take(at).any(|other| name(one) == name(other)))
}
