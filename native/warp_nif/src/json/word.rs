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

/// Whether a binary may be a part of a larger one. It is not when its bytes stand right behind the
/// head of its own term: then they are on a process's heap, and nobody else's.
pub fn may_be_cut(term: Term<'_>, bytes: &[u8]) -> bool {
    let from_head = (bytes.as_ptr() as usize).wrapping_sub(word(term));
    from_head > 2 * size_of::<usize>()
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
