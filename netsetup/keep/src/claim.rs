//! Complete files under exclusive names, and temporary files that are nobody's litter.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
    thread,
    time::Duration,
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, RenameFlags},
    io::Errno,
};

use crate::{
    Error, Result, Wait, dir,
    lock::{ROUNDS, flock, poll},
};

/// How long another process may hold a temporary file; it does for microseconds.
const TEMP_WAIT: Wait = Wait::Until(Duration::from_secs(10));

/// Permission bits of what is made; those of existing files and directories stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes {
    /// Of the directory, and of each parent that it lacks.
    pub dir: u32,
    /// Of the file.
    pub file: u32,
}

impl Modes {
    /// Nobody else's business: directories 0700, files 0600.
    pub const PRIVATE: Modes = Modes { dir: 0o700, file: 0o600 };
}

/// By which calls a finished file gets its name. Each is tried when the one before
/// isn't there; tests begin at any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// O_TMPFILE, then linkat(2) through /proc/self/fd.
    Unnamed,
    /// A temporary file with a name, then renameat2(2) with RENAME_NOREPLACE.
    Rename,
    /// A temporary file with a name, then link(2) and unlink(2).
    Link,
}

/// What one attempt came to.
enum Attempt {
    /// The file has its name.
    Done(File),
    /// The directory vanished below it: once more from the start.
    Again,
    /// This file system or machine can't do it this way.
    Unsupported,
}

/// Makes the file `name` with all of `bytes` in the directory `dir`, which is made
/// if it is missing. Exactly one of any number of callers succeeds; the others get
/// an error with [`Error::is_taken`].
pub fn claim(dir: &Path, name: &str, bytes: &[u8], modes: Modes) -> Result<()> {
    publish(dir, name, bytes, modes, Way::Unnamed).map(drop)
}

/// Puts `bytes` in the place of the file `name`, whether or not it exists: a reader
/// sees all of the old bytes or all of the new ones. [`Error::Busy`] if another
/// process is just replacing it, for as long as `wait` says.
///
/// On ext4 with a disk below it this can take many milliseconds: it writes a file out
/// that is renamed over another one (mount option auto_da_alloc).
pub fn replace(dir: &Path, name: &str, bytes: &[u8], modes: Modes, wait: Wait) -> Result<()> {
    let at = dir::open_or_make(dir, modes.dir)?;
    put(&at, dir, name, bytes, modes.file, wait).map(drop)
}

/// Writes `bytes` into the file `name` in place, making it if it is missing: for hints.
/// A reader may see old and new bytes mixed, for a moment or after a power cut. No
/// lock, no temporary file, and nothing that makes a file system write it out.
pub fn overwrite(dir: &Path, name: &str, bytes: &[u8], modes: Modes) -> Result<()> {
    let path = dir.join(name);
    check_name(&path, name)?;
    let at = dir::open_or_make(dir, modes.dir)?;
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::openat(&at, name, flags, Mode::from_raw_mode(modes.file))
        .map_err(|errno| Error::new("open", &path, errno))?;
    let mut file = File::from(fd);
    // The bytes first: a file that is cut to nothing is written out by ext4, too.
    let written = file.write_all(bytes).and_then(|()| file.set_len(bytes.len() as u64));
    written.map_err(|e| Error::io("write", path, &e))
}

/// Removes the file `name` if `judge` says so of its bytes. False if it stays or isn't there.
///
/// The file is judged under its flock and only while it has the name, so that of two
/// callers one removes it, and none removes what was claimed in between.
pub fn remove_if(
    dir: &Path,
    name: &str,
    wait: Wait,
    judge: impl Fn(&[u8]) -> bool,
) -> Result<bool> {
    let path = dir.join(name);
    let mut file = match open_locked(&path, OFlags::RDONLY, wait) {
        Err(error) if error.is_missing() => return Ok(false),
        other => other?,
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|e| Error::io("read", &path, &e))?;
    if !judge(&bytes) {
        return Ok(false);
    }
    match rustix::fs::unlink(&path) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::new("remove", path, errno)),
    }
}

