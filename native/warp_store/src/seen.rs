//! Notes why the last request by HTTP failed, which `object_store` keeps in texts.

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

/// More than the storage says of an error; the rest is not read.
const MAX_ERROR: usize = 64 * 1024;

/// How a request by HTTP failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// With an answer: its status, and what its body says.
    Status {
        /// The status of HTTP.
        status: u16,
        /// The storage's own name for it, such as `NoSuchBucket`, or nothing.
        code: String,
        /// What it says to people, or nothing.
        message: String,
    },
    /// Without an answer, after too long.
    Timeout,
    /// Without an answer.
    Broken(String),
}

/// What was seen last.
#[derive(Clone, Debug, Default)]
pub struct Last(Arc<Mutex<Option<Seen>>>);

impl Last {
    /// Takes what was seen since it was taken last.
    pub fn take(&self) -> Option<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Notes what a request came to.
    fn put(&self, seen: Option<Seen>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

impl HttpConnector for Last {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Noting {
            client: ReqwestConnector::default().connect(options)?,
            last: self.clone(),
        }))
    }
}

/// A client that notes failures.
#[derive(Debug)]
struct Noting {
    /// Makes the requests.
    client: HttpClient,
    /// Where failures are noted.
    last: Last,
}

#[async_trait]
impl HttpService for Noting {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        match self.client.execute(request).await {
            Ok(response) if response.status().is_success() => {
                self.last.put(None);
                Ok(response)
            }
            Ok(response) => {
                let (parts, body) = response.into_parts();
                let bytes = match Limited::new(body, MAX_ERROR).collect().await {
                    Ok(body) => body.to_bytes(),
                    Err(_) => Bytes::new(),
                };
                let text = String::from_utf8_lossy(&bytes);
                self.last.put(Some(Seen::Status {
                    status: parts.status.as_u16(),
                    code: element(&text, "Code"),
                    message: element(&text, "Message"),
                }));
                Ok(HttpResponse::from_parts(parts, bytes.into()))
            }
            Err(error) => {
                self.last.put(Some(match error.kind() {
                    HttpErrorKind::Timeout => Seen::Timeout,
                    _ => Seen::Broken(innermost(&error)),
                }));
                Err(error)
            }
        }
    }
}

/// What an error comes from, such as `Connection refused`.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// The text of the first element of that name, in the XML of an error; nothing where there is none.
fn element(xml: &str, name: &str) -> String {
    let text = xml
        .split_once(&format!("<{name}>"))
        .and_then(|(_, rest)| rest.split_once(&format!("</{name}>")))
        .map_or("", |(text, _)| text);
    text.chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect::<String>()
        .replace("&apos;", "'")
        .replace("&quot;", "\"")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_found_or_is_nothing() {
        let xml = "<Error>\n<Code>NoSuchBucket</Code>\n<Message>It&apos;s gone</Message></Error>";
        assert_eq!(element(xml, "Code"), "NoSuchBucket");
        assert_eq!(element(xml, "Message"), "It's gone");
        assert_eq!(element(xml, "Resource"), "");
        assert_eq!(element("<Code>never ends", "Code"), "");
    }
}
