//! Directories: made with their parents, removed when empty, both against the same by others.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags, Stat},
    io::Errno,
};

use crate::{
    Error, Result,
    lock::{ROUNDS, flock},
};

/// Makes `dir` and the parents it lacks, each with `mode`, and opens it; what exists
/// is left as it is.
///
/// What this made is locked for as long as the descriptor lives, and each parent until
/// the next level is made: those who remove empty directories leave it alone, and
/// can't keep a claimer from ever getting on.
pub(crate) fn make(dir: &Path, mode: u32) -> Result<OwnedFd> {
    let mut _parent = None;
    for _ in 0..ROUNDS {
        match rustix::fs::mkdir(dir, Mode::from_raw_mode(mode)) {
            Ok(()) => match rustix::fs::open(
                dir,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            ) {
                // Busy: another process already has it locked, which serves as well.
                Ok(fd) if flock(&fd, dir).is_ok() && is_at(&fd, dir)? => return Ok(fd),
                Ok(_) | Err(Errno::NOENT) => {}
                // A mode (or umask) that doesn't let us read it: unlocked, then.
                Err(_) => return open(dir),
            },
            Err(Errno::EXIST) => match open(dir) {
                Err(error) if error.is_missing() => {}
                other => return other,
            },
            Err(Errno::NOENT) => match dir.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => {
                    _parent = Some(make(parent, mode)?)
                }
                _ => return Err(Error::new("create directory", dir, Errno::NOENT)),
            },
            Err(errno) => return Err(Error::new("create directory", dir, errno)),
        }
    }
    Err(Error::new("create directory", dir, Errno::AGAIN))
}

/// Opens `dir` for calls that take a directory descriptor; makes it with `mode` first if it is missing.
pub(crate) fn open_or_make(dir: &Path, mode: u32) -> Result<OwnedFd> {
    match open(dir) {
        Err(error) if error.is_missing() => make(dir, mode),
        other => other,
    }
}

/// Opens `dir` for calls that take a directory descriptor.
pub(crate) fn open(dir: &Path) -> Result<OwnedFd> {
    rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::new("open directory", dir, errno))
}

/// Whether the two are one and the same file.
pub(crate) fn same(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

/// Whether `path` (no symbolic link at its end) leads to the open file `fd`.
pub(crate) fn is_at(fd: impl AsFd, path: &Path) -> Result<bool> {
    let open = rustix::fs::fstat(fd).map_err(|errno| Error::new("stat", path, errno))?;
    match rustix::fs::lstat(path) {
        Ok(found) => Ok(same(&open, &found)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::new("stat", path, errno)),
    }
}

/// Removes `dir` if it is empty and nobody holds its [`crate::Lock`]; says whether it did.
///
/// Under the lock: removing a directory that somebody has locked would let the next
/// one lock its successor beside him. Whoever finds it locked leaves, and so the one
/// that had it looks once more after unlocking: the last file may have gone meanwhile.
pub(crate) fn remove_if_unused(dir: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 0..ROUNDS {
        let Ok(fd) = rustix::fs::open(dir, flags, Mode::empty()) else { return false };
        if !matches!(flock(&fd, dir), Ok(true)) || !matches!(is_at(&fd, dir), Ok(true)) {
            return false;
        }
        if rustix::fs::rmdir(dir).is_ok() {
            return true;
        }
        drop(fd);
        if !fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none()) {
            return false;
        }
    }
    false
}

/// Removes the empty directories from `dir` up to, and not including, `root`.
///
/// Best effort: a directory that stays does no harm, and [`crate::sweep`] finds it.
pub(crate) fn remove_empty_up_to(dir: &Path, root: &Path) {
    let inside = |d: &&Path| d.starts_with(root) && *d != root;
    for dir in dir.ancestors().take_while(inside) {
        if !remove_if_unused(dir) && dir.exists() {
            return;
        }
    }
}
