//! The VM's end of the link, and a gateway that is started for a test.

use super::term::Term;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use tokio::sync::mpsc;

pub const READY: u8 = 1;
pub const FAILED: u8 = 2;
pub const PONG: u8 = 3;
pub const REFUSED: u8 = 4;
pub const PART: u8 = 5;
pub const REQUEST: u8 = 6;
pub const SOCKET: u8 = 7;
pub const CALLS: u8 = 8;
pub const TAKEN: u8 = 9;
pub const CLOSED: u8 = 10;
pub const RELOADED: u8 = 11;

/// The token of most tests, whose id is `web`.
pub const TOKEN: &str = "warp_0123456789012345678901234567890123456789012";
/// A key of signed tokens.
pub const KEY: [u8; 32] = [7; 32];

/// How long a test waits for what has to come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A frame of the gateway.
#[derive(Debug)]
pub struct Frame {
    pub channel: u64,
    pub kind: u8,
    pub body: Vec<u8>,
}

/// A gateway and the VM's end of its link.
pub struct Vm {
    child: Child,
    input: Option<ChildStdin>,
    frames: mpsc::UnboundedReceiver<Frame>,
    pub ports: Vec<u16>,
    parts: Vec<u8>,
}

/// The configuration of most tests.
pub fn config() -> Value {
    json!({
        "listeners": [{"address": "127.0.0.1", "port": 0, "tls": null}],
        "hosts": ["localhost", "127.0.0.1"],
        "origins": ["https://app.example.com"],
        "tokens": [token("web", TOKEN)],
        "keys": [hex(&KEY)],
        "server": "test",
        "public": [["health"]],
        "limits": {},
    })
}

