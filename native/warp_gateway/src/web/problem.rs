//! What the gateway answers when it refuses a request: problem details, as the VM's.

use super::answer::Answer;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use std::borrow::Cow;

/// A request that is refused.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What kind of problem it is.
    kind: &'static Kind,
    /// What happened.
    detail: Cow<'static, str>,
}

/// A kind of problem.
#[derive(Debug)]
pub struct Kind {
    /// The name that clients compare.
    code: &'static str,
    /// The status.
    status: StatusCode,
    /// What it is.
    title: &'static str,
    /// What to do.
    advice: &'static str,
    /// Whether the same request may work later.
    is_retryable: bool,
}

/// Defines kinds of problems.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident =
        $code:literal, $status:ident, $retryable:literal, $title:literal, $advice:literal;)*) => {
        $($(#[$doc])* pub static $name: Kind = Kind {
            code: $code,
            status: StatusCode::$status,
            title: $title,
            advice: $advice,
            is_retryable: $retryable,
        };)*
    };
}

kinds! {
    /// The request makes no sense.
    BAD_REQUEST = "bad_request", BAD_REQUEST, false, "The request makes no sense", "Correct the request.";
    /// The body is no JSON.
    BAD_JSON = "bad_json", BAD_REQUEST, false, "The body is no JSON", "Correct the body.";
    /// A number is too large.
    NUMBER_TOO_LARGE = "number_too_large", BAD_REQUEST, false, "A number is too large",
        "Send integers beyond 64 bits and floats beyond 64 bits as text.";
    /// No token, or a wrong one.
    UNAUTHORIZED = "unauthorized", UNAUTHORIZED, false, "A token is missing or wrong",
        "Send a valid token as `Authorization: Bearer TOKEN`.";
    /// Another origin.
    WRONG_ORIGIN = "wrong_origin", FORBIDDEN, false, "Pages of this origin may not call",
        "List the origin in the server's options.";
    /// Another host.
    WRONG_HOST = "wrong_host", MISDIRECTED_REQUEST, false, "The request is for another host",
        "List the host in the server's options.";
    /// The body took too long.
    REQUEST_TIMEOUT = "request_timeout", REQUEST_TIMEOUT, true, "The request took too long", "Send it faster.";
    /// The body is too large.
    BODY_TOO_LARGE = "body_too_large", PAYLOAD_TOO_LARGE, false, "The body is too large", "Send less at once.";
    /// The body is not said to be JSON.
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, false, "The body is not JSON",
        "Send `Content-Type: application/json`.";
    /// The head is too large.
    HEADERS_TOO_LARGE = "headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, false, "The headers are too large",
        "Send fewer or shorter headers.";
    /// Too much at once by this token.
    TOO_MANY_REQUESTS = "too_many_requests", TOO_MANY_REQUESTS, true, "Too much at once with this token",
        "Wait for answers before sending more.";
    /// Too much at once by all.
    OVERLOADED = "overloaded", SERVICE_UNAVAILABLE, true, "The server has too much to do", "Try again later.";
    /// The gateway and the VM do not fit together.
    INTERNAL = "internal", INTERNAL_SERVER_ERROR, false, "The server failed", "Tell who runs the server.";
}

impl Kind {
    /// A problem of this kind.
    pub fn because(&'static self, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem {
            kind: self,
            detail: detail.into(),
        }
    }
}

impl Problem {
    /// The response that says so.
    pub fn response(&self) -> Response<Answer> {
        let Kind {
            code,
            status,
            title,
            advice,
            is_retryable,
        } = *self.kind;
        let body = serde_json::json!({
            "type": format!("urn:warp:problem:{code}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.detail,
            "advice": advice,
            "code": code,
            "retryable": is_retryable,
            "parameters": {},
        });
        let mut response = Response::new(Answer::whole(body.to_string().into()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}
