//! A bucket that is open.

use crate::answer::{Answer, Failure};
use crate::seen::{Last, Seen, innermost};
use crate::settings::{Keys, Settings};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, Error, GetOptions, GetRange, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutPayload, RetryConfig,
};
use std::ops::Range;
use std::time::Duration;
use tokio::time::sleep;

/// Larger than any object of a backup: what is there is none, and is not read.
const MAX_OBJECT: u64 = 64 * 1024 * 1024;
/// How many objects one answer lists.
const PAGE: usize = 1000;
/// How often an object is created again of which the storage says that somebody else writes it, and the pause.
const CONFLICTS: u32 = 10;
/// See above.
const CONFLICT_PAUSE: Duration = Duration::from_millis(200);

/// What whoever gave the address has to know.
const NO_CONDITIONS: &str = "status 501: the storage cannot write an object only where there is none \
                             (If-None-Match); a backup needs that";

/// A bucket, or the part of one that is below a prefix.
pub struct Bucket {
    /// Makes the requests.
    store: AmazonS3,
    /// Why the last of them failed.
    last: Last,
    /// Where it is.
    settings: Settings,
    /// So that they are in no error.
    keys: Keys,
}

/// What is left of a list.
pub struct Pages {
    /// What the storage lists: all that is below the last `/`.
    objects: BoxStream<'static, object_store::Result<ObjectMeta>>,
    /// How the names begin that are wanted.
    begin: String,
}

