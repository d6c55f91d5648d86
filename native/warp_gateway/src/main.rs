//! The gateway of Warp's server: it terminates HTTP/1.1, HTTP/2, WebSocket and TLS, says who a client is, keeps
//! clients within limits, and hands requests to the VM as Erlang terms. The VM that started it is at the other end of
//! its standard input and output, and decides everything else. When that is gone the gateway exits.

mod channels;
mod clock;
mod command;
mod config;
mod connection;
mod etf;
mod frames;
mod gateway;
mod intake;
mod json;
mod limits;
mod link;
mod listener;
mod refused;
mod settings;
mod socket;
mod stream;
mod streams;
mod text;
mod tls;
mod tokens;
mod watch;
mod web;

use config::Config;
use frames::{Frame, Kind, LINK};
use gateway::Gateway;
use intake::Intake;
use listener::Listeners;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::unix::pipe;

/// How often connections and channels are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// After so many looks the VM is told what was refused.
const LOOKS_UNTIL_TOLD: u32 = 4;
/// More threads bring nothing: the VM does most of the work.
const MAX_THREADS: usize = 4;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.is_empty() {
        return command::run(&arguments);
    }
    clock::now();
    raise_file_limit();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.div_ceil(2).min(MAX_THREADS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build();
    // What the program does it does in tasks: this thread only waits.
    let result = runtime.and_then(|runtime| {
        let code = runtime.block_on(async { tokio::spawn(run()).await });
        runtime.shutdown_background();
        code?
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("warp_gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

/// As many files may be open as the system allows: each connection is one.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        eprintln!("warp_gateway: the limit of open files stays as it is: {error}");
    }
}

/// Serves until the VM is gone or says stop.
async fn run() -> io::Result<ExitCode> {
    let of_pipe = |error| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("warp_server starts this program: {error}"),
        )
    };
    let input = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)
        .map_err(of_pipe)?;
    let output =
        pipe::Sender::from_owned_fd(io::stdout().as_fd().try_clone_to_owned()?).map_err(of_pipe)?;
    let gateway = Arc::new(Gateway::default());
    let link = Arc::clone(&gateway.link);
    let writing = tokio::spawn(async move { link.write_to(output).await });

    let mut intake = Intake::new(input);
    let Some(first) = intake.first().await? else {
        return Ok(ExitCode::SUCCESS);
    };
    let listeners = match begin(&gateway, &first) {
        Ok(listeners) => listeners,
        Err(why) => {
            gateway.link.say(Kind::Failed, &why);
            gateway.link.flush().await;
            return Ok(ExitCode::FAILURE);
        }
    };
    drop(first);
    gateway.link.send(LINK, Kind::Ready, &listeners.addresses());
    listeners.serve(&gateway);

    let looking = tokio::spawn(look(Arc::clone(&gateway)));
    let (stopped, mut stops) = tokio::sync::mpsc::channel(1);
    let finishing = async {
        match stops.recv().await {
            Some(millis) => finish(&gateway, millis).await,
            None => std::future::pending().await,
        }
    };
    let stop = move |millis| {
        let _ = stopped.try_send(millis);
    };
    tokio::select! {
        ended = intake.run(&gateway, &listeners, stop) => ended?,
        ended = writing => ended??,
        // These two end only by a fault of theirs.
        ended = looking => ended?,
        () = finishing => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes the first configuration, and listens.
fn begin(gateway: &Gateway, first: &[u8]) -> Result<Listeners, String> {
    let Some((LINK, Frame::Configure(json))) = frames::read(first) else {
        return Err("the first frame is no configuration".to_owned());
    };
    let config = Config::read(json)?;
    let listeners = Listeners::bind(&config.listeners)?;
    gateway.configure(&config, &listeners)?;
    Ok(listeners)
}

/// Looks at all connections and channels again and again: what takes too long is ended.
async fn look(gateway: Arc<Gateway>) {
    let mut looks: u32 = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        let limits = gateway.settings().limits;
        let (now, is_stopping) = (clock::now(), gateway.is_stopping());
        gateway.places.check(now, &limits, is_stopping);
        gateway
            .channels
            .all()
            .iter()
            .for_each(|channel| channel.check(now, &limits, is_stopping));
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(LOOKS_UNTIL_TOLD) {
            gateway.tell_refused();
        }
    }
}

/// Finishes what is under way, for so many milliseconds at most.
async fn finish(gateway: &Gateway, millis: u32) {
    gateway.stop();
    let limits = gateway.settings().limits;
    let now = clock::now();
    gateway.places.check(now, &limits, true);
    gateway
        .channels
        .all()
        .iter()
        .for_each(|channel| channel.check(now, &limits, true));
    let is_done = || gateway.places.count() == 0 && gateway.channels.count() == 0;
    let all_done = async {
        while !is_done() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(u64::from(millis)), all_done).await;
    gateway.tell_refused();
    gateway.link.flush().await;
}
