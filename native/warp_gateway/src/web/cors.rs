//! What browsers have to know: headers of every answer, and the question that they ask before a request.

use super::access::Origin;
use super::answer::Answer;
use super::problem::{Problem, WRONG_ORIGIN};
use crate::settings::Settings;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

/// Methods that pages may use.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, DELETE");
/// Headers that pages may send.
const SENT: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, If-None-Match, Last-Event-ID");
/// Headers that pages may read.
const READ: HeaderValue = HeaderValue::from_static(
    "Stream-Next-Offset, Stream-Cursor, Stream-Up-To-Date, ETag, Retry-After",
);
/// Who may embed an answer.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Adds what every answer has.
pub fn add_headers(settings: &Settings, origin: &Origin, headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    let policy = if let Origin::Listed(_) = origin {
        "cross-origin"
    } else {
        "same-origin"
    };
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static(policy));
    if settings.has_origins() {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    if let Origin::Listed(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, READ);
    }
}

/// Answers a browser's question whether a page may make a request.
pub fn preflight(origin: &Origin) -> Result<Response<Answer>, Problem> {
    let Origin::Listed(_) = origin else {
        return Err(WRONG_ORIGIN.because("OPTIONS is for pages of listed origins only."));
    };
    let mut response = Response::new(Answer::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, SENT);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    Ok(response)
}
