//! The word that stands for a term: an address and a tag, or a small value.

use std::hash::{Hash, Hasher};

use rustler::Term;

/// The word of a term. Terms with the same word are the same, as long as no term moves or goes,
/// which none does within a call of a NIF.
pub fn word(term: Term<'_>) -> usize {
    // Rustler shows the word to hashers alone.
    let mut word = Word(0);
    term.as_c_arg().hash(&mut word);
    word.0
}

/// Takes one word as it is.
struct Word(usize);

impl Hasher for Word {
    fn write_usize(&mut self, word: usize) {
        self.0 = word;
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut word = [0; size_of::<usize>()];
        word.iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
        self.0 = usize::from_ne_bytes(word);
    }

    fn finish(&self) -> u64 {
        self.0 as u64
    }
}
