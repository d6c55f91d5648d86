//! HTTP: a request is checked, handed to the VM, and answered.

mod access;
mod answer;
mod cors;
mod exchange;
mod flight;
mod problem;
mod request;
mod target;
mod upload;

pub use answer::Answer;
pub use exchange::Reset;
pub use problem::{BAD_REQUEST, OVERLOADED, Problem, TOO_MANY_REQUESTS};

use crate::gateway::Gateway;
use crate::refused::Why;
use crate::settings::Settings;
use crate::socket;
use crate::watch::Watch;
use access::Origin;
use http::header::{CONTENT_LENGTH, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use hyper::body::Incoming;
use std::sync::Arc;

pub use access::protocols;
pub use request::client_pairs;

/// Where sockets are opened.
const SOCKET_PATH: [&str; 2] = ["v1", "socket"];

/// One connection, as its requests see it.
pub struct Client {
    /// What all share.
    pub gateway: Arc<Gateway>,
    /// The connection's watch.
    pub watch: Arc<Watch>,
    /// Whether it speaks TLS.
    pub is_tls: bool,
}

impl Client {
    /// Counts that something was refused to this client.
    pub fn refuse(&self, why: Why) {
        self.gateway.refuse(why, self.watch.peer.ip());
    }
}

/// Why a request is not answered by the VM.
pub enum Stop {
    /// It is refused.
    Problem(Problem),
    /// The connection or the stream is reset.
    Reset,
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Stop::Problem(problem)
    }
}

impl From<Reset> for Stop {
    fn from(_: Reset) -> Self {
        Stop::Reset
    }
}

/// Answers a request.
pub async fn answer(
    client: Arc<Client>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Reset> {
    let busy = client.watch.busy(request.version() == Version::HTTP_2);
    let settings = client.gateway.settings();
    let is_head = request.method() == Method::HEAD;
    let origin = Origin::of(&settings, request.headers());
    let mut response = match respond(&client, &settings, &origin, request).await {
        Ok(response) => response,
        Err(Stop::Problem(problem)) => problem.response(),
        Err(Stop::Reset) => return Err(Reset),
    };
    if is_head {
        without_body(&mut response);
    }
    cors::add_headers(&settings, &origin, response.headers_mut());
    response.body_mut().keep(busy);
    Ok(response)
}

/// Checks a request and gets its answer.
async fn respond(
    client: &Arc<Client>,
    settings: &Arc<Settings>,
    origin: &Origin,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Stop> {
    let headers = request.headers();
    access::host(settings, request.uri(), headers)
        .inspect_err(|_| client.refuse(Why::WrongHost))?;
    if let Origin::Foreign = origin {
        client.refuse(Why::WrongOrigin);
        return Err(problem::WRONG_ORIGIN
            .because("The origin is not listed.")
            .into());
    }
    if request.method() == Method::OPTIONS {
        return cors::preflight(origin).map_err(|problem| {
            client.refuse(Why::WrongOrigin);
            Stop::Problem(problem)
        });
    }
    check_size(&request, settings)?;
    let path = target::path(request.uri().path())?;
    let is_socket = path == SOCKET_PATH && request.method() == Method::GET;
    let credential = access::credential(settings, headers, is_socket)
        .and_then(|credential| match credential {
            None if !is_public(settings, request.method(), &path) => Err(access::missing()),
            credential => Ok(credential),
        })
        .inspect_err(|_| client.refuse(access::why_unauthorized(headers, is_socket)))?;
    if let Some(credential) = credential.as_ref().filter(|_| is_socket) {
        if !headers.contains_key(UPGRADE) {
            return Err(BAD_REQUEST
                .because("This path is for WebSockets only.")
                .into());
        }
        return Ok(socket::upgrade(
            client,
            settings,
            credential.clone(),
            request,
        )?);
    }
    request::exchange(client, settings, path, credential, request).await
}

/// Whether a request needs no token.
fn is_public(settings: &Settings, method: &Method, path: &[String]) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && settings.is_public(path)
}

/// The head of a request has to be within its limits.
fn check_size(request: &Request<Incoming>, settings: &Settings) -> Result<(), Problem> {
    let limits = &settings.limits;
    let bytes = |headers: &HeaderMap| -> usize {
        headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum()
    };
    let target = request
        .uri()
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if request.headers().len() > limits.headers || bytes(request.headers()) + target > limits.header
    {
        return Err(problem::HEADERS_TOO_LARGE.because(format!(
            "A request may have {} headers, and {} bytes of them and of its target.",
            limits.headers, limits.header
        )));
    }
    Ok(())
}

/// What HEAD gets: what GET would, without the body.
fn without_body(response: &mut Response<Answer>) {
    if let Some(length) = response.body().length().filter(|length| *length > 0) {
        response
            .headers_mut()
            .entry(CONTENT_LENGTH)
            .or_insert(HeaderValue::from(length));
    }
    response.body_mut().clear();
}
