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

/// Whether all bytes are ASCII that JSON does not escape. Looks at eight at a time.
fn is_plain(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [b' '; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    words.iter().all(|word| is_plain_word(*word)) && is_plain_word(last)
}

/// Sets the highest bit of some byte if any is not plain. The borrow of a subtraction can only
/// reach bytes above one that is not plain itself.
fn is_plain_word(word: [u8; 8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHEST: u64 = 0x80 * ONES;
    let word = u64::from_le_bytes(word);
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
