//! A request, as `warp_query.erl` writes it. Numbers are big-endian.
//!
//! ```text
//! timeout (4, milliseconds)  most rows (8)
//! length (4)  SQL
//! count (4)  parameters: 0 | 1 integer (8) | 2 float (8) | 3 length (4) text
//! ```

use std::time::Duration;

/// One query.
pub struct Request<'a> {
    /// How many rows the answer may have.
    pub max_rows: u64,
    /// The one statement.
    pub sql: &'a str,
    /// Its parameters, in order.
    pub params: Vec<Param<'a>>,
}

/// A value to bind.
#[derive(Debug, PartialEq)]
pub enum Param<'a> {
    /// No value.
    Null,
    /// An integer of at most 64 bits.
    Integer(i64),
    /// A float, which is finite.
    Float(f64),
    /// A text.
    Text(&'a str),
}

/// How long the query may take.
pub fn timeout(frame: &[u8]) -> Option<Duration> {
    let (bytes, _) = frame.split_first_chunk()?;
    Some(Duration::from_millis(u32::from_be_bytes(*bytes).into()))
}

/// What is asked, if it can be understood.
pub fn parse(frame: &[u8]) -> Option<Request<'_>> {
    let (_timeout, rest) = frame.split_first_chunk::<4>()?;
    let (max_rows, rest) = rest.split_first_chunk()?;
    let (sql, rest) = text(rest)?;
    let (count, mut rest) = rest.split_first_chunk()?;
    let mut params = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let (param, behind) = param(rest)?;
        params.push(param);
        rest = behind;
    }
    rest.is_empty().then_some(Request {
        max_rows: u64::from_be_bytes(*max_rows),
        sql,
        params,
    })
}

fn param(bytes: &[u8]) -> Option<(Param<'_>, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    match kind {
        0 => Some((Param::Null, rest)),
        1 => {
            let (number, rest) = rest.split_first_chunk()?;
            Some((Param::Integer(i64::from_be_bytes(*number)), rest))
        }
        2 => {
            let (number, rest) = rest.split_first_chunk()?;
            Some((Param::Float(f64::from_be_bytes(*number)), rest))
        }
        3 => {
            let (text, rest) = text(rest)?;
            Some((Param::Text(text), rest))
        }
        _ => None,
    }
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (text, rest) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Vec<u8> {
        let mut frame = vec![0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        frame.extend(b"\0\0\0\x08SELECT ?\0\0\0\x04\0\x01");
        frame.extend((-2_i64).to_be_bytes());
        frame.push(2);
        frame.extend(0.5_f64.to_be_bytes());
        frame.extend(b"\x03\0\0\0\x02\xc3\xa9");
        frame
    }

    #[test]
    fn all_of_a_request_is_read() {
        let frame = frame();
        let request = parse(&frame).unwrap();
        assert_eq!(timeout(&frame), Some(Duration::from_millis(256)));
        assert_eq!((request.max_rows, request.sql), (9, "SELECT ?"));
        let wanted = [
            Param::Null,
            Param::Integer(-2),
            Param::Float(0.5),
            Param::Text("é"),
        ];
        assert_eq!(request.params, wanted);
    }

    #[test]
    fn what_is_cut_off_or_too_long_is_none() {
        let mut frame = frame();
        for length in 0..frame.len() {
            assert!(parse(&frame[..length]).is_none(), "{length}");
        }
        frame.push(0);
        assert!(parse(&frame).is_none());
    }
}
