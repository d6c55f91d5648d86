//! A request as the VM gets it, and the answer that the VM gives.

use super::answer::{Answer, Streamed};
use super::exchange::Exchange;
use super::flight::Flight;
use super::problem::{BAD_REQUEST, INTERNAL, Problem};
use super::{Client, Stop, target, upload};
use crate::etf;
use crate::frames::{Head, Kind};
use crate::refused::Why;
use crate::settings::Settings;
use crate::tokens::Credential;
use http::header::{ACCEPT, CONTENT_TYPE, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use std::future::poll_fn;
use std::sync::Arc;

/// The headers that the VM gets.
const HEADERS: [HeaderName; 4] = [
    ACCEPT,
    CONTENT_TYPE,
    IF_NONE_MATCH,
    HeaderName::from_static("last-event-id"),
];

/// Hands a request to the VM, and gives its answer.
pub async fn exchange(
    client: &Arc<Client>,
    settings: &Settings,
    path: Vec<String>,
    credential: Option<Credential>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Stop> {
    let gateway = &client.gateway;
    let token = credential.as_ref().map(|credential| &credential.token);
    let mut flight = Flight::begin(gateway, token).inspect_err(|_| client.refuse(Why::TooMany))?;
    let (head, body) = request.into_parts();
    let body = upload::read(body, &head.headers, &settings.limits, &mut flight).await?;
    let term = term(client, &path, credential.as_ref(), &head, &body)?;
    drop(body);

    let exchange = Arc::new(Exchange::new(credential));
    let open = gateway.channels.open(
        gateway.channels.number(),
        Arc::clone(&exchange) as _,
        &gateway.link,
    );
    gateway
        .link
        .send_term(open.number(), Kind::Request, &term)
        .await;
    drop(term);
    let head = poll_fn(|cx| exchange.poll_head(cx)).await?;
    let stream = Streamed {
        exchange,
        open,
        link: Arc::clone(&gateway.link),
        due: 0,
    };
    Ok(response(head, stream)?.map(|answer| answer.hold(flight)))
}

/// The term of a request.
fn term(
    client: &Client,
    path: &[String],
    credential: Option<&Credential>,
    head: &http::request::Parts,
    body: &[u8],
) -> Result<Vec<u8>, Problem> {
    let mut out = Vec::with_capacity(512 + body.len());
    etf::version(&mut out);
    let map = etf::map_begin(&mut out);
    let mut pairs = 6;
    pair(&mut out, "method", head.method.as_str());
    etf::binary(&mut out, b"path");
    list(&mut out, path, |out, segment| {
        etf::binary(out, segment.as_bytes())
    });
    etf::binary(&mut out, b"query");
    let query = target::query(head.uri.query().unwrap_or_default())?;
    list(&mut out, &query, |out, (key, value)| {
        etf::tuple(out, 2);
        etf::binary(out, key.as_bytes());
        etf::binary(out, value.as_bytes());
    });
    headers(&mut out, &head.headers)?;
    pairs += client_pairs(&mut out, client, credential);
    etf::binary(&mut out, b"tls");
    etf::boolean(&mut out, client.is_tls);
    if !body.is_empty() {
        etf::binary(&mut out, b"body");
        upload::write(body, &mut out)?;
        pairs += 1;
    }
    etf::map_end(&mut out, map, pairs);
    Ok(out)
}

/// Writes who a client is: `token`, `peer` and perhaps `claims`. Gives how many pairs there are beside `token`.
pub fn client_pairs(out: &mut Vec<u8>, client: &Client, credential: Option<&Credential>) -> usize {
    pair(
        out,
        "token",
        credential.map_or("", |credential| &credential.token.id),
    );
    pair(out, "peer", &client.watch.peer.to_string());
    match credential.and_then(Credential::claims) {
        Some(claims) => {
            pair(out, "claims", claims);
            2
        }
        None => 1,
    }
}

/// Writes a key and a text.
fn pair(out: &mut Vec<u8>, key: &str, value: &str) {
    etf::binary(out, key.as_bytes());
    etf::binary(out, value.as_bytes());
}

/// Writes a list.
fn list<T>(out: &mut Vec<u8>, elements: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    let mark = etf::list_begin(out);
    elements.iter().for_each(|element| write(out, element));
    etf::list_end(out, mark, elements.len());
}

/// Writes the headers that the VM gets. What stands several times is one list.
fn headers(out: &mut Vec<u8>, headers: &HeaderMap) -> Result<(), Problem> {
    etf::binary(out, b"headers");
    let map = etf::map_begin(out);
    let mut pairs = 0;
    for name in &HEADERS {
        let values = headers
            .get_all(name)
            .iter()
            .map(HeaderValue::to_str)
            .collect::<Result<Vec<_>, _>>();
        let values =
            values.map_err(|_| BAD_REQUEST.because(format!("The header {name} is no text.")))?;
        if !values.is_empty() {
            pair(out, name.as_str(), &values.join(", "));
            pairs += 1;
        }
    }
    etf::map_end(out, map, pairs);
    Ok(())
}

/// The response of a head from the VM. What the VM sends more is the stream's.
fn response(head: Head, stream: Streamed) -> Result<Response<Answer>, Problem> {
    let answer = if head.last {
        Answer::whole(head.body)
    } else {
        Answer::streamed(head.body, stream)
    };
    let mut response = Response::new(answer);
    let wrong = |_| INTERNAL.because("The answer cannot be sent.");
    *response.status_mut() = StatusCode::from_u16(head.status).map_err(|_| wrong(()))?;
    for (name, value) in head.headers {
        let name = HeaderName::from_bytes(&name).map_err(|_| wrong(()))?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| wrong(()))?;
        response.headers_mut().append(name, value);
    }
    Ok(response)
}
