//! Threads of the engine's own, for everything that waits for the disk.
//!
//! The VM's dirty I/O threads are few, and any part of an application can occupy all of them with
//! slow files. So no append, no answer and no restart may depend on one: a NIF hands its work to
//! these threads and returns at once, and the calling process gets the result as a message.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustler::{Encoder, Env, OwnedEnv, Term};

use crate::atoms;
use crate::error::{Error, Result, panic_message};
use crate::sync::relock;

type Job = Box<dyn FnOnce() + Send>;

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);

/// Reads of shards. None takes longer than reading a page of a log.
pub static READS: Pool = Pool::new("warp-read", 16);
/// Saving and restoring, which take long: no read waits behind them.
pub static BACKUPS: Pool = Pool::new("warp-backup", 4);
/// Opening, closing and locking of files. None of these waits for another one.
pub static FILES: Pool = Pool::new("warp-file", 64);

/// Threads that are started when there is work, up to a number, and leave when there is none.
pub struct Pool {
    name: &'static str,
    most: usize,
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    /// Threads that wait for work.
    idle: usize,
}

impl Pool {
    const fn new(name: &'static str, most: usize) -> Self {
        let state = State {
            jobs: VecDeque::new(),
            threads: 0,
            idle: 0,
        };
        Self {
            name,
            most,
            state: Mutex::new(state),
            work: Condvar::new(),
        }
    }

    /// Runs `job` on one of the threads. Error: `Io` when there is no thread and none can be
    /// started.
    pub fn run(&'static self, job: Job) -> Result<()> {
        let mut state = relock(&self.state);
        state.jobs.push_back(job);
        if state.jobs.len() <= state.idle {
            self.work.notify_one();
            return Ok(());
        }
        if state.threads == self.most {
            return Ok(());
        }
        let started = std::thread::Builder::new()
            .name(self.name.into())
            .spawn(|| self.serve());
        match started {
            Ok(_) => state.threads += 1,
            // The threads that there are take the job later.
            Err(_) if state.threads > 0 => {}
            Err(error) => {
                state.jobs.pop_back();
                return Err(Error::Io(
                    format!("a thread cannot be started: {error}").into(),
                ));
            }
        }
        Ok(())
    }

    fn serve(&self) {
        let mut state = relock(&self.state);
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // Jobs catch the panics of what they run. The thread lives on if one does not.
                let _ = catch_unwind(AssertUnwindSafe(job));
                state = relock(&self.state);
                continue;
            }
            state.idle += 1;
            let (woken, waited) = self
                .work
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

/// Has `work` done by a thread of `pool`. Answers `ok`, and then the calling process gets
/// `{Tag, Result}`; or answers `{error, Reason}`, and nothing comes. A panic of `work` is contained.
///
/// NOTE: `work` must not make a map of more than 32 keys. OTP 25 does that with data of its scheduler,
/// and ends itself with a segmentation fault on a thread that is none.
pub fn answer<'a, W>(env: Env<'a>, pool: &'static Pool, tag: Term<'a>, work: W) -> Term<'a>
where
    W: for<'b> FnOnce(Env<'b>) -> Term<'b> + Send + 'static,
{
    let caller = env.pid();
    let mut own = OwnedEnv::new();
    let tag = own.save(tag);
    let job = move || {
        // A caller that is gone needs no answer.
        let _ = own.send_and_clear(&caller, |env| {
            let result = catch_unwind(AssertUnwindSafe(|| work(env))).unwrap_or_else(|panic| {
                let error = Error::internal(panic_message(&*panic));
                (atoms::error(), error).encode(env)
            });
            (tag.load(env), result).encode(env)
        });
    };
    match pool.run(Box::new(job)) {
        Ok(()) => atoms::ok().encode(env),
        Err(error) => (atoms::error(), error).encode(env),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc;

    static FEW: Pool = Pool::new("few", 3);

    fn threads(pool: &Pool) -> usize {
        pool.state.lock().expect("lock").threads
    }

    #[test]
    fn jobs_run_side_by_side_and_wait_when_all_threads_are_taken() {
        let (hold, held) = mpsc::channel::<()>();
        let held = std::sync::Arc::new(Mutex::new(held));
        let (done, results) = mpsc::channel();
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        for _ in 0..10 {
            let (held, done) = (std::sync::Arc::clone(&held), done.clone());
            let job = move || {
                let most = RUNNING.fetch_add(1, SeqCst) + 1;
                let _ = held
                    .lock()
                    .expect("lock")
                    .recv_timeout(Duration::from_secs(5));
                RUNNING.fetch_sub(1, SeqCst);
                done.send(most).expect("sent");
            };
            FEW.run(Box::new(job)).expect("taken");
        }
        for _ in 0..10 {
            hold.send(()).expect("sent");
        }
        let most = (0..10).map(|_| results.recv_timeout(Duration::from_secs(10)).expect("ran"));
        assert!(most.max() <= Some(3));
        assert!(threads(&FEW) <= 3);
        // A panic does not take a thread away.
        for _ in 0..5 {
            FEW.run(Box::new(|| panic!("asked for"))).expect("taken");
        }
        let (done, result) = mpsc::channel();
        FEW.run(Box::new(move || done.send(7).expect("sent")))
            .expect("taken");
        assert_eq!(result.recv_timeout(Duration::from_secs(5)), Ok(7));
    }
}
