//! The target of a request: its path as segments, its query as pairs.

use super::problem::{BAD_REQUEST, Problem};
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// The segments of a path, decoded each.
pub fn path(path: &str) -> Result<Vec<String>, Problem> {
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(Vec::new());
    }
    path.split('/')
        .map(|segment| decode(segment).ok_or_else(|| bad("path")))
        .collect()
}

/// The keys and values of a query, in their order. Without `=` the value is empty.
pub fn query(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(&spaces(key))?, decode(&spaces(value))?))
    });
    decoded.collect::<Option<_>>().ok_or_else(|| bad("query"))
}

/// In a query a space may be written as `+`.
fn spaces(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        text.replace('+', " ").into()
    } else {
        text.into()
    }
}

/// What is said of text that cannot be decoded.
fn bad(what: &str) -> Problem {
    BAD_REQUEST.because(format!(
        "The {what} is not UTF-8, percent-encoded, without NUL."
    ))
}

/// Decodes text. Each `%` needs two hexadecimal digits behind it.
fn decode(text: &str) -> Option<String> {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let is_encoded =
        |rest: &str| is_digit(rest.as_bytes().first()) && is_digit(rest.as_bytes().get(1));
    if !text.split('%').skip(1).all(is_encoded) {
        return None;
    }
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    if decoded.contains('\0') {
        None
    } else {
        Some(decoded.into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_before_it_is_decoded() {
        assert_eq!(
            path("/v1/user%2Falice/%C3%A4").unwrap(),
            ["v1", "user/alice", "ä"]
        );
        assert_eq!(path("/").unwrap(), Vec::<String>::new());
        assert_eq!(path("/a/").unwrap(), ["a", ""]);
        assert_eq!(path("/a+b").unwrap(), ["a+b"]);
        for wrong in ["/%", "/%4", "/%zz", "/%ff", "/a%00", "/%C3"] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_query_keeps_its_order() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            query("b=1&a=x+y%2B&b&=&").unwrap(),
            [
                pair("b", "1"),
                pair("a", "x y+"),
                pair("b", ""),
                pair("", "")
            ]
        );
        assert_eq!(query("a=b=c").unwrap(), [pair("a", "b=c")]);
        assert!(query("a=%0").is_err());
        assert!(query("%00=1").is_err());
    }
}
