//! Erlang terms to JSON text.

use rustler::types::map::MapIterator;
use rustler::{Atom, BigInt, Binary, ListIterator, Term, TermType};

use super::{JsonError, MAX_DEPTH, MAX_DIGITS};
use crate::atoms;

/// What encoding a term found out about it.
pub struct Encoded {
    /// True when decoding the text gives the very same term back.
    pub canonical: bool,
}

/// Appends `term` as JSON to `out`, which may not grow past `budget` bytes.
///
/// Map keys are binaries or atoms; atoms other than `true`, `false`, `null` and `nil` become
/// strings. Errors: what is not JSON, too deep, or over the budget.
pub fn encode(term: Term<'_>, out: &mut Vec<u8>, budget: usize) -> Result<Encoded, JsonError> {
    encode_with(term, out, budget, Floats::Shortest)
}

/// How floats are written. Both forms name the same float.
#[derive(Clone, Copy)]
pub enum Floats {
    /// With as few digits as can be.
    Shortest,
    /// With 17 digits. SQLite's JSON functions read some of the shortest forms one bit off.
    Padded,
}

/// As [`encode`], with that form of floats.
pub fn encode_with(
    term: Term<'_>,
    out: &mut Vec<u8>,
    budget: usize,
    floats: Floats,
) -> Result<Encoded, JsonError> {
    let mut writer = Writer {
        out,
        budget,
        floats,
        canonical: true,
    };
    writer.value(term, 0)?;
    Ok(Encoded {
        canonical: writer.canonical,
    })
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    budget: usize,
    floats: Floats,
    canonical: bool,
}

impl Writer<'_> {
    fn value(&mut self, term: Term<'_>, depth: usize) -> Result<(), JsonError> {
        if self.out.len() > self.budget {
            return Err(JsonError::OverBudget);
        }
        match term.get_type() {
            TermType::Binary => {
                let binary: Binary<'_> = term.decode().map_err(|_| not_json(term))?;
                self.text(utf8(&binary, term)?)
            }
            TermType::Integer => self.integer(term),
            TermType::Float => {
                let float: f64 = term.decode().map_err(|_| not_json(term))?;
                match self.floats {
                    Floats::Shortest => self.leaf(&float),
                    Floats::Padded => {
                        self.out
                            .extend_from_slice(format!("{float:.16e}").as_bytes());
                        Ok(())
                    }
                }
            }
            TermType::Atom => self.atom(term),
            TermType::Map => self.object(term, depth + 1),
            TermType::List => self.array(term, depth + 1),
            _ => Err(not_json(term)),
        }
    }

    fn object(&mut self, term: Term<'_>, depth: usize) -> Result<(), JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        let pairs = MapIterator::new(term).ok_or_else(|| not_json(term))?;
        self.out.push(b'{');
        for (index, (key, value)) in pairs.enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            match key.get_type() {
                TermType::Binary => {
                    let binary: Binary<'_> = key.decode().map_err(|_| not_json(key))?;
                    self.text(utf8(&binary, key)?)?;
                }
                TermType::Atom => {
                    self.canonical = false;
                    self.text(&name(key)?)?;
                }
                _ => return Err(JsonError::NotJson(format!("object key {}", short(key)))),
            }
            self.out.push(b':');
            self.value(value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn array(&mut self, term: Term<'_>, depth: usize) -> Result<(), JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        // An improper list has no length, and the iterator would stop at its tail in silence.
        term.list_length()
            .map_err(|_| JsonError::NotJson(format!("improper list {}", short(term))))?;
        let items: ListIterator<'_> = term.decode().map_err(|_| not_json(term))?;
        self.out.push(b'[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.value(item, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn integer(&mut self, term: Term<'_>) -> Result<(), JsonError> {
        if let Ok(small) = term.decode::<i64>() {
            return self.leaf(&small);
        }
        let too_long = || JsonError::NotJson(format!("integer of more than {MAX_DIGITS} digits"));
        // In external form a byte is more than two digits. Printing a larger one takes long.
        if term.to_binary().len() > MAX_DIGITS / 2 {
            return Err(too_long());
        }
        let big: BigInt = term.decode().map_err(|_| not_json(term))?;
        let digits = big.to_string();
        if digits.trim_start_matches('-').len() > MAX_DIGITS {
            return Err(too_long());
        }
        self.out.extend_from_slice(digits.as_bytes());
        Ok(())
    }

    fn atom(&mut self, term: Term<'_>) -> Result<(), JsonError> {
        let atom: Atom = term.decode().map_err(|_| not_json(term))?;
        if atom == atoms::true_() {
            self.out.extend_from_slice(b"true");
        } else if atom == atoms::false_() {
            self.out.extend_from_slice(b"false");
        } else if atom == atoms::null() || atom == atoms::nil() {
            self.canonical &= atom == atoms::null();
            self.out.extend_from_slice(b"null");
        } else {
            self.canonical = false;
            self.text(&name(term)?)?;
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), JsonError> {
        self.leaf(text)
    }

    fn leaf<T: serde::Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        serde_json::to_writer(&mut *self.out, value)
            .map_err(|error| JsonError::NotJson(error.to_string()))
    }
}

fn utf8<'a>(binary: &Binary<'a>, term: Term<'_>) -> Result<&'a str, JsonError> {
    std::str::from_utf8(binary.as_slice())
        .map_err(|_| JsonError::NotJson(format!("binary that is not UTF-8: {}", short(term))))
}

fn name(term: Term<'_>) -> Result<String, JsonError> {
    term.atom_to_string().map_err(|_| not_json(term))
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
