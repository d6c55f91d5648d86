//! Telling those who asked the writer what became of it.

use std::sync::Arc;

use rustler::env::SavedTerm;
use rustler::{Encoder, Env, LocalPid, OwnedEnv, Term};

use crate::atoms;
use crate::engine::context::Engine;
use crate::error::Error;
use crate::hash::hash64;
use crate::shard::shared::Shared;
use crate::writer::command::{Answer, Command, Submission};
use crate::writer::queue::Batch;

/// What was asked for, and what it comes to once the commit is done.
pub(super) struct Decided {
    pub shared: Arc<Shared>,
    pub command: Command,
    pub answer: Settled,
}

pub(super) enum Settled {
    /// This is the answer.
    Now(Answer),
    /// The answer comes when the step at this position is applied, and its bytes are gone.
    Applied(Answer, i64),
    /// Nobody waits.
    Never,
}

/// Answers what was decided, all in one message to the owner; `shards` have more rows now. With `is_all` nothing
/// of the batch is left.
pub(super) fn reply(
    engine: &Engine,
    batch: &mut Batch,
    decided: Vec<Decided>,
    shards: &[u16],
    is_all: bool,
) {
    let mut replies = Vec::with_capacity(decided.len());
    for Decided {
        shared,
        command,
        answer,
    } in decided
    {
        let from = asker(&command);
        match (answer, command) {
            (_, Command::Detach) => {
                shared.detach();
                engine.hurry();
            }
            (Settled::Never, command @ Command::Snapshot { .. }) => {
                engine.keep_snapshot(&shared, command);
            }
            (Settled::Never, _) => {}
            (Settled::Applied(answer, position), command) => {
                let hash = match command {
                    Command::Erase { entity, .. } => Some(hash64(entity.as_bytes())),
                    _ => None,
                };
                if let Some(from) = from {
                    let hash = hash.map(u64::cast_signed);
                    engine.defer(&shared, from, answer, position, hash);
                }
            }
            (Settled::Now(answer), mut command) => {
                if let Command::Append(submission) = &mut command {
                    submission.stored(taken(submission, &answer));
                }
                if let (Answer::Stored { .. }, Command::Append(submission)) = (&answer, &command) {
                    release_stored(submission);
                    if submission.is_silent {
                        continue;
                    }
                    if let Some(receipt) = &submission.receipt {
                        replies.push(Reply::Receipt(receipt.clone()));
                        continue;
                    }
                }
                replies.extend(from.map(|from| Reply::Answer(from, answer)));
            }
        }
    }
    if replies.is_empty() && shards.is_empty() {
        if is_all {
            batch.env.clear();
        }
        return;
    }
    // What the batch's environment holds goes with the message: nothing of it is copied.
    let from = &mut batch.env;
    let owner = engine.owner;
    if is_all {
        // An owner that is gone needs no answer: those who waited for it are gone as well.
        let _ = from.send_and_clear(&owner, |env| message(env, &replies, shards));
    } else {
        let mut other = OwnedEnv::new();
        let _ = other.send_and_clear(&owner, |env| {
            from.run(|own| {
                let terms: Vec<Term<'_>> =
                    replies.iter().map(|r| r.term(own).in_env(env)).collect();
                (atoms::warp_replies(), terms, shards).encode(env)
            })
        });
    }
}

fn message<'a>(env: Env<'a>, replies: &[Reply], shards: &[u16]) -> Term<'a> {
    let terms: Vec<Term<'a>> = replies.iter().map(|reply| reply.term(env)).collect();
    (atoms::warp_replies(), terms, shards).encode(env)
}

/// The commit failed: what was to be in it has this error in place of its answer.
pub(super) fn fail(decided: &mut [Decided], error: &Error) {
    for decided in decided {
        // What was refused or only passed has nothing to do with the commit.
        let is_concerned = match &decided.answer {
            Settled::Now(Answer::Stored { .. } | Answer::Stopped { .. }) => true,
            Settled::Applied(..) => true,
            Settled::Now(_) | Settled::Never => false,
        };
        if is_concerned {
            decided.answer = Settled::Now(Answer::Failed(error.clone()));
        }
    }
}

/// How many appends of a submission the writer took.
pub(super) fn taken(submission: &Submission, answer: &Answer) -> usize {
    match answer {
        Answer::Stored { .. } => submission.appends.len(),
        Answer::Stopped { appends, .. } => *appends,
        _ => 0,
    }
}

/// What is stored is in the caller's memory no longer than until here, whoever may still have a
/// reference to it.
fn release_stored(submission: &Submission) {
    let appends = submission.appends.iter();
    appends
        .filter_map(|of| of.handle.as_ref())
        .for_each(|handle| handle.release());
}

/// Who asked, if someone waits for an answer.
pub(super) fn asker(command: &Command) -> Option<LocalPid> {
    match command {
        Command::Append(submission) => submission.from,
        Command::Erase { from, .. }
        | Command::Import { from, .. }
        | Command::Replace { from, .. }
        | Command::Clear { from, .. }
        | Command::CorrectTime { from, .. }
        | Command::Pass { from } => *from,
        Command::Snapshot { .. } | Command::Detach => None,
    }
}

/// An answer for the process that asked, or its receipt.
enum Reply {
    Answer(LocalPid, Answer),
    Receipt(SavedTerm),
}

impl Reply {
    fn term<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self {
            Self::Answer(from, answer) => (from, answer).encode(env),
            Self::Receipt(receipt) => receipt.load(env),
        }
    }
}
