//! Erlang terms to JSON text.

use std::io;

use rustler::types::map::MapIterator;
use rustler::{BigInt, Binary, Encoder, Term, TermType};

use super::floats::{Floats, compact};
use super::notes::Notes;
use super::repeats::Text;
use super::text::put_plain;
use super::{JsonError, MAX_DEPTH, MAX_DIGITS};
use crate::atoms;

/// What encoding terms found out about them.
pub struct Found {
    /// True when decoding the text gives the very same term back.
    pub canonical: bool,
    /// True when a map has both binaries and atoms as keys, of which two may be the same text.
    pub mixed: bool,
}

/// Appends `term` as JSON to `out`, which never grows past `budget` bytes.
///
/// Map keys are binaries or atoms; atoms other than `true`, `false`, `null` and `nil` become
/// strings. `notes` are those of what was written to `out` before. Errors: what is not JSON, too
/// deep, or over the budget.
pub fn encode<'a>(
    term: Term<'a>,
    out: &mut Vec<u8>,
    notes: &mut Notes<'a>,
    budget: usize,
    floats: Floats,
) -> Result<Found, JsonError> {
    let mut writer = Writer {
        out: Bounded { out, budget },
        notes,
        floats,
        found: Found {
            canonical: true,
            mixed: false,
        },
        too_big: None,
    };
    writer.value(term, 0)?;
    Ok(writer.found)
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
    notes: &'o mut Notes<'a>,
    floats: Floats,
    found: Found,
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
        let (mut binaries, mut atoms) = (false, false);
        for (key, value) in pairs {
            if binaries || atoms {
                self.out.put(b",")?;
            }
            if self.key(key, value)? {
                atoms = true;
            } else {
                binaries = true;
            }
            self.out.put(b":")?;
            self.value(value, depth)
                .map_err(|error| error.inside(|| step(key)))?;
        }
        self.found.canonical &= !atoms;
        self.found.mixed |= atoms && binaries;
        self.out.put(b"}")
    }

    /// Whether it is an atom. Of a struct of Elixir, whose fields would say nothing of what it is, the value is its
    /// name.
    fn key(&mut self, key: Term<'a>, value: Term<'a>) -> Result<bool, JsonError> {
        if let Some(text) = self.notes.repeats.find(key) {
            self.again(text)?;
            return Ok(text.is_atom);
        }
        match key.get_type() {
            TermType::Atom if atoms::struct_key() == key => {
                Err(JsonError::not_json(format!("struct {}", short(value))))
            }
            TermType::Atom => self.name(key).map(|()| true),
            TermType::Binary => {
                let from = self.out.out.len();
                self.binary(key)?;
                self.notes
                    .repeats
                    .note(key, from..self.out.out.len(), false);
                Ok(false)
            }
            _ => Err(JsonError::not_json(format!("object key {}", short(key)))),
        }
    }

    fn name(&mut self, atom: Term<'a>) -> Result<(), JsonError> {
        if let Some(text) = self.notes.repeats.find(atom) {
            return self.again(text);
        }
        let from = self.out.out.len();
        self.leaf(name(atom)?.as_str())?;
        self.notes
            .repeats
            .note(atom, from..self.out.out.len(), true);
        Ok(())
    }

    fn again(&mut self, text: Text) -> Result<(), JsonError> {
        let at = text.at();
        self.out.check(at.len())?;
        self.out.out.extend_from_within(at);
        Ok(())
    }

    /// Cell by cell: a list's length is known only at its end, where it may turn out improper.
    fn array(&mut self, term: Term<'a>, depth: usize) -> Result<(), JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        self.out.put(b"[")?;
        let mut rest = term;
        let mut index = 0_usize;
        while let Ok((item, tail)) = rest.list_get_cell() {
            self.value(item, depth)
                .map_err(|error| error.inside(|| format!("[{index}]")))?;
            index += 1;
            if !tail.is_empty_list() {
                self.out.put(b",")?;
            }
            rest = tail;
        }
        if !rest.is_empty_list() {
            return Err(JsonError::not_json(format!(
                "improper list {}",
                short(term)
            )));
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
            return Err(JsonError::not_json(what));
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
        if atoms::true_() == term {
            self.out.put(b"true")
        } else if atoms::false_() == term {
            self.out.put(b"false")
        } else if atoms::null() == term {
            self.out.put(b"null")
        } else if atoms::nil() == term {
            self.found.canonical = false;
            self.out.put(b"null")
        } else {
            self.found.canonical = false;
            self.name(term)
        }
    }

    /// The size first: looking through a long binary, for what is not UTF-8, takes long.
    fn binary(&mut self, term: Term<'a>) -> Result<(), JsonError> {
        let binary: Binary<'_> = term
            .decode()
            .map_err(|_| JsonError::not_json("bitstring that is not a binary"))?;
        let bytes = binary.as_slice();
        self.notes.parts.note(term, bytes);
        self.out.check(bytes.len() + 2)?;
        if put_plain(bytes, self.out.out) {
            return Ok(());
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| JsonError::not_json("binary that is not UTF-8"))?;
        self.leaf(text)
    }

    fn leaf<T: serde::Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        serde_json::to_writer(&mut self.out, value).map_err(|error| {
            if error.is_io() {
                JsonError::OverBudget(self.out.budget.saturating_add(1))
            } else {
                JsonError::not_json(error.to_string())
            }
        })
    }
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
    JsonError::not_json(short(term))
}

/// A key as a step on the way to its value: `.name`, or `["any text"]`.
fn step(key: Term<'_>) -> String {
    let binary = key.decode::<Binary<'_>>();
    let text = match &binary {
        Ok(binary) => std::str::from_utf8(binary.as_slice())
            .ok()
            .map(str::to_owned),
        Err(_) => name(key).ok(),
    };
    let text: String = text.unwrap_or_default().chars().take(40).collect();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    if !text.is_empty() && text.chars().all(is_word) {
        format!(".{text}")
    } else {
        format!("[{text:?}]")
    }
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