/// Opens `path` and locks it, and makes sure that the locked file is the one that has the name.
pub(crate) fn open_locked(path: &Path, access: OFlags, wait: Wait) -> Result<File> {
    let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    poll(wait, path, || {
        for _ in 0..ROUNDS {
            let fd = rustix::fs::open(path, flags, Mode::empty())
                .map_err(|errno| Error::new("open", path, errno))?;
            if !flock(&fd, path)? {
                return Ok(None);
            }
            if dir::is_at(&fd, path)? {
                return Ok(Some(File::from(fd)));
            }
        }
        Ok(None)
    })
}

/// [`claim`], and the open file with its flock held since before it had a name.
pub(crate) fn publish(
    dir: &Path,
    name: &str,
    bytes: &[u8],
    modes: Modes,
    mut way: Way,
) -> Result<File> {
    let path = dir.join(name);
    check_name(&path, name)?;
    for round in 0..ROUNDS as u64 {
        // Out of step with a remover that comes each time between our making a
        // directory and our locking it: half a second in all.
        if round > 10 {
            thread::sleep(Duration::from_micros(round));
        }
        let at = dir::open_or_make(dir, modes.dir)?;
        let attempt = match way {
            Way::Unnamed => by_unnamed(&at, dir, name, bytes, modes.file),
            Way::Rename | Way::Link => by_temp(&at, dir, name, bytes, modes.file, way),
        };
        match attempt? {
            Attempt::Done(file) => return Ok(file),
            Attempt::Again => {}
            Attempt::Unsupported => way = if way == Way::Unnamed { Way::Rename } else { Way::Link },
        }
    }
    Err(Error::new("claim", path, Errno::AGAIN))
}

fn by_unnamed(at: &OwnedFd, dir: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<Attempt> {
    let path = dir.join(name);
    let fail = |errno| Err(Error::new("claim", &path, errno));
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mut file = match rustix::fs::openat(at, ".", flags, Mode::from_raw_mode(mode)) {
        Ok(fd) => File::from(fd),
        // EISDIR: a kernel or file system that takes the flag for O_DIRECTORY.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => return Ok(Attempt::Unsupported),
        // ENOENT by most file systems, EPERM by ext4.
        Err(Errno::NOENT) => return Ok(Attempt::Again),
        Err(_) if is_removed(at, dir)? => return Ok(Attempt::Again),
        Err(errno) => return fail(errno),
    };
    if !flock(&file, &path)? {
        return fail(Errno::WOULDBLOCK);
    }
    file.write_all(bytes).map_err(|e| Error::io("write", &path, &e))?;
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    match rustix::fs::linkat(CWD, unnamed, at, name, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(Attempt::Done(file)),
        Err(Errno::NOENT) if is_removed(at, dir)? => Ok(Attempt::Again),
        // No /proc here, or a file system without links.
        Err(Errno::NOENT | Errno::OPNOTSUPP | Errno::PERM) => Ok(Attempt::Unsupported),
        Err(errno) => fail(errno),
    }
}

fn by_temp(
    at: &OwnedFd,
    dir: &Path,
    name: &str,
    bytes: &[u8],
    mode: u32,
    way: Way,
) -> Result<Attempt> {
    let path = dir.join(name);
    let Some(mut file) = temp(at, dir, name, mode, TEMP_WAIT)? else { return Ok(Attempt::Again) };
    let hidden = temp_name(name);
    if let Err(error) = file.write_all(bytes) {
        discard(at, &hidden);
        return Err(Error::io("write", path, &error));
    }
    let named = match way {
        Way::Link => rustix::fs::linkat(at, &hidden, at, name, AtFlags::empty()),
        _ => rustix::fs::renameat_with(at, &hidden, at, name, RenameFlags::NOREPLACE),
    };
    match named {
        Ok(()) if way == Way::Link => discard(at, &hidden),
        Ok(()) => {}
        // The directory or the temporary file was taken away from us.
        Err(Errno::NOENT) => return Ok(Attempt::Again),
        Err(errno) => {
            discard(at, &hidden);
            return match errno {
                Errno::INVAL | Errno::NOSYS if way == Way::Rename => Ok(Attempt::Unsupported),
                _ => Err(Error::new("claim", path, errno)),
            };
        }
    }
    Ok(Attempt::Done(file))
}

/// Writes `bytes` to the temporary file of `name` and renames it over `name`; its lock stays held.
pub(crate) fn put(
    at: &OwnedFd,
    dir: &Path,
    name: &str,
    bytes: &[u8],
    mode: u32,
    wait: Wait,
) -> Result<File> {
    let path = dir.join(name);
    check_name(&path, name)?;
    let Some(mut file) = temp(at, dir, name, mode, wait)? else {
        return Err(Error::new("replace", path, Errno::NOENT));
    };
    let hidden = temp_name(name);
    let written = file.write_all(bytes).map_err(|e| Error::io("write", &path, &e));
    let renamed = written.and_then(|()| {
        rustix::fs::renameat(at, &hidden, at, name)
            .map_err(|errno| Error::new("replace", &path, errno))
    });
    match renamed {
        Ok(()) => Ok(file),
        Err(error) => {
            discard(at, &hidden);
            Err(error)
        }
    }
}

/// The temporary file of `name`: empty, locked, and with no other name. `None` if
/// the directory has been removed.
///
/// Whatever is done to a temporary file is done under its flock. So one that can be
/// locked was left by a dead process, unless it has got its final name meanwhile.
fn temp(at: &OwnedFd, dir: &Path, name: &str, mode: u32, wait: Wait) -> Result<Option<File>> {
    let hidden = temp_name(name);
    let path = dir.join(&hidden);
    let fail = |operation, errno| Err(Error::new(operation, &path, errno));
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    poll(wait, &path, || {
        for _ in 0..ROUNDS {
            let fd = match rustix::fs::openat(at, &hidden, flags, Mode::from_raw_mode(mode)) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => return Ok(Some(None)),
                Err(errno) => return fail("open", errno),
            };
            if !flock(&fd, &path)? {
                return Ok(None);
            }
            if !is_named(&fd, at, &hidden, &path)? {
                continue;
            }
            let stat = rustix::fs::fstat(&fd).map_err(|errno| Error::new("stat", &path, errno))?;
            if stat.st_nlink > 1 {
                // Its maker died between link and unlink: by now these are the
                // bytes of a claimed file, and must not be written to.
                discard(at, &hidden);
                continue;
            }
            return match rustix::fs::ftruncate(&fd, 0) {
                Ok(()) => Ok(Some(Some(File::from(fd)))),
                Err(errno) => fail("truncate", errno),
            };
        }
        Ok(None)
    })
}

