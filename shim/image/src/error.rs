//! What was tried, on what, why it failed, and what to do about it.

use std::{fmt, io};

/// What kind of failure it was; the caller makes an exit code of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The disk, the network or the other side refused.
    Failed,
    /// The words or the data make no sense.
    Input,
    /// Something else is there already.
    Taken,
    /// What was named isn't there.
    Missing,
    /// Who asks isn't allowed to.
    Denied,
}

/// A failed operation.
#[derive(Clone, Debug)]
pub struct Error {
    /// Which class of failure.
    pub kind: Kind,
    /// Operation and object: "write layout/index.json".
    pub what: String,
    /// The reason.
    pub why: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure in our own words.
    pub fn new(kind: Kind, what: impl Into<String>, why: impl Into<String>) -> Error {
        Error { kind, what: what.into(), why: why.into(), hint: None }
    }

    /// Input that makes no sense.
    pub fn input(what: impl Into<String>, why: impl Into<String>) -> Error {
        Error::new(Kind::Input, what, why)
    }

    /// A failed call of the operating system.
    pub fn io(what: impl Into<String>, error: &io::Error) -> Error {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => Kind::Missing,
            io::ErrorKind::PermissionDenied => Kind::Denied,
            io::ErrorKind::AlreadyExists => Kind::Taken,
            _ => Kind::Failed,
        };
        Error::new(kind, what, io_text(error))
    }

    /// Adds what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }
}

/// The operating system's words without the number.
pub(crate) fn io_text(error: &io::Error) -> String {
    let mut text = error.to_string();
    if let Some(end) = text.rfind(" (os error") {
        text.truncate(end);
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.what, self.why)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Says what was tried when a call of the operating system fails.
pub(crate) trait Context<T> {
    /// Turns the failure into an [`Error`] whose `what` is `what()`.
    fn ctx(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn ctx(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::io(what(), &error))
    }
}