/// A token of a configuration.
pub fn token(id: &str, token: &str) -> Value {
    let hash = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    json!({"id": id, "sha256": hex(hash.as_ref()), "expires": null, "connections": 100, "in_flight": 1000})
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Vm {
    /// Starts a gateway and waits until it listens.
    pub async fn start(config: &Value) -> Vm {
        let mut vm = Vm::launch();
        vm.configure(config);
        let ready = vm.next().await;
        assert_eq!(
            ready.kind,
            READY,
            "{}",
            String::from_utf8_lossy(&ready.body)
        );
        for address in Term::read(&ready.body).elements() {
            let Term::Tuple(pair) = address else {
                panic!("{address:?}")
            };
            let Term::Integer(port) = pair[1] else {
                panic!("{address:?}")
            };
            vm.ports.push(u16::try_from(port).unwrap());
        }
        vm
    }

    /// Starts a gateway with some limits.
    pub async fn with_limits(limits: Value) -> Vm {
        let mut config = config();
        config["limits"] = limits;
        Vm::start(&config).await
    }

    /// Starts a gateway without a configuration.
    pub fn launch() -> Vm {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warp_gateway"));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        let (sender, frames) = mpsc::unbounded_channel();
        std::thread::spawn(move || read_frames(output, &sender));
        Vm {
            child,
            input,
            frames,
            ports: Vec::new(),
            parts: Vec::new(),
        }
    }

    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a frame.
    pub fn send(&mut self, channel: u64, kind: u8, body: &[u8]) {
        let length = u32::try_from(body.len() + 9).unwrap();
        let frame = [
            &length.to_be_bytes()[..],
            &channel.to_be_bytes(),
            &[kind],
            body,
        ]
        .concat();
        let input = self.input.as_mut().unwrap();
        input
            .write_all(&frame)
            .and_then(|()| input.flush())
            .unwrap();
    }

    pub fn configure(&mut self, config: &Value) {
        self.send(0, 1, config.to_string().as_bytes());
    }

    /// Configures anew, and gives what is said of it.
    pub async fn reconfigure(&mut self, config: &Value) -> String {
        self.configure(config);
        String::from_utf8(self.wait_for(0, RELOADED).await).unwrap()
    }

    pub fn stop(&mut self, millis: u32) {
        self.send(0, 3, &millis.to_be_bytes());
    }

    /// Answers a request in one frame.
    pub fn answer(&mut self, channel: u64, status: u16, body: &[u8]) {
        self.head(
            channel,
            status,
            true,
            &[("content-type", "application/json")],
            body,
        );
    }

    pub fn head(
        &mut self,
        channel: u64,
        status: u16,
        last: bool,
        headers: &[(&str, &str)],
        body: &[u8],
    ) {
        let mut frame = status.to_be_bytes().to_vec();
        frame.push(u8::from(last));
        frame.extend_from_slice(&u16::try_from(headers.len()).unwrap().to_be_bytes());
        for (name, value) in headers {
            frame.push(u8::try_from(name.len()).unwrap());
            frame.extend_from_slice(name.as_bytes());
            frame.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
            frame.extend_from_slice(value.as_bytes());
        }
        frame.extend_from_slice(body);
        self.send(channel, 4, &frame);
    }

    pub fn data(&mut self, channel: u64, last: bool, bytes: &[u8]) {
        self.send(channel, 5, &[&[u8::from(last)], bytes].concat());
    }

    pub fn message(&mut self, channel: u64, last: bool, answered: u16, bytes: &[u8]) {
        self.data(channel, last, &[&answered.to_be_bytes(), bytes].concat());
    }

    pub fn close(&mut self, channel: u64, code: u16, reason: &str) {
        self.send(
            channel,
            6,
            &[&code.to_be_bytes(), reason.as_bytes()].concat(),
        );
    }

    pub fn abort(&mut self, channel: u64) {
        self.send(channel, 7, &[]);
    }

    /// The next frame.
    pub async fn next(&mut self) -> Frame {
        let frame = tokio::time::timeout(PATIENCE, self.frames.recv()).await;
        frame
            .expect("no frame came")
            .expect("the gateway has ended")
    }

    /// The frame that came, if one did within this time.
    pub async fn next_within(&mut self, time: Duration) -> Option<Frame> {
        tokio::time::timeout(time, self.frames.recv())
            .await
            .ok()
            .flatten()
    }

    /// The next frame of a kind, with those of other kinds passed over.
    pub async fn next_of(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await;
            if frame.kind == PART {
                self.parts.extend_from_slice(&frame.body);
            }
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// The next frame of a kind and a channel.
    pub async fn wait_for(&mut self, channel: u64, kind: u8) -> Vec<u8> {
        loop {
            let frame = self.next_of(kind).await;
            if frame.channel == channel {
                return frame.body;
            }
        }
    }

    /// The next term of a kind, put together from its parts.
    async fn term(&mut self, kind: u8) -> (u64, Term) {
        let frame = self.next_of(kind).await;
        let mut term = std::mem::take(&mut self.parts);
        term.extend_from_slice(&frame.body);
        (frame.channel, Term::read(&term))
    }

    pub async fn request(&mut self) -> (u64, Term) {
        self.term(REQUEST).await
    }

    pub async fn socket(&mut self) -> (u64, Term) {
        self.term(SOCKET).await
    }

    pub async fn calls(&mut self) -> Vec<Term> {
        self.term(CALLS).await.1.elements().to_vec()
    }

    /// What was refused next, as reasons and counts.
    pub async fn refused(&mut self) -> Vec<(String, i128)> {
        let frame = self.next_of(REFUSED).await;
        let entries = Term::read(&frame.body);
        let entry = |entry: &Term| match entry {
            Term::Tuple(entry) => match &entry[..] {
                [why, peer, Term::Integer(count)] => {
                    assert_eq!(peer.as_text(), "127.0.0.1");
                    (why.as_text().to_owned(), *count)
                }
                _ => panic!("{entry:?}"),
            },
            _ => panic!("{entry:?}"),
        };
        entries.elements().iter().map(entry).collect()
    }

    /// The gateway lives and answers.
    pub async fn assert_alive(&mut self) {
        self.send(0, 2, b"are you there");
        assert_eq!(self.wait_for(0, PONG).await, b"are you there");
    }

    /// The VM's end is gone.
    pub fn hang_up(&mut self) {
        self.input = None;
    }

    /// Waits until the gateway has ended, and gives its exit code.
    pub async fn ended(&mut self) -> i32 {
        for _ in 0..PATIENCE.as_millis() / 10 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().expect("a signal ended the gateway");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the gateway did not end");
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads frames until the gateway has ended.
fn read_frames(mut output: ChildStdout, to: &mpsc::UnboundedSender<Frame>) {
    let mut length = [0; 4];
    while output.read_exact(&mut length).is_ok() {
        let length = u32::from_be_bytes(length) as usize;
        assert!(
            (9..=256 * 1024).contains(&length),
            "a frame of {length} bytes"
        );
        let mut frame = vec![0; length];
        if output.read_exact(&mut frame).is_err() {
            return;
        }
        let channel = u64::from_be_bytes(frame[..8].try_into().unwrap());
        let frame = Frame {
            channel,
            kind: frame[8],
            body: frame.split_off(9),
        };
        if to.send(frame).is_err() {
            return;
        }
    }
}
