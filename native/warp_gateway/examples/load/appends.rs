//! Appends over some connections, each of which keeps so many calls in flight.

use std::{
    future::Future,
    ops::Range,
    time::{Duration, Instant},
};

use crate::Result;

/// How many entities the appends go to.
const ENTITIES: usize = 10_000;

/// The payload of every event.
pub const PAYLOAD: &str = r#"{"amount":5,"from":"acct-00001234","ok":true}"#;

/// A connection that has calls carried out, which are numbered from 0.
pub trait Appends: Send + 'static {
    /// Sends these calls together.
    fn send(&mut self, calls: Range<usize>) -> impl Future<Output = Result<()>> + Send;

    /// Waits for answers, and gives the numbers of the calls that were answered.
    fn answered(&mut self) -> impl Future<Output = Result<Vec<usize>>> + Send;
}

/// The entity that a call of the connection with this number appends to.
pub fn entity(connection: usize, call: usize) -> usize {
    (connection * 7919 + call * 31) % ENTITIES
}

/// Measures for some seconds, after a fifth of that to warm up, and prints calls per second and how long calls took.
pub async fn measure<C: Appends>(
    connections: Vec<C>,
    in_flight: usize,
    seconds: f64,
) -> Result<()> {
    let from = Instant::now() + Duration::from_secs_f64(seconds / 5.0);
    let end = from + Duration::from_secs_f64(seconds);
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|connection| tokio::spawn(run(connection, in_flight, from, end)))
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    times.sort_unstable();
    let at = |share: f64| {
        times
            .get((times.len() as f64 * share) as usize)
            .copied()
            .unwrap_or_default()
    };
    println!(
        r#"{{"calls": {}, "per_second": {:.0}, "p50_us": {}, "p99_us": {}}}"#,
        times.len(),
        times.len() as f64 / seconds,
        at(0.5),
        at(0.99)
    );
    Ok(())
}

/// How many microseconds each call took that was answered between the two times.
async fn run<C: Appends>(
    mut connection: C,
    in_flight: usize,
    from: Instant,
    end: Instant,
) -> Result<Vec<u32>> {
    let mut times = Vec::new();
    let mut sent: Vec<Instant> = Vec::new();
    let mut under_way = 0;
    while Instant::now() < end || under_way > 0 {
        if Instant::now() < end && under_way <= in_flight / 2 {
            let calls = sent.len()..sent.len() + in_flight - under_way;
            under_way = in_flight;
            sent.resize(calls.end, Instant::now());
            connection.send(calls).await?;
        }
        let answered = connection.answered().await?;
        let now = Instant::now();
        under_way -= answered.len();
        if now < from || now >= end {
            continue;
        }
        for call in answered {
            let begun = sent.get(call).ok_or("an answer to nothing")?;
            times.push(u32::try_from((now - *begun).as_micros())?);
        }
    }
    Ok(times)
}
