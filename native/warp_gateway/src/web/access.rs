//! Who a client is, and whether it may come from where it comes: host, origin, token.

use super::problem::{Problem, UNAUTHORIZED, WRONG_HOST};
use crate::refused::Why;
use crate::settings::Settings;
use crate::tokens::Credential;
use http::header::{AUTHORIZATION, HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue, Uri};

/// How a socket's token is named among its protocols.
const BEARER_PROTOCOL: &str = "warp.bearer.";

/// Where a page comes from that makes a request.
#[derive(Clone, Debug)]
pub enum Origin {
    /// It is no page, or an old browser's.
    None,
    /// The origin is listed.
    Listed(HeaderValue),
    /// The origin is not listed.
    Foreign,
}

impl Origin {
    /// The origin that a request names.
    pub fn of(settings: &Settings, headers: &HeaderMap) -> Self {
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => Origin::None,
            (Some(origin), None)
                if origin
                    .to_str()
                    .is_ok_and(|origin| settings.is_origin(origin)) =>
            {
                Origin::Listed(origin.clone())
            }
            _ => Origin::Foreign,
        }
    }
}

/// The host that a request names has to be the server's: whatever names one has to name the right one.
pub fn host(settings: &Settings, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let mut named = headers.get_all(HOST).iter();
    let of_header = named.next().map(|host| host.to_str().unwrap_or_default());
    let of_target = uri.authority().map(http::uri::Authority::as_str);
    let is_named = of_header.is_some() || of_target.is_some();
    let is_right = [of_header, of_target]
        .into_iter()
        .flatten()
        .all(|host| settings.is_host(host));
    if is_named && is_right && named.next().is_none() {
        Ok(())
    } else {
        Err(WRONG_HOST.because("The host that the request names is not one of this server's."))
    }
}

/// Who a client is: nobody without a token.
pub fn credential(
    settings: &Settings,
    headers: &HeaderMap,
    is_socket: bool,
) -> Result<Option<Credential>, Problem> {
    let Some(token) = token(headers, is_socket)? else {
        return Ok(None);
    };
    match settings.tokens.find(token) {
        Some(credential) => Ok(Some(credential)),
        None => Err(UNAUTHORIZED.because(UNKNOWN)),
    }
}

/// What is said of a wrong token.
const UNKNOWN: &str = "The token is unknown, or has expired.";

/// What is said without a token.
const MISSING: &str = "The request has no token.";

/// A request without a token, which needs one.
pub fn missing() -> Problem {
    UNAUTHORIZED.because(MISSING)
}

/// The token that a request has.
fn token(headers: &HeaderMap, is_socket: bool) -> Result<Option<&str>, Problem> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    match (all.next(), all.next()) {
        (None, _) if is_socket => {
            Ok(protocols(headers).find_map(|protocol| protocol.strip_prefix(BEARER_PROTOCOL)))
        }
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str().ok().and_then(|value| value.split_once(' ')) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                Ok(Some(token.trim()))
            }
            _ => Err(UNAUTHORIZED.because("Authorization is not `Bearer TOKEN`.")),
        },
        _ => Err(UNAUTHORIZED.because("There is more than one Authorization.")),
    }
}

/// The protocols that a socket's client speaks.
pub fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether a header is there at all that was to say who the client is.
pub fn why_unauthorized(headers: &HeaderMap, is_socket: bool) -> Why {
    match token(headers, is_socket) {
        Ok(None) => Why::NoToken,
        _ => Why::UnknownToken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_in_a_header_or_among_a_sockets_protocols() {
        let headers = |pairs: &[(http::HeaderName, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(name, HeaderValue::from_static(value));
            }
            headers
        };
        let bearer = headers(&[(AUTHORIZATION, "bearer  x ")]);
        assert_eq!(token(&bearer, false).unwrap(), Some("x"));
        let protocols = headers(&[(SEC_WEBSOCKET_PROTOCOL, "warp.v1, warp.bearer.y.z")]);
        assert_eq!(token(&protocols, true).unwrap(), Some("y.z"));
        assert_eq!(token(&protocols, false).unwrap(), None);
        assert!(token(&headers(&[(AUTHORIZATION, "Basic x")]), false).is_err());
        assert!(
            token(
                &headers(&[(AUTHORIZATION, "Bearer x"), (AUTHORIZATION, "Bearer y")]),
                false
            )
            .is_err()
        );
    }
}
