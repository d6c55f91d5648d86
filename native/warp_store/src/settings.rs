//! Which bucket is opened, how, and with which keys.

use crate::answer::Failure;
use std::env;

/// What the VM says of the bucket. It checks all of that itself.
#[derive(Debug)]
pub struct Settings {
    /// The name of the bucket.
    pub bucket: String,
    /// What the names of all objects begin with, before a `/`; or nothing.
    pub prefix: String,
    /// The address of the storage; empty for that of AWS.
    pub endpoint: String,
    /// The region, which is part of each signature.
    pub region: String,
    /// The variable that has the id of the key.
    pub access_key_id: String,
    /// The variable that has the key.
    pub secret_access_key: String,
    /// The variable that has the token of a session; empty for none.
    pub session_token: String,
    /// Whether a session token that is not there is an error.
    pub needs_token: bool,
}

/// The keys to a bucket. Deliberately without `Debug`.
pub struct Keys {
    /// The id of the key.
    pub id: String,
    /// The key.
    pub secret: String,
    /// The token of a session, if there is one.
    pub token: Option<String>,
}

impl Settings {
    /// Whether the storage is spoken to without TLS, as only an address can say.
    pub fn is_plain(&self) -> bool {
        self.endpoint.starts_with("http://")
    }

    /// The keys, from the environment. The error names the variable that is not there.
    pub fn keys(&self) -> Result<Keys, Failure> {
        let token = match self.session_token.as_str() {
            "" => None,
            name if self.needs_token => Some(variable(name)?),
            name => variable(name).ok(),
        };
        Ok(Keys {
            id: variable(&self.access_key_id)?,
            secret: variable(&self.secret_access_key)?,
            token,
        })
    }
}

/// The text of a variable that has some.
fn variable(name: &str) -> Result<String, Failure> {
    match env::var(name) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Ok(_) => Err(Failure::Refused(format!("the variable {name} is empty"))),
        Err(env::VarError::NotPresent) => Err(Failure::Refused(format!(
            "the environment has no variable {name}"
        ))),
        Err(env::VarError::NotUnicode(_)) => {
            Err(Failure::Refused(format!("the variable {name} is no text")))
        }
    }
}

impl Keys {
    /// A text of somebody else, without what it may repeat of the keys.
    pub fn hidden(&self, text: &str) -> String {
        let mut hidden = text.to_owned();
        let keys = [Some(&self.secret), self.token.as_ref(), Some(&self.id)];
        for key in keys.into_iter().flatten() {
            hidden = hidden.replace(key.as_str(), "...");
        }
        hidden
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_loses_the_keys_that_it_repeats() {
        let keys = Keys {
            id: "AKIA1".into(),
            secret: "s3cr3t/x".into(),
            token: Some("t0ken".into()),
        };
        assert_eq!(
            keys.hidden("no s3cr3t/x of AKIA1 with t0ken"),
            "no ... of ... with ..."
        );
    }

    #[test]
    fn a_variable_that_is_missing_is_named() {
        let Err(Failure::Refused(why)) = variable("WARP_NO_SUCH_VARIABLE") else {
            unreachable!()
        };
        assert!(why.contains("WARP_NO_SUCH_VARIABLE"));
    }
}
