//! Why something failed, in words.

use std::error::Error as StdError;
use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::sync::Arc;

/// Why something failed, in words, and the error of SQLite or of the operating system that it comes
/// from, if it comes from one.
#[derive(Debug, Clone)]
pub struct Reason {
    text: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Reason {
    /// The same reason, of the file at `path`.
    pub fn at(self, path: &Path) -> Self {
        Self {
            text: format!("{}: {}", path.display(), self.text),
            ..self
        }
    }

    /// The words of an error that it comes from.
    pub fn of(error: impl StdError + Send + Sync + 'static) -> Self {
        Self {
            text: error.to_string(),
            source: Some(Arc::new(error)),
        }
    }

    /// The same source in other words.
    pub fn reworded(self, text: String) -> Self {
        Self { text, ..self }
    }

    /// The error that it comes from, if it comes from one.
    pub fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }

    /// The words.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl<T: Into<String>> From<T> for Reason {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            source: None,
        }
    }
}

impl Display for Reason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a panic said.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown panic".into())
}
