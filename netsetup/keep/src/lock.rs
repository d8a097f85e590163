//! flock(2): for a directory, for a file that others agreed on, and how long to wait.

use std::{
    fs::File,
    os::fd::AsFd,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    io::Errno,
};

use crate::{Error, Result, dir};

/// How long to wait for a lock that another process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: [`Error::Busy`] at once.
    No,
    /// [`Error::Busy`] after this time from now.
    Until(Duration),
}

/// How often a step is tried again because others came in between. Each of these
/// rounds means that somebody else got on, and takes microseconds. EAGAIN after that.
pub(crate) const ROUNDS: usize = 1000;

/// An exclusive lock, given back when the value is dropped or the process dies.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Locks the directory `dir` itself, so that no lock file stays behind.
    ///
    /// A missing directory is made (mode 0700). Directories that this crate makes, or
    /// removes when they have become empty, are locked by it for that moment, so that
    /// nobody loses a locked directory; [`Wait::No`] can meet such a moment.
    pub fn exclusive(dir: &Path, wait: Wait) -> Result<Lock> {
        let file = poll(wait, dir, || {
            for _ in 0..ROUNDS {
                match rustix::fs::open(
                    dir,
                    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                    Mode::empty(),
                ) {
                    Err(Errno::NOENT) => drop(dir::make(dir, 0o700)?),
                    Err(errno) => return Err(Error::new("open directory", dir, errno)),
                    Ok(fd) if !flock(&fd, dir)? => return Ok(None),
                    Ok(fd) if dir::is_at(&fd, dir)? => return Ok(Some(File::from(fd))),
                    Ok(_) => {}
                }
            }
            Ok(None)
        })?;
        Ok(Lock { file, path: dir.to_owned() })
    }

    /// Locks the file `path` that other programs lock too; made where it is missing, in
    /// a directory that must be there. Mode 0600: who can open it can hold its lock.
    ///
    /// The file is never removed: a program that opened it before and locks it after
    /// that would share its lock with nobody.
    pub fn file(path: &Path, wait: Wait) -> Result<Lock> {
        Lock::open_file(path, OFlags::CREATE, wait)
    }

    /// As [`Lock::file`], but a file that is missing isn't made: `None`.
    pub fn existing_file(path: &Path, wait: Wait) -> Result<Option<Lock>> {
        match Lock::open_file(path, OFlags::empty(), wait) {
            Err(error) if error.is_missing() => Ok(None),
            other => other.map(Some),
        }
    }

    fn open_file(path: &Path, more: OFlags, wait: Wait) -> Result<Lock> {
        let fd = rustix::fs::open(
            path,
            OFlags::RDONLY | OFlags::CLOEXEC | more,
            Mode::from_raw_mode(0o600),
        )
        .map_err(|errno| Error::new("open lock file", path, errno))?;
        poll(wait, path, || Ok(flock(&fd, path)?.then_some(())))?;
        Ok(Lock { file: File::from(fd), path: path.to_owned() })
    }

    /// Gives a directory's lock back and removes the directory if it is empty.
    ///
    /// While the lock is held, [`crate::Record::remove`] leaves the directory alone;
    /// this is how the holder does it instead.
    pub fn tidy(self) {
        if rustix::fs::rmdir(&self.path).is_err() {
            drop(self.file);
            dir::remove_if_unused(&self.path);
        }
    }
}

/// Takes the exclusive lock of an open file if nobody has it: false if somebody has.
pub(crate) fn flock(fd: impl AsFd, path: &Path) -> Result<bool> {
    loop {
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::new("lock", path, errno)),
        }
    }
}

/// Calls `attempt` until it has something, with pauses of 50 us growing to 5 ms.
///
/// A blocking flock(2) has no time limit but an alarm signal, which a library
/// must not take from its caller.
pub(crate) fn poll<T>(
    wait: Wait,
    path: &Path,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begun = Instant::now();
    let mut pause = Duration::from_micros(50);
    loop {
        if let Some(value) = attempt()? {
            return Ok(value);
        }
        let left = match wait {
            Wait::No => Duration::ZERO,
            Wait::Until(limit) => limit.saturating_sub(begun.elapsed()),
        };
        if left.is_zero() {
            return Err(Error::Busy { path: path.to_owned() });
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}
