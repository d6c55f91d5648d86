//! Strings as JSON text.

/// Appends a string. False when it is not UTF-8.
pub fn put(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    put_plain(bytes, out)
        || std::str::from_utf8(bytes).is_ok_and(|text| serde_json::to_writer(out, text).is_ok())
}

/// Appends a string, unless it has characters that have to be looked at more closely: then it
/// appends nothing and is false.
pub fn put_plain(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let is_plain = is_plain(bytes);
    if is_plain {
        out.reserve(bytes.len() + 2);
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
    }
    is_plain
}

/// Whether all bytes are ASCII that JSON does not escape. Looks at eight at a time, and at some of
/// them twice where they are not a multiple of that.
fn is_plain(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk::<8>() {
        let (words, _) = bytes.as_chunks::<8>();
        let is_plain = |word: &[u8; 8]| is_plain_word(u64::from_le_bytes(*word));
        return words.iter().all(is_plain) && is_plain(last);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let word = |four: &[u8; 4]| u64::from(u32::from_le_bytes(*four));
        return is_plain_word(word(first) << 32 | word(last));
    }
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(b' ');
    is_plain_word(u64::from_le_bytes([
        byte(0),
        byte(1),
        byte(2),
        32,
        32,
        32,
        32,
        32,
    ]))
}

/// Sets the highest bit of some byte if any is not plain. The borrow of a subtraction can only
/// reach bytes above one that is not plain itself.
fn is_plain_word(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHEST: u64 = 0x80 * ONES;
    let below = |word: u64, limit: u64| word.wrapping_sub(limit * ONES) & !word;
    let equal = |byte: u64| below(word ^ (byte * ONES), 1);
    let control = below(word, 0x20);
    (word | control | equal(b'"'.into()) | equal(b'\\'.into())) & HIGHEST == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(text: &str) -> Option<String> {
        let mut out = b"[".to_vec();
        let is_put = put_plain(text.as_bytes(), &mut out);
        let out = String::from_utf8(out).expect("UTF-8");
        is_put.then_some(out)
    }

    #[test]
    fn each_byte_at_each_place() {
        for length in 1..20 {
            for at in 0..length {
                for byte in 0..=255 {
                    let mut bytes = vec![b'x'; length];
                    bytes[at] = byte;
                    let plain = matches!(byte, b' '..=b'~' | 127) && !matches!(byte, b'"' | b'\\');
                    assert_eq!(put_plain(&bytes, &mut Vec::new()), plain, "{bytes:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_plain_is_written_as_serde_json_writes_it(text in "[ -~é\n]{0,30}") {
            let written = serde_json::to_string(&text).expect("JSON");
            let is_plain = written.len() == text.len() + 2 && text.is_ascii();
            prop_assert_eq!(put(&text), is_plain.then(|| format!("[{written}")));
        }
    }
}
