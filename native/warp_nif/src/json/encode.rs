//! Erlang terms to JSON text.

use std::io;

use rustler::types::map::MapIterator;
use rustler::{Atom, BigInt, Binary, Encoder, Term, TermType};

use super::{JsonError, MAX_DEPTH, MAX_DIGITS};
use crate::atoms;

/// What encoding a term found out about it.
pub struct Encoded {
    /// True when decoding the text gives the very same term back.
    pub canonical: bool,
}

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

/// Appends `term` as JSON to `out`, which never grows past `budget` bytes.
///
/// Map keys are binaries or atoms; atoms other than `true`, `false`, `null` and `nil` become
/// strings. Errors: what is not JSON, too deep, or over the budget.
pub fn encode(
    term: Term<'_>,
    out: &mut Vec<u8>,
    budget: usize,
    floats: Floats,
) -> Result<Encoded, JsonError> {
    let mut writer = Writer {
        out: Bounded { out, budget },
        floats,
        canonical: true,
        too_big: None,
    };
    writer.value(term, 0)?;
    Ok(Encoded {
        canonical: writer.canonical,
    })
}

/// Takes no byte past the budget: what is too large is noticed before it is written.
struct Bounded<'o> {
    out: &'o mut Vec<u8>,
    budget: usize,
}

impl Bounded<'_> {
    /// Whether so many more bytes fit.
    fn check(&self, more: usize) -> Result<(), JsonError> {
        let size = self.out.len().saturating_add(more);
        if size > self.budget {
            return Err(JsonError::OverBudget(size));
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), JsonError> {
        self.check(bytes.len())?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }
}

/// For serde_json, which writes a string piece by piece.
impl io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let put = self.put(bytes).map(|()| bytes.len());
        put.map_err(|_| io::ErrorKind::WriteZero.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Writer<'o, 'a> {
    out: Bounded<'o>,
    floats: Floats,
    canonical: bool,
    /// The smallest integer that has too many digits, and its negative, once they were needed.
    too_big: Option<(Term<'a>, Term<'a>)>,
}

impl<'a> Writer<'_, 'a> {
    fn value(&mut self, term: Term<'a>, depth: usize) -> Result<(), JsonError> {
        match term.get_type() {
            TermType::Binary => self.binary(term),
            TermType::Integer => self.integer(term),
            TermType::Float => self.float(term),
            TermType::Atom => self.atom(term),
            TermType::Map => self.object(term, depth + 1),
            TermType::List => self.array(term, depth + 1),
            _ => Err(not_json(term)),
        }
    }

    fn object(&mut self, term: Term<'a>, depth: usize) -> Result<(), JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        let pairs = MapIterator::new(term).ok_or_else(|| not_json(term))?;
        self.out.put(b"{")?;
        for (index, (key, value)) in pairs.enumerate() {
            if index > 0 {
                self.out.put(b",")?;
            }
            match key.get_type() {
                TermType::Binary => self.binary(key)?,
                TermType::Atom => {
                    self.canonical = false;
                    self.text(&name(key)?)?;
                }
                _ => return Err(JsonError::NotJson(format!("object key {}", short(key)))),
            }
            self.out.put(b":")?;
            self.value(value, depth)?;
        }
        self.out.put(b"}")
    }

    /// Cell by cell: a list's length is known only at its end, where it may turn out improper.
    fn array(&mut self, term: Term<'a>, depth: usize) -> Result<(), JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        self.out.put(b"[")?;
        let mut rest = term;
        while let Ok((item, tail)) = rest.list_get_cell() {
            self.value(item, depth)?;
            if !tail.is_empty_list() {
                self.out.put(b",")?;
            }
            rest = tail;
        }
        if !rest.is_empty_list() {
            return Err(JsonError::NotJson(format!("improper list {}", short(term))));
        }
        self.out.put(b"]")
    }

    fn integer(&mut self, term: Term<'a>) -> Result<(), JsonError> {
        if let Ok(small) = term.decode::<i64>() {
            return self.leaf(&small);
        }
        // Compared first: taking a huge one apart copies it, and printing it takes long.
        let (high, low) = *self.too_big.get_or_insert_with(|| {
            let high = BigInt::from(10).pow(MAX_DIGITS as u32);
            let env = term.get_env();
            (high.encode(env), (-high).encode(env))
        });
        if term >= high || term <= low {
            let what = format!("integer of more than {MAX_DIGITS} digits");
            return Err(JsonError::NotJson(what));
        }
        let big: BigInt = term.decode().map_err(|_| not_json(term))?;
        self.out.put(big.to_string().as_bytes())
    }

    fn float(&mut self, term: Term<'a>) -> Result<(), JsonError> {
        let float: f64 = term.decode().map_err(|_| not_json(term))?;
        match self.floats {
            Floats::Shortest => self.leaf(&float),
            Floats::Padded => self.out.put(format!("{float:.16e}").as_bytes()),
            Floats::Compact => self.out.put(compact(float).as_bytes()),
        }
    }

    fn atom(&mut self, term: Term<'a>) -> Result<(), JsonError> {
        let atom: Atom = term.decode().map_err(|_| not_json(term))?;
        if atom == atoms::true_() {
            self.out.put(b"true")
        } else if atom == atoms::false_() {
            self.out.put(b"false")
        } else if atom == atoms::null() || atom == atoms::nil() {
            self.canonical &= atom == atoms::null();
            self.out.put(b"null")
        } else {
            self.canonical = false;
            self.text(&name(term)?)
        }
    }

    /// The size first: looking through a long binary, for what is not UTF-8, takes long.
    fn binary(&mut self, term: Term<'a>) -> Result<(), JsonError> {
        let binary: Binary<'_> = term
            .decode()
            .map_err(|_| JsonError::NotJson("bitstring that is not a binary".into()))?;
        self.out.check(binary.len() + 2)?;
        let text = std::str::from_utf8(binary.as_slice())
            .map_err(|_| JsonError::NotJson("binary that is not UTF-8".into()))?;
        self.text(text)
    }

    fn text(&mut self, text: &str) -> Result<(), JsonError> {
        self.leaf(text)
    }

    fn leaf<T: serde::Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        serde_json::to_writer(&mut self.out, value).map_err(|error| {
            if error.is_io() {
                JsonError::OverBudget(self.out.budget.saturating_add(1))
            } else {
                JsonError::NotJson(error.to_string())
            }
        })
    }
}

/// The shortest JSON number that reads as this float and not as an integer, but for -0.
fn compact(float: f64) -> String {
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

fn name(term: Term<'_>) -> Result<String, JsonError> {
    // Only atoms of Latin-1 characters are given as text; the others are so in external form.
    term.atom_to_string().or_else(|_| {
        let external = term.to_binary();
        let text = match external.as_slice() {
            [131, 118, _, _, text @ ..] | [131, 119, _, text @ ..] => text,
            _ => return Err(not_json(term)),
        };
        String::from_utf8(text.to_vec()).map_err(|_| not_json(term))
    })
}

fn not_json(term: Term<'_>) -> JsonError {
    JsonError::NotJson(short(term))
}

/// The term as Erlang prints it, cut so that an error stays readable.
fn short(term: Term<'_>) -> String {
    if !matches!(
        term.get_type(),
        TermType::Atom | TermType::Pid | TermType::Ref | TermType::Fun
    ) {
        // Printing a large term takes long; its kind says enough.
        return format!("{:?}", term.get_type()).to_lowercase();
    }
    format!("{term:?}").chars().take(80).collect()
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
