//! What failed, on which path, with which errno.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation on a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("cannot {operation} {}: {}", .path.display(), text(*.errno))]
    System {
        /// What was tried, as a verb: "claim", "lock", "create directory".
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// errno as the kernel gave it.
        errno: i32,
    },
    /// Another process held the lock for as long as the caller would wait.
    #[error("cannot lock {}: another process holds it", .path.display())]
    Busy {
        /// What is locked.
        path: PathBuf,
    },
}

impl Error {
    pub(crate) fn new(operation: &'static str, path: impl Into<PathBuf>, errno: Errno) -> Error {
        Error::System { operation, path: path.into(), errno: errno.raw_os_error() }
    }

    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
        error: &io::Error,
    ) -> Error {
        Error::new(operation, path, Errno::from_io_error(error).unwrap_or(Errno::IO))
    }

    /// What was tried, as a verb that the path can follow.
    pub fn operation(&self) -> &'static str {
        match self {
            Error::System { operation, .. } => operation,
            Error::Busy { .. } => "lock",
        }
    }

    /// The file or directory that it was tried on.
    pub fn path(&self) -> &Path {
        match self {
            Error::System { path, .. } | Error::Busy { path } => path,
        }
    }

    /// The kernel's errno; EWOULDBLOCK, as flock(2) says it, when the lock was held.
    pub fn errno(&self) -> i32 {
        match self {
            Error::System { errno, .. } => *errno,
            Error::Busy { .. } => Errno::WOULDBLOCK.raw_os_error(),
        }
    }

    /// The name is taken (EEXIST).
    pub fn is_taken(&self) -> bool {
        self.errno() == Errno::EXIST.raw_os_error()
    }

    /// There is no such file (ENOENT).
    pub fn is_missing(&self) -> bool {
        self.errno() == Errno::NOENT.raw_os_error()
    }

    /// Another process is at work on it.
    pub fn is_busy(&self) -> bool {
        matches!(self, Error::Busy { .. })
    }
}

/// The C library's text for an errno, without the number.
fn text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    match text.rfind(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
