//! The body of a request, read within its limits of size and time.

use super::flight::Flight;
use super::problem::{
    BAD_JSON, BAD_REQUEST, BODY_TOO_LARGE, NUMBER_TOO_LARGE, Problem, REQUEST_TIMEOUT,
    UNSUPPORTED_MEDIA_TYPE,
};
use crate::config::Limits;
use crate::json::{self, Reason};
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use std::time::Duration;
use tokio::time::Instant;

/// Reads a body. It has to be said to be JSON, unless there is none.
pub async fn read(
    mut body: Incoming,
    headers: &HeaderMap,
    limits: &Limits,
    flight: &mut Flight,
) -> Result<Bytes, Problem> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let too_large = || BODY_TOO_LARGE.because(format!("A body may have {} bytes.", limits.body));
    let announced = body.size_hint().exact().unwrap_or(0);
    if usize::try_from(announced).is_ok_and(|bytes| bytes > limits.body) {
        return Err(too_large());
    }
    if !is_json(headers) {
        return Err(UNSUPPORTED_MEDIA_TYPE
            .because("The request has a body, and its Content-Type is another."));
    }
    let begin = Instant::now();
    let (mut first, mut gathered) = (Bytes::new(), Vec::new());
    let mut length = 0;
    loop {
        let deadline = begin + Duration::from_millis(limits.body_time(length));
        let frame = tokio::time::timeout_at(deadline, body.frame());
        let frame = frame
            .await
            .map_err(|_| REQUEST_TIMEOUT.because("The body came too slowly."))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| BAD_REQUEST.because("The body cannot be read."))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length += data.len();
        if length > limits.body {
            return Err(too_large());
        }
        flight.take(data.len())?;
        if length == data.len() {
            first = data;
        } else {
            gathered.extend_from_slice(&std::mem::take(&mut first));
            gathered.extend_from_slice(&data);
        }
    }
    Ok(if gathered.is_empty() {
        first
    } else {
        gathered.into()
    })
}

/// Whether a body is said to be JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media = value.split(';').next().unwrap_or_default();
    media.trim().eq_ignore_ascii_case("application/json")
}

/// Writes a body as a term.
pub fn write(body: &[u8], out: &mut Vec<u8>) -> Result<(), Problem> {
    json::reading(body.len(), || {
        let text =
            std::str::from_utf8(body).map_err(|_| BAD_JSON.because("The body is not UTF-8."))?;
        json::body(text, out).map_err(|fault| {
            let kind = if fault.reason == Reason::NumberTooLarge {
                &NUMBER_TOO_LARGE
            } else {
                &BAD_JSON
            };
            kind.because(format!("The body is refused: {fault}."))
        })
    })
}
