//! Binaries that may be parts of larger ones, which they keep in memory.

use rustler::{Encoder, Env, Term};

use super::word::word;
use crate::atoms;

/// How many are noted: so many that each event of the largest batch can have one.
const MOST: usize = 10_000;

/// The binaries of some terms that may be parts. Erlang can tell of each whether it is.
#[derive(Default)]
pub struct Parts<'a> {
    found: Vec<Term<'a>>,
    are_more: bool,
}

impl<'a> Parts<'a> {
    /// Notes the binary, unless it stands by itself. It does when its bytes are right behind the
    /// head of its own term: then they are on a process's heap, and nobody else's.
    pub fn note(&mut self, term: Term<'a>, bytes: &[u8]) {
        let from_head = (bytes.as_ptr() as usize).wrapping_sub(word(term));
        let stands_by_itself = from_head <= 2 * size_of::<usize>();
        if !stands_by_itself && self.found.len() < MOST {
            self.found.push(term);
        } else {
            self.are_more |= !stands_by_itself;
        }
    }
}

/// A list of them, or `many`.
impl Encoder for Parts<'_> {
    fn encode<'b>(&self, env: Env<'b>) -> Term<'b> {
        if self.are_more {
            atoms::many().encode(env)
        } else {
            self.found.encode(env)
        }
    }
}
