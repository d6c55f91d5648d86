//! Does what is asked for, one request after the other.

use crate::answer::{Answer, Failure};
use crate::bucket::Bucket;
use crate::request::{self, Action};
use crate::status;
use bytes::Bytes;
use std::process::exit;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

/// Answers requests until there are no more.
pub async fn all(mut requests: Receiver<Bytes>) {
    let mut bucket = None;
    while let Some(frame) = requests.recv().await {
        let Some(request) = request::parse(frame) else {
            exit(status::FAILED);
        };
        match (&bucket, request.action) {
            (None, Action::Open(settings)) => match Bucket::open(settings) {
                Ok(opened) => {
                    bucket = Some(opened);
                    Answer::Done(Bytes::new()).send();
                }
                Err(failure) => Answer::Failed(failure).send(),
            },
            (None, _) | (Some(_), Action::Open(_)) => exit(status::FAILED),
            (Some(bucket), Action::List(begin)) => list(bucket, &begin, request.timeout).await,
            (Some(bucket), action) => {
                let done = timeout(request.timeout, one(bucket, action)).await;
                done.unwrap_or(Answer::Failed(Failure::Timeout)).send();
            }
        }
    }
}

/// Does what has one answer.
async fn one(bucket: &Bucket, action: Action) -> Answer {
    match action {
        Action::Create(name, bytes) => bucket.create(&name, bytes).await,
        Action::Replace(name, bytes) => bucket.replace(&name, bytes).await,
        Action::Read(name) => bucket.read(&name, None).await,
        Action::ReadPart(name, offset, length) => {
            let end = offset.saturating_add(length.into());
            bucket.read(&name, Some(offset..end)).await
        }
        Action::Delete(name) => bucket.delete(&name).await,
        Action::Open(_) | Action::List(_) => exit(status::FAILED),
    }
}

/// Lists objects, in as many answers as the storage has pages. Each page may take the time of a request.
async fn list(bucket: &Bucket, begin: &str, limit: Duration) {
    let mut pages = match bucket.list(begin) {
        Ok(pages) => pages,
        Err(failure) => return Answer::Failed(failure).send(),
    };
    loop {
        match timeout(limit, bucket.page(&mut pages)).await {
            Err(_) => return Answer::Failed(Failure::Timeout).send(),
            Ok(Err(failure)) => return Answer::Failed(failure).send(),
            Ok(Ok((objects, false))) => Answer::Part(objects).send(),
            Ok(Ok((objects, true))) => return Answer::Last(objects).send(),
        }
    }
}
