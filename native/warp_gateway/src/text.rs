//! Texts that have to be short.

/// The beginning of a text, of so many bytes at most.
pub fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_character_is_not_cut() {
        assert_eq!(cut("aä", 1), "a");
        assert_eq!(cut("aä", 2), "a");
        assert_eq!(cut("aä", 3), "aä");
        assert_eq!(cut("aä", 9), "aä");
        assert_eq!(cut("", 0), "");
    }
}
