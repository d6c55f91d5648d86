//! Answers, and messages to Erlang.

use rustler::{Encoder, Env, LocalPid, OwnedEnv, Term};

use super::command::Answer;
use crate::atoms;
use crate::index::ids::Stop;

/// Sends a message from a thread of the engine's own.
pub fn send(to: LocalPid, message: impl FnOnce(Env<'_>) -> Term<'_>) {
    // An owner that is gone needs no answer: those who waited for it are gone as well.
    let _ = OwnedEnv::new().send_and_clear(&to, message);
}

/// One message to the owner, which hands each answer on: sending many from here costs more.
pub fn answer(owner: LocalPid, answers: &[(LocalPid, Answer)]) {
    if !answers.is_empty() {
        let none: &[u16] = &[];
        send(owner, |env| {
            (atoms::warp_replies(), answers, none).encode(env)
        });
    }
}

impl Encoder for Answer {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self {
            Self::Stored { incarnation } => (atoms::stored(), incarnation).encode(env),
            Self::Stopped {
                incarnation,
                appends,
                why,
            } => (atoms::stopped(), incarnation, appends, why).encode(env),
            Self::WrongBase(seq) => (atoms::wrong_base(), seq).encode(env),
            Self::Erased => atoms::erased().encode(env),
            Self::Cleared => atoms::cleared().encode(env),
            Self::Corrected => atoms::corrected().encode(env),
            Self::NoEvent => atoms::no_event().encode(env),
            Self::Passed => atoms::passed().encode(env),
            Self::Failed(error) => (atoms::failed(), error).encode(env),
        }
    }
}

impl Encoder for Stop {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self {
            Self::Duplicates(found) => (atoms::duplicates(), found).encode(env),
            Self::Conflict(seq) => (atoms::id_conflict(), seq).encode(env),
            Self::Reserved(id) => (atoms::reserved_id(), id).encode(env),
            Self::Void => atoms::void_ticket().encode(env),
        }
    }
}
