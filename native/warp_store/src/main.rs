//! Keeps objects in a bucket of S3-compatible storage, for the VM that started it.
//!
//! Requests come on standard input, answers go to standard output, each behind its length in four bytes. One request
//! is under way at a time ([`request`] and [`answer`] have their forms). The keys to the bucket come from variables of
//! the environment, of which the VM says only the names. The process ends when standard input is closed: whoever asked
//! is gone, be it by SIGKILL.

mod answer;
mod bucket;
mod input;
mod request;
mod seen;
mod serve;
mod settings;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::stdin;
use std::process::exit;
use std::thread;
use tokio::runtime;
use tokio::sync::mpsc::channel;

/// How this process ends, as its exit status.
mod status {
    /// As it should: nobody is there any more.
    pub const DONE: i32 = 0;
    /// It could not be started, or was not understood.
    pub const FAILED: i32 = 4;
}

fn main() {
    // What is in memory has the keys of the bucket, and belongs in no file.
    let maximum = getrlimit(Resource::Core).maximum;
    let current = Some(0);
    let _ = setrlimit(Resource::Core, Rlimit { current, maximum });
    // Where another one is installed already, that one is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (sender, requests) = channel(1);
    let reader = thread::Builder::new()
        .name("input".into())
        .spawn(move || input::read(stdin().lock(), &sender));
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let (Ok(_), Ok(runtime)) = (reader, runtime) else {
        exit(status::FAILED);
    };
    runtime.block_on(serve::all(requests));
    exit(status::DONE);
}
