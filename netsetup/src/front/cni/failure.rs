//! Errors as CNI writes them down: a code, a message, details.

use serde_json::{Map, Value, json};

use super::pretty;
use crate::error::{Error, Kind};

/// The specification's codes, and those of our own.
pub(super) mod code {
    /// The configuration's version is not one that the plugin, or the verb, knows.
    pub(crate) const VERSION: u32 = 1;
    /// A key of the configuration asks for what can't be done.
    pub(crate) const UNSUPPORTED: u32 = 2;
    /// The container isn't there; the runtime has nothing to clean up.
    pub(crate) const NO_CONTAINER: u32 = 3;
    /// A variable of the environment is missing or wrong.
    pub(crate) const ENVIRONMENT: u32 = 4;
    /// stdin could not be read.
    pub(crate) const IO: u32 = 5;
    /// What came on stdin is no JSON, or not of the right form.
    pub(crate) const DECODE: u32 = 6;
    /// The configuration makes no sense.
    pub(crate) const CONFIG: u32 = 7;
    /// Something is busy: the same call may work later.
    pub(crate) const TRY_AGAIN: u32 = 11;
    /// STATUS: an ADD can't be served.
    pub(crate) const UNAVAILABLE: u32 = 50;
    /// The same, and pods that are attached may have lost connections.
    pub(crate) const LIMITED: u32 = 51;
    /// From here on the codes are a plugin's own: ours are this and the exit code that
    /// netsetup has by hand.
    pub(crate) const OWN: u32 = 100;
}

/// What is printed.
pub(super) struct Answer(pub(super) Vec<u8>);

/// A call that failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// In our words.
    Ours {
        /// The code.
        code: u32,
        /// In short.
        msg: String,
        /// More of it.
        details: Option<String>,
    },
    /// What a delegated plugin printed, word for word.
    Theirs(Vec<u8>),
}

impl Failure {
    pub(super) fn new(code: u32, msg: impl Into<String>) -> Failure {
        Failure::Ours { code, msg: msg.into(), details: None }
    }

    pub(super) fn details(self, more: impl Into<String>) -> Failure {
        match self {
            Failure::Ours { code, msg, .. } => {
                Failure::Ours { code, msg, details: Some(more.into()) }
            }
            theirs => theirs,
        }
    }

    /// An error under this code.
    pub(super) fn of(code: u32, error: &Error) -> Failure {
        let mut plain = error.clone();
        let hint = plain.hint.take();
        Failure::Ours { code, msg: plain.to_string(), details: hint }
    }

    fn config_code(error: &Error) -> u32 {
        match error.kind {
            Kind::Unsupported => code::UNSUPPORTED,
            // Every fault begins with the way to the value, and this one leads elsewhere.
            _ if error.why.starts_with("CNI_ARGS") => code::ENVIRONMENT,
            _ => code::CONFIG,
        }
    }

    /// An error of the configuration.
    pub(super) fn config(error: &Error) -> Failure {
        Failure::of(Failure::config_code(error), error)
    }

    pub(super) fn to_answer(&self, version: Option<&str>) -> Answer {
        match self {
            Failure::Theirs(bytes) => Answer(bytes.clone()),
            Failure::Ours { code, msg, details } => {
                let mut text = Map::new();
                if let Some(version) = version {
                    text.insert("cniVersion".into(), json!(version));
                }
                text.insert("code".into(), json!(code));
                text.insert("msg".into(), json!(msg));
                if let Some(details) = details {
                    text.insert("details".into(), json!(details));
                }
                Answer(pretty(&Value::Object(text)))
            }
        }
    }
}

/// What a verb could not do.
impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let busy = error.errno.is_some_and(|e| e == libc::EAGAIN || e == libc::EWOULDBLOCK);
        let code = match error.kind {
            Kind::Input => code::CONFIG,
            Kind::Interrupted(_) => code::TRY_AGAIN,
            _ if busy => code::TRY_AGAIN,
            kind => code::OWN + kind.exit_code().unsigned_abs(),
        };
        Failure::of(code, &error)
    }
}
