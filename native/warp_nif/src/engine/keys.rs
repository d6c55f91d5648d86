//! Keys that a backup asks for, made piece by piece between all else that is done for a shard.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use crate::engine::context::{Attached, Engine};
use crate::engine::looked::{IDLE, Looked, PATIENCE};
use crate::error::{Error, Result};

/// The pause between two attempts to make keys outlive a loss of power.
const PAUSE: Duration = Duration::from_millis(1);

/// Who waits until each life up to a position has its keys.
pub struct Asked {
    up_to: i64,
    done: Sender<Result<()>>,
    /// Since when all are made, and only have to outlive a loss of power.
    made: Option<Instant>,
}

impl Looked {
    /// Someone waits for the keys of all lives up to a position, or up to the end of the log where that is before.
    pub fn ask_for_keys(&mut self, engine: &Engine, up_to: i64, done: Sender<Result<()>>) {
        let applied = self.apply(engine);
        match (applied, &self.attached) {
            (Ok(()), Some(Attached { store, .. })) => self.asked.push_back(Asked {
                up_to: up_to.min(store.applied()),
                done,
                made: None,
            }),
            (applied, _) => {
                // Who waits for it may have gone.
                let _ = done.send(applied.and(Err(Error::Closed)));
            }
        }
    }

    /// Makes a piece of the keys that someone waits for. After how long to go on.
    pub(super) fn go_on_with_keys(&mut self) -> Duration {
        let (Some(Attached { store, .. }), Some(asked)) =
            (&mut self.attached, self.asked.front_mut())
        else {
            return IDLE;
        };
        let answer = match store.make_keys(asked.up_to) {
            Ok(false) => return Duration::ZERO,
            Ok(true) => match store.make_durable() {
                Ok(true) => Ok(()),
                Ok(false) => {
                    let since = *asked.made.get_or_insert_with(Instant::now);
                    if since.elapsed() < PATIENCE {
                        return PAUSE;
                    }
                    let what = "the keys of a backup are made, but would not outlive a loss of power: another \
                                program is reading the file";
                    Err(Error::Io(what.into()))
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        if let Some(asked) = self.asked.pop_front() {
            let _ = asked.done.send(answer);
        }
        if self.asked.is_empty() {
            IDLE
        } else {
            Duration::ZERO
        }
    }
}
