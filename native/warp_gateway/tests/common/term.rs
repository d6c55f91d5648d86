//! Erlang's external term format, read: written apart from what the gateway writes it with.

/// A term.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    Integer(i128),
    Float(f64),
    Atom(String),
    Binary(Vec<u8>),
    Tuple(Vec<Term>),
    List(Vec<Term>),
    Map(Vec<(Term, Term)>),
}

impl Term {
    /// Reads a whole term.
    pub fn read(bytes: &[u8]) -> Term {
        assert_eq!(bytes[0], 131, "no version");
        let mut rest = &bytes[1..];
        let term = one(&mut rest);
        assert!(rest.is_empty(), "{} bytes after the term", rest.len());
        term
    }

    /// A binary of a text.
    pub fn text(text: &str) -> Term {
        Term::Binary(text.as_bytes().to_vec())
    }

    /// The value of a key of a map.
    pub fn get(&self, key: &str) -> Option<&Term> {
        let Term::Map(pairs) = self else {
            panic!("no map: {self:?}")
        };
        pairs
            .iter()
            .find(|(name, _)| *name == Term::text(key))
            .map(|(_, value)| value)
    }

    /// The text of a binary.
    pub fn as_text(&self) -> &str {
        let Term::Binary(bytes) = self else {
            panic!("no binary: {self:?}")
        };
        std::str::from_utf8(bytes).unwrap()
    }

    /// The elements of a list.
    pub fn elements(&self) -> &[Term] {
        let Term::List(elements) = self else {
            panic!("no list: {self:?}")
        };
        elements
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, after) = rest.split_at(length);
    *rest = after;
    taken
}

fn byte(rest: &mut &[u8]) -> u8 {
    take(rest, 1)[0]
}

fn count(rest: &mut &[u8]) -> usize {
    u32::from_be_bytes(take(rest, 4).try_into().unwrap()) as usize
}

fn many(rest: &mut &[u8], count: usize) -> Vec<Term> {
    (0..count).map(|_| one(rest)).collect()
}

fn one(rest: &mut &[u8]) -> Term {
    match byte(rest) {
        97 => Term::Integer(i128::from(byte(rest))),
        98 => Term::Integer(i128::from(i32::from_be_bytes(
            take(rest, 4).try_into().unwrap(),
        ))),
        110 => {
            let (length, sign) = (byte(rest), byte(rest));
            let bytes = take(rest, usize::from(length));
            assert_ne!(
                bytes.last(),
                Some(&0),
                "an integer longer than it has to be"
            );
            let size = bytes
                .iter()
                .rev()
                .fold(0, |size: i128, byte| (size << 8) | i128::from(*byte));
            Term::Integer(if sign == 0 { size } else { -size })
        }
        70 => Term::Float(f64::from_be_bytes(take(rest, 8).try_into().unwrap())),
        119 => {
            let length = byte(rest);
            Term::Atom(String::from_utf8(take(rest, usize::from(length)).to_vec()).unwrap())
        }
        109 => {
            let length = count(rest);
            Term::Binary(take(rest, length).to_vec())
        }
        104 => {
            let size = byte(rest);
            Term::Tuple(many(rest, usize::from(size)))
        }
        106 => Term::List(Vec::new()),
        108 => {
            let length = count(rest);
            let elements = many(rest, length);
            assert_eq!(byte(rest), 106, "an improper list");
            assert_ne!(length, 0, "an empty list that is not the empty list");
            Term::List(elements)
        }
        116 => {
            let pairs = count(rest);
            Term::Map((0..pairs).map(|_| (one(rest), one(rest))).collect())
        }
        tag => panic!("unknown tag {tag}"),
    }
}
