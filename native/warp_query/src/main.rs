//! Runs queries on the embedded projection's file, one at a time, for the VM that started it.
//!
//! SQLite cannot be stopped for certain from within: one step of it may take hours. So a query
//! runs in a process that is ended when its time is over. Requests come on standard input,
//! answers go to standard output, each behind its length in four bytes. The process ends
//!
//! - when the deadline of its query has passed, whatever SQLite is doing ([`input`]),
//! - when standard input is closed: whoever asked is gone, be it by SIGKILL,
//! - when it is asked to, by an empty request,
//! - behind a query that took long: what memory it took is given back.

mod input;
mod query;
mod request;
mod term;

use std::path::PathBuf;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use input::Input;
use query::Stop;
use term::Answer;

/// How this process ends, as its exit status.
mod status {
    /// As it should: it was asked to, or nobody is there any more.
    pub const DONE: i32 = 0;
    /// It was started with something else than a file.
    pub const USAGE: i32 = 2;
    /// The deadline of the query has passed. `warp_projection_query_pool.erl` knows this number.
    pub const DEADLINE: i32 = 3;
    /// It could not be started, or was not understood.
    pub const FAILED: i32 = 4;
}

/// The second line behind SQLite's own limit ([`query::MAX_HEAP`]): a request of 65 MiB and one
/// row of 64 MiB, in a buffer that doubles, fit beside it.
const MAX_DATA: u64 = 512 * 1024 * 1024;
/// A query that took longer is the last one of its process: starting another one costs a tenth of
/// that at most.
const LONG: Duration = Duration::from_millis(100);

fn main() {
    limit(Resource::Data, MAX_DATA);
    // What is in memory is the users' data, and belongs in no file.
    limit(Resource::Core, 0);
    let Some(path) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: warp_query FILE, with requests on standard input: Warp starts it");
        exit(status::USAGE);
    };
    let (sender, requests) = sync_channel(1);
    let answered = Arc::new(AtomicU64::new(0));
    let mut input = Input::new(Arc::clone(&answered), sender);
    let reader = thread::Builder::new()
        .name("input".into())
        .spawn(move || input.read());
    if reader.is_err() {
        exit(status::FAILED);
    }
    let mut connection = None;
    for (deadline, frame) in requests {
        let began = Instant::now();
        let mut answer = Answer::new();
        let result = run(&mut connection, &path, deadline, &frame, &mut answer);
        let is_last =
            began.elapsed() > LONG || matches!(result, Err(Stop::QueryTooLarge | Stop::Away(_)));
        // Before the answer, behind which the next request may come at once.
        answered.fetch_add(1, Ordering::SeqCst);
        match result {
            Ok(columns) => answer.finish(&columns, is_last),
            Err(stop) => answer.fail(&stop, is_last),
        }
        if is_last {
            exit(status::DONE);
        }
    }
}

/// Where the operating system has no such limit, SQLite's own has to do.
fn limit(resource: Resource, most: u64) {
    let maximum = getrlimit(resource).maximum;
    let current = Some(maximum.map_or(most, |maximum| maximum.min(most)));
    let _ = setrlimit(resource, Rlimit { current, maximum });
}

/// Gives the names of the columns, when all rows are in the answer.
fn run(
    connection: &mut Option<Connection>,
    path: &std::path::Path,
    deadline: Instant,
    frame: &[u8],
    answer: &mut Answer,
) -> Result<Vec<String>, Stop> {
    let Some(request) = request::parse(frame) else {
        exit(status::FAILED);
    };
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(query::open(path)?),
    };
    query::run(connection, deadline, &request, answer)
}
