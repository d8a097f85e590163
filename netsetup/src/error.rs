//! One error type for the whole of netsetup: what was tried, on what, why the
//! kernel refused, and what to do about it where that is known.
//!
//! ```text
//! cannot add route default via 10.1.0.1 dev eth0 in the pod: Network is
//! unreachable (netlink: Nexthop has invalid gateway)
//! ```

use std::{fmt, io};

/// What kind of failure it was; each kind is one documented exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The kernel or the file system refused. Exit code 1.
    Failed,
    /// The words, the configuration or the state on stdin make no sense. Exit code 2.
    Input,
    /// `check` found differences. Exit code 3.
    Differs,
    /// Somebody else has it: a port, a name, an address, a subnet, or none is left. Exit code 4.
    Taken,
    /// A network, namespace, process or attachment that isn't there. Exit code 5.
    Missing,
    /// Permission is missing. Exit code 6.
    Denied,
    /// This kernel lacks a feature. Exit code 7.
    Unsupported,
    /// SIGINT or SIGTERM came and all was rolled back. Exit code 128 + the signal.
    Interrupted(i32),
}

impl Kind {
    /// The exit code of a program that ends with this kind of failure.
    pub fn exit_code(self) -> i32 {
        match self {
            Kind::Failed => 1,
            Kind::Input => 2,
            Kind::Differs => 3,
            Kind::Taken => 4,
            Kind::Missing => 5,
            Kind::Denied => 6,
            Kind::Unsupported => 7,
            Kind::Interrupted(signal) => 128 + signal,
        }
    }

    /// The kind that an errno means when nothing more is known.
    pub fn of_errno(errno: i32) -> Kind {
        match errno {
            libc::EPERM | libc::EACCES => Kind::Denied,
            libc::EEXIST | libc::EBUSY | libc::EADDRINUSE => Kind::Taken,
            libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::ENXIO => Kind::Missing,
            libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ENOSYS => {
                Kind::Unsupported
            }
            _ => Kind::Failed,
        }
    }
}

/// A failed operation, in the words a person needs.
#[derive(Clone, Debug)]
pub struct Error {
    /// Which class of failure, and so which exit code.
    pub kind: Kind,
    /// Operation and object: "add route default via 10.1.0.1 dev eth0 in the pod".
    pub what: String,
    /// The reason: the errno's text, or our own words.
    pub why: String,
    /// errno, where the kernel gave one.
    pub errno: Option<i32>,
    /// The kernel's extended-ack text.
    pub extack: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure in our own words.
    pub fn new(kind: Kind, what: impl Into<String>, why: impl Into<String>) -> Error {
        Error { kind, what: what.into(), why: why.into(), errno: None, extack: None, hint: None }
    }

    /// Input that makes no sense; `what` names it, `why` says what is wrong with it.
    pub fn input(what: impl Into<String>, why: impl Into<String>) -> Error {
        Error::new(Kind::Input, what, why)
    }

    /// A failed system call: `what` is operation and object.
    pub fn errno(what: impl Into<String>, errno: i32) -> Error {
        let why = errno_text(errno);
        Error { errno: Some(errno), ..Error::new(Kind::of_errno(errno), what, why) }
    }

    /// The same from an `io::Error`.
    pub fn io(what: impl Into<String>, error: &io::Error) -> Error {
        match error.raw_os_error() {
            Some(errno) => Error::errno(what, errno),
            None => Error::new(Kind::Failed, what, error.to_string()),
        }
    }

    /// Adds what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// Changes the class of failure.
    pub fn kind(mut self, kind: Kind) -> Error {
        self.kind = kind;
        self
    }

    /// Adds the kernel's own reason.
    pub fn extack(mut self, text: Option<String>) -> Error {
        self.extack = text.filter(|t| !t.is_empty());
        self
    }

    /// Whether the kernel said exactly this errno.
    pub fn is(&self, errno: i32) -> bool {
        self.errno == Some(errno)
    }
}

/// The text for an errno as `ip`, `nft` and all else on a host print it, without the number.
fn errno_text(errno: i32) -> String {
    if let Some((_, text)) = of_glibc().iter().find(|(number, _)| *number == errno) {
        return (*text).to_owned();
    }
    let text = io::Error::from_raw_os_error(errno).to_string();
    match text.rfind(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// The texts to use instead of the C library's own.
fn of_glibc() -> &'static [(i32, &'static str)] {
    if cfg!(target_env = "gnu") { &[] } else { OF_GLIBC }
}

/// Texts of glibc's strerror(3) where musl, which releases have, says something else: one
/// failure has one text, whichever build ran into it.
const OF_GLIBC: &[(i32, &str)] = &[
    (libc::EIO, "Input/output error"),
    (libc::ENOMEM, "Cannot allocate memory"),
    (libc::EBUSY, "Device or resource busy"),
    (libc::EXDEV, "Invalid cross-device link"),
    (libc::EMFILE, "Too many open files"),
    (libc::ENOTTY, "Inappropriate ioctl for device"),
    (libc::ESPIPE, "Illegal seek"),
    (libc::EDOM, "Numerical argument out of domain"),
    (libc::ERANGE, "Numerical result out of range"),
    (libc::EDEADLK, "Resource deadlock avoided"),
    (libc::ENAMETOOLONG, "File name too long"),
    (libc::ELOOP, "Too many levels of symbolic links"),
    (libc::ETIME, "Timer expired"),
    (libc::EOVERFLOW, "Value too large for defined data type"),
    (libc::ENOTUNIQ, "Name not unique on network"),
    (libc::EUSERS, "Too many users"),
    (libc::ENOTSOCK, "Socket operation on non-socket"),
    (libc::EMSGSIZE, "Message too long"),
    (libc::EOPNOTSUPP, "Operation not supported"),
    (libc::EADDRINUSE, "Address already in use"),
    (libc::EADDRNOTAVAIL, "Cannot assign requested address"),
    (libc::ENETUNREACH, "Network is unreachable"),
    (libc::ECONNABORTED, "Software caused connection abort"),
    (libc::ENOTCONN, "Transport endpoint is not connected"),
    (libc::ETIMEDOUT, "Connection timed out"),
    (libc::EHOSTUNREACH, "No route to host"),
    (libc::EINPROGRESS, "Operation now in progress"),
    (libc::EUCLEAN, "Structure needs cleaning"),
    (libc::EDQUOT, "Disk quota exceeded"),
];

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.what, self.why)?;
        if let Some(text) = &self.extack {
            write!(f, " (netlink: {text})")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Error {
        Error::errno("make a system call", errno.raw_os_error())
    }
}

/// Says what was tried when a system call fails: `open(..).ctx(|| format!("open {path}"))?`.
pub trait Context<T> {
    /// Turns the failure into an [`Error`] whose `what` is `what()`.
    fn ctx(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for std::result::Result<T, rustix::io::Errno> {
    fn ctx(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::errno(what(), e.raw_os_error()))
    }
}

impl<T> Context<T> for std::result::Result<T, io::Error> {
    fn ctx(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::io(what(), &e))
    }
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::{OF_GLIBC, errno_text};

    #[test]
    fn a_failure_has_one_text_whatever_the_c_library() {
        for (errno, text) in OF_GLIBC {
            assert_eq!(errno_text(*errno), *text, "errno {errno}");
        }
    }
}
