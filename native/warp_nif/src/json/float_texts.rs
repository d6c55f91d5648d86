//! The texts of numbers that a JSON parser gives as floats, and that may be integers.

/// The numbers of a valid JSON text that serde_json gives as floats, in their order: those with a
/// fraction or an exponent, those past 64 bits, and -0.
pub struct FloatTexts<'t>(pub &'t str);

impl<'t> Iterator for FloatTexts<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        loop {
            let start = self
                .0
                .find(['"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])?;
            let (_, rest) = self.0.split_at_checked(start)?;
            if let Some(string) = rest.strip_prefix('"') {
                self.0 = behind_string(string)?;
                continue;
            }
            let is_part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
            let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            let (number, behind) = rest.split_at_checked(end)?;
            self.0 = behind;
            let fits = number.parse::<u64>().is_ok() || number.parse::<i64>().is_ok();
            if number == "-0" || !fits {
                return Some(number);
            }
        }
    }
}

fn behind_string(mut text: &str) -> Option<&str> {
    loop {
        let at = text.find(['"', '\\'])?;
        let is_end = text.as_bytes().get(at) == Some(&b'"');
        // What is escaped may be a quote.
        text = text.get(at + if is_end { 1 } else { 2 }..)?;
        if is_end {
            return Some(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_floats_come_in_their_order() {
        let text = r#"{"-1.5":[1,-0,2.5,"\\\"9.5",{"a\\":-36893488147419103232}],"x":18446744073709551615,
                       "y":-9223372036854775808,"z":[1E2,18446744073709551616]}"#;
        let found: Vec<_> = FloatTexts(text).collect();
        let expected = [
            "-0",
            "2.5",
            "-36893488147419103232",
            "1E2",
            "18446744073709551616",
        ];
        assert_eq!(found, expected);
    }
}
