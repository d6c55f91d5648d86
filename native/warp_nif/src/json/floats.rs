//! Floats as JSON text.

/// How floats are written. All forms name the same float.
#[derive(Clone, Copy)]
pub enum Floats {
    /// With as few digits as can be.
    Shortest,
    /// With 17 digits. SQLite's JSON functions read some of the shortest forms one bit off.
    Padded,
    /// In as few bytes as can be: a JSON text never grows by being decoded and encoded so.
    Compact,
}

/// The shortest JSON number that reads as this float and not as an integer, but for -0.
pub fn compact(float: f64) -> String {
    if float == 0.0 {
        return if float.is_sign_negative() {
            "-0"
        } else {
            "0.0"
        }
        .into();
    }
    // The fewest digits that tell the float, with the point behind the first, at the end, and
    // where it belongs: "1.5e15", "15e14", "1500000000000000.0".
    let pointed = format!("{float:e}");
    let plain = format!("{float:?}");
    let (digits, exponent) = pointed.split_once('e').unwrap_or((&pointed, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let decimals = digits.split_once('.').map_or(0, |(_, after)| after.len());
    let moved = exponent.saturating_sub(i32::try_from(decimals).unwrap_or_default());
    let whole = format!("{}e{moved}", digits.replace('.', ""));
    let shortest = [plain, whole, pointed].into_iter().min_by_key(String::len);
    shortest.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Texts of floats of all kinds.
    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "-?(1|15|123456789|0\\.[01]{0,8}5)[eE]-?[0-9]{1,2}",
            "-?([1-9][0-9]{0,20}|0)(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
            "[1-9][0-9]{0,2}0{0,30}\\.0{1,3}",
        ]
    }

    #[test]
    fn each_way_of_writing_a_float_is_taken() {
        for (float, text) in [
            (1.5, "1.5"),
            (1e15, "1e15"),
            (1.5e15, "15e14"),
            (-0.0, "-0"),
            (0.0, "0.0"),
            (0.001, "1e-3"),
            (1e-10, "1e-10"),
            (10.0, "1e1"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(compact(float), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn compact_floats_are_never_longer_than_what_was_read(text in texts()) {
            let is_float = text.contains(['.', 'e', 'E']) || text == "-0";
            let parsed: f64 = serde_json::from_str(&text).unwrap_or(f64::NAN);
            if is_float && parsed.is_finite() {
                let again = compact(parsed);
                prop_assert!(again.len() <= text.len(), "{text} {again}");
                let read: f64 = serde_json::from_str(&again).expect("JSON");
                prop_assert_eq!(read.to_bits(), parsed.to_bits(), "{}", again);
                let is_still = again.contains(['.', 'e', 'E']) || again == "-0";
                prop_assert!(is_still, "{again}");
            }
        }
    }
}