impl Bucket {
    /// Opens a bucket, without a request to it.
    pub fn open(settings: Settings) -> Result<Self, Failure> {
        let keys = settings.keys()?;
        let last = Last::default();
        let options = ClientOptions::new()
            .with_allow_http(settings.is_plain())
            // There need be none on a machine that uses none.
            .with_no_system_certificates(settings.is_plain())
            // The time of a request is limited as a whole, with its repetitions.
            .with_timeout_disabled()
            .with_connect_timeout(Duration::from_secs(5));
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(2),
                base: 2.0,
            },
            max_retries: 5,
            retry_timeout: Duration::from_secs(10),
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&settings.bucket)
            .with_region(&settings.region)
            .with_access_key_id(&keys.id)
            .with_secret_access_key(&keys.secret)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_disable_bulk_delete(true)
            .with_client_options(options)
            .with_retry(retry)
            .with_http_connector(last.clone());
        if !settings.endpoint.is_empty() {
            builder = builder.with_endpoint(&settings.endpoint);
        }
        if let Some(token) = &keys.token {
            builder = builder.with_token(token);
        }
        match builder.build() {
            Ok(store) => Ok(Self {
                store,
                last,
                settings,
                keys,
            }),
            Err(error) => Err(Failure::Refused(keys.hidden(&innermost(&error)))),
        }
    }

    /// Writes an object that is not there, as one step of the storage.
    pub async fn create(&self, name: &str, bytes: Bytes) -> Answer {
        for _ in 0..CONFLICTS {
            match self.put(name, bytes.clone(), PutMode::Create).await {
                Ok(()) => return Answer::Done(Bytes::new()),
                Err(error) => match self.last.take() {
                    Some(Seen::Status {
                        status: 304 | 412, ..
                    }) => return Answer::Exists,
                    // Who writes it may fail yet.
                    Some(Seen::Status { status: 409, .. }) => sleep(CONFLICT_PAUSE).await,
                    Some(Seen::Status { status: 501, .. }) => {
                        return Answer::Failed(Failure::Refused(NO_CONDITIONS.into()));
                    }
                    seen => return Answer::Failed(self.failure(&error, seen)),
                },
            }
        }
        Answer::Failed(Failure::Unreachable(format!(
            "others write the object {name} all the time"
        )))
    }

    /// Writes an object, in place of one that is there.
    pub async fn replace(&self, name: &str, bytes: Bytes) -> Answer {
        match self.put(name, bytes, PutMode::Overwrite).await {
            Ok(()) => Answer::Done(Bytes::new()),
            Err(error) => Answer::Failed(self.failure(&error, self.last.take())),
        }
    }

    /// Writes an object.
    async fn put(&self, name: &str, bytes: Bytes, mode: PutMode) -> object_store::Result<()> {
        let payload = PutPayload::from_bytes(bytes);
        let path = self.path(name)?;
        self.store.put_opts(&path, payload, mode.into()).await?;
        Ok(())
    }

    /// Reads an object, or a part of it: fewer bytes at its end.
    pub async fn read(&self, name: &str, part: Option<Range<u64>>) -> Answer {
        match self.get(name, part).await {
            Ok(Some(bytes)) => Answer::Done(bytes),
            Ok(None) => Answer::Failed(Failure::Refused(format!(
                "the object {name} is larger than any of a backup"
            ))),
            Err(error) => match self.last.take() {
                Some(Seen::Status {
                    status: 404, code, ..
                }) if code != "NoSuchBucket" => Answer::NotFound,
                // The part begins behind the end.
                Some(Seen::Status { status: 416, .. }) => Answer::Done(Bytes::new()),
                seen => Answer::Failed(self.failure(&error, seen)),
            },
        }
    }

    /// `None` for an object that is too large.
    async fn get(
        &self,
        name: &str,
        part: Option<Range<u64>>,
    ) -> object_store::Result<Option<Bytes>> {
        let options = GetOptions {
            range: part.map(GetRange::Bounded),
            ..GetOptions::default()
        };
        let got = self.store.get_opts(&self.path(name)?, options).await?;
        if got.range.end - got.range.start > MAX_OBJECT {
            return Ok(None);
        }
        Ok(Some(got.bytes().await?))
    }

    /// Deletes an object, if it is there.
    pub async fn delete(&self, name: &str) -> Answer {
        let deleted = match self.path(name) {
            Ok(path) => self.store.delete(&path).await,
            Err(error) => Err(error),
        };
        match deleted {
            Ok(()) => Answer::Done(Bytes::new()),
            Err(error) => match self.last.take() {
                Some(Seen::Status {
                    status: 404, code, ..
                }) if code != "NoSuchBucket" => Answer::Done(Bytes::new()),
                seen => Answer::Failed(self.failure(&error, seen)),
            },
        }
    }

    /// Begins to list the objects whose names begin so.
    pub fn list(&self, begin: &str) -> Result<Pages, Failure> {
        let begin = match self.settings.prefix.as_str() {
            "" => begin.to_owned(),
            prefix => format!("{prefix}/{begin}"),
        };
        let folder = begin.rsplit_once('/').map_or("", |(folder, _)| folder);
        let folder = Path::parse(folder).map_err(|error| Failure::Refused(innermost(&error)))?;
        let objects = self.store.list(Some(&folder));
        Ok(Pages { objects, begin })
    }

    /// The next objects, and whether they are the last ones.
    pub async fn page(&self, pages: &mut Pages) -> Result<(Vec<(String, u64)>, bool), Failure> {
        let above = match self.settings.prefix.len() {
            0 => 0,
            length => length + 1,
        };
        let mut found = Vec::new();
        while found.len() < PAGE {
            match pages.objects.next().await {
                None => return Ok((found, true)),
                Some(Err(error)) => return Err(self.failure(&error, self.last.take())),
                Some(Ok(object)) => {
                    let name = object.location.as_ref();
                    if let (true, Some(name)) = (name.starts_with(&pages.begin), name.get(above..))
                    {
                        found.push((name.to_owned(), object.size));
                    }
                }
            }
        }
        Ok((found, false))
    }

    /// The path of an object in the bucket.
    fn path(&self, name: &str) -> object_store::Result<Path> {
        Ok(match self.settings.prefix.as_str() {
            "" => Path::parse(name)?,
            prefix => Path::parse(format!("{prefix}/{name}"))?,
        })
    }

    /// What an error means for whoever has asked.
    fn failure(&self, error: &Error, seen: Option<Seen>) -> Failure {
        match seen {
            Some(Seen::Timeout) => Failure::Timeout,
            Some(Seen::Broken(why)) => Failure::Unreachable(self.keys.hidden(&why)),
            Some(Seen::Status { status: 507, .. }) => Failure::Full,
            Some(Seen::Status {
                status,
                code,
                message,
            }) => {
                let said = [code.as_str(), message.as_str()]
                    .into_iter()
                    .filter(|text| !text.is_empty())
                    .collect::<Vec<_>>()
                    .join(": ");
                let why = self.keys.hidden(&format!("status {status} {said}"));
                if matches!(status, 408 | 429 | 500 | 502..=599) {
                    Failure::Unreachable(why.trim_end().to_owned())
                } else {
                    Failure::Refused(why.trim_end().to_owned())
                }
            }
            // A body that ended too early, or is no answer of such storage.
            None => Failure::Unreachable(self.keys.hidden(&innermost(error))),
        }
    }
}