/// Unlinks the temporary file of `name` if no living process is at work on it.
pub(crate) fn remove_temp(dir: &Path, name: &str) -> bool {
    remove_abandoned(&dir.join(temp_name(name)))
}

/// Unlinks a temporary file if no living process is at work on it; says whether it did.
pub(crate) fn remove_abandoned(path: &Path) -> bool {
    open_locked(path, OFlags::RDONLY, Wait::No)
        .is_ok_and(|_locked| rustix::fs::unlink(path).is_ok())
}

/// `.NAME.tmp`.
pub(crate) fn temp_name(name: &str) -> String {
    format!(".{name}.tmp")
}

/// Unlinks a temporary file that the caller has locked. One that is gone is fine, and
/// one that can't be removed is overwritten by the next writer.
fn discard(at: &OwnedFd, hidden: &str) {
    let _ = rustix::fs::unlinkat(at, hidden, AtFlags::empty());
}

/// Whether the open file `fd` has the name `name` in the directory `at`.
fn is_named(fd: impl AsFd, at: &OwnedFd, name: &str, path: &Path) -> Result<bool> {
    let open = rustix::fs::fstat(fd).map_err(|errno| Error::new("stat", path, errno))?;
    match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(dir::same(&open, &found)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::new("stat", path, errno)),
    }
}

/// Whether the open directory has been removed.
fn is_removed(at: &OwnedFd, dir: &Path) -> Result<bool> {
    let stat = rustix::fs::fstat(at).map_err(|errno| Error::new("stat", dir, errno))?;
    Ok(stat.st_nlink == 0)
}

/// One plain component that isn't hidden, since hidden names are those of temporary files.
fn check_name(path: &Path, name: &str) -> Result<()> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        return Err(Error::new("use the file name of", path, Errno::INVAL));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
