//! Namespaces of any kind under names: pins, which keep them after their last process.
//!
//! ```text
//! /run/netns/web               the file: its name is the claim, its content says whose it is
//!   └─ net:[4026532281]        mounted on it: the namespace, as the file's readers see it
//! ```
//!
//! # Theory
//!
//! - **The file is claimed first**, complete and locked ([`podkeel_keep::Record`]): of
//!   any number of callers one gets the name. Its content is the owner's mark, then the
//!   mount namespace that the claimer saw: `podkeel shim base-3f2a`, `mnt:[4026531841]`.
//! - **The mount covers the file.** Readers get the namespace; `ip netns` never looks at
//!   what is below. Killed before it, the claimer leaves a file that still says whose it
//!   was, and the kernel has dropped its lock: a *leftover*, which the next claimer takes
//!   away. Killed after it, the pin is whole, and its owner is read from below the mount.
//! - **A leftover is taken only by who can see that nothing is on it**: by a claimer in the
//!   mount namespace that it was made in. Where the directory isn't shared, another one
//!   may have the namespace mounted there, and removing the file would unmount it.
//! - **What is taken away is looked at by descriptor**, and that very mount is unmounted: a
//!   namespace that somebody else has put there meanwhile stays. Whoever comes too late
//!   looks again.
//!
//! `ip netns` locks nothing, so one case is left open: its new and still empty file can be
//! taken for one that `ip netns del` left between its two calls; [`delete`] says so.

mod look;

use std::fs::DirBuilder;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use look::{Found, Mark, below, look};
use podkeel_keep::{self as keep, Lock, Record, Wait};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags};

use crate::error::{Context, Error, Kind, Result};
use crate::kernel::ns::is_nsfs;
use crate::kernel::{Ns, NsId, NsKind};
use crate::names::MARK;
use crate::record::kept;

pub use look::{Entry, State, list};

/// How often is looked again because somebody else got on in between.
const ROUNDS: usize = 100;

/// How long another process may keep a directory locked that it shares.
const PATIENCE: Duration = Duration::from_secs(20);

/// A name for a namespace: where it is, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    dir: PathBuf,
    name: String,
    owner: String,
}

/// A name that is claimed, and has no namespace yet. Dropped, it is given up.
#[derive(Debug)]
pub struct Claim {
    pin: Pin,
    record: Option<Record>,
}

/// Whether there was something to take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It is gone now.
    Gone,
    /// It wasn't there.
    Absent,
}

impl Pin {
    /// The pin `dir/name` of `owner`, one line that begins with the program
    /// (`shim base-3f2a`). Nothing is looked at yet.
    ///
    /// # Errors
    /// [`Kind::Input`]: see [`check_new`].
    pub fn new(dir: &Path, name: &str, owner: &str) -> Result<Pin> {
        check_new(name)?;
        if owner.is_empty() || owner.chars().any(char::is_control) {
            return Err(Error::input(format!("use {owner:?} as a pin's owner"), "it is no line"));
        }
        Ok(Pin { dir: dir.to_owned(), name: name.to_owned(), owner: owner.to_owned() })
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    /// Claims the name; a directory that is missing is made, mode 0700. A leftover that
    /// a killed process of ours made under this name is taken away first.
    ///
    /// In the directory of `ip netns` call [`share`] first.
    ///
    /// # Errors
    /// [`Kind::Taken`] if somebody has the name, or is about to.
    pub fn claim(&self) -> Result<Claim> {
        let what = || format!("claim {}", self.path().display());
        let here = Ns::own(NsKind::Mnt)?.to_string();
        let content = format!("{MARK}{}\n{here}\n", self.owner);
        for _ in 0..ROUNDS {
            match Record::create(&self.dir, Path::new(&self.name), content.as_bytes()) {
                Ok(record) => return Ok(Claim { pin: self.clone(), record: Some(record) }),
                Err(e) if e.is_taken() => {}
                Err(e) => return Err(kept(what(), &e)),
            }
            let taken = match look(&self.dir, &self.name)? {
                Found::Absent => continue,
                Found::File(Some(mark)) if mark.seen_from == here => {
                    let ours = |bytes: &[u8]| Mark::read(bytes).as_ref() == Some(&mark);
                    match keep::remove_if(&self.dir, &self.name, Wait::No, ours) {
                        Err(e) if e.is_busy() => "another process is about to use it".to_owned(),
                        Err(e) if is_mounted_on(&e) => continue,
                        Err(e) => return Err(kept(what(), &e)),
                        Ok(_) => continue,
                    }
                }
                // Its namespace may be mounted there, in the other mount namespace.
                Found::File(Some(mark)) if !mark.seen_from.is_empty() => {
                    let there = &mark.seen_from;
                    format!(
                        "{}, claimed in mount namespace {there}",
                        Found::File(Some(mark.clone()))
                    )
                }
                other => other.to_string(),
            };
            return Err(Error::new(Kind::Taken, what(), format!("the name is taken: {taken}")));
        }
        Err(Error::new(Kind::Taken, what(), "others make and remove it all the time"))
    }

    /// Takes the pin away. What is mounted there goes if it is `expected`, or, where
    /// that isn't known, if the file below carries this owner's mark; and a file on
    /// which nothing is mounted goes if it carries it.
    ///
    /// # Errors
    /// [`Kind::Taken`]: something else is there. It is left alone.
    pub fn remove(&self, expected: Option<&NsId>) -> Result<Removed> {
        let mine = |mark: Option<&Mark>| mark.is_some_and(|mark| mark.owner == self.owner);
        remove(&self.dir, &self.name, &|found| match found {
            Found::Mounted(mounted) => match expected {
                Some(expected) => mounted.ns.id().is(expected),
                None => mine(below(&self.dir, &self.name).as_ref()),
            },
            Found::File(mark) => mine(mark.as_ref()),
            _ => false,
        })
    }
}

impl Claim {
    /// Mounts a namespace, of this process or of any other, on the file.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN; [`Kind::Input`] for what is no namespace. The name is
    /// given up then.
    pub fn mount(mut self, ns: impl AsFd) -> Result<()> {
        let path = self.pin.path();
        let done = self.mount_on(&path, ns);
        if done.is_ok() {
            // The lock goes with it: the pin is whole. The file stays.
            self.record = None;
            return done;
        }
        done.map_err(|error| match self.give_up() {
            Ok(()) => error,
            Err(e) => error.hint(format!("the way back failed too: {e}")),
        })
    }

    fn mount_on(&self, path: &Path, ns: impl AsFd) -> Result<()> {
        let what = || format!("mount a namespace on {}", path.display());
        if !is_nsfs(ns.as_fd()).ctx(what)? {
            return Err(Error::input(what(), "it is not a namespace"));
        }
        let Some(file) = self.file()? else {
            return Err(Error::new(Kind::Taken, what(), "somebody else has removed the file"));
        };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let mount = rustix::mount::open_tree(ns, "", flags).ctx(what)?;
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(&mount, "", &file, "", flags).map_err(|errno| match errno {
            // ENOENT for a file that is open and has lost its name just now.
            Errno::NOENT => Error::new(Kind::Taken, what(), "somebody else has removed the file"),
            errno => Error::errno(what(), errno.raw_os_error()),
        })
    }

    /// The claimed file, as far as it still has its name.
    fn file(&self) -> Result<Option<OwnedFd>> {
        let path = self.pin.path();
        let what = || format!("look at {}", path.display());
        let Some(record) = &self.record else { return Ok(None) };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::open(&path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.ctx(what)?,
        };
        let (found, claimed) =
            (rustix::fs::fstat(&file).ctx(what)?, rustix::fs::fstat(record).ctx(what)?);
        let same = (found.st_dev, found.st_ino) == (claimed.st_dev, claimed.st_ino);
        Ok(same.then_some(file))
    }

    fn give_up(&mut self) -> Result<()> {
        let path = self.pin.path();
        // Another one's file that has the name by now stays.
        let is_ours = self.file()?.is_some();
        match self.record.take() {
            Some(record) if is_ours => {
                record.remove().map_err(|e| kept(format!("remove {}", path.display()), &e))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // A file that stays is a leftover, which the next claimer takes away.
        let _ = self.give_up();
    }
}

/// Takes away a name by whomever it was made: a namespace of this kind, a symbolic link
/// to one, a leftover, or the empty file that `ip netns` leaves when it is killed.
///
/// # Errors
/// [`Kind::Input`]: no file can have this name. [`Kind::Taken`]: something else is
/// there, which is left alone.
pub fn delete(dir: &Path, name: &str, kind: NsKind) -> Result<Removed> {
    check(name)?;
    remove(dir, name, &|found| match found {
        Found::Mounted(mounted) => mounted.ns.kind == kind,
        Found::File(Some(_)) | Found::Empty | Found::Link(_) => true,
        Found::Absent | Found::File(None) | Found::Other(_) => false,
    })
}

/// Takes away what is there for as long as `may` agrees, and looks again until nothing is.
fn remove(dir: &Path, name: &str, may: &dyn Fn(&Found) -> bool) -> Result<Removed> {
    let path = dir.join(name);
    let what = || format!("remove {}", path.display());
    let mut removed = Removed::Absent;
    for _ in 0..ROUNDS {
        let found = look(dir, name)?;
        if matches!(found, Found::Absent) {
            return Ok(removed);
        }
        if !may(&found) {
            return Err(Error::new(Kind::Taken, what(), format!("it is not ours: {found}"))
                .hint("it was left as it is"));
        }
        match found {
            Found::Mounted(mounted) => match mounted.unmount() {
                // Unmounted by somebody else just now.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(errno) => return Err(errno).ctx(what),
            },
            Found::Link(_) => match rustix::fs::unlink(&path) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).ctx(what),
            },
            file => {
                let same = |bytes: &[u8]| match &file {
                    Found::File(mark) => Mark::read(bytes) == *mark,
                    _ => bytes.is_empty(),
                };
                match keep::remove_if(dir, name, Wait::Until(PATIENCE), same) {
                    Ok(_) => {}
                    Err(e) if e.is_busy() => {
                        let why = "another process is about to use it";
                        return Err(Error::new(Kind::Taken, what(), why));
                    }
                    Err(e) if is_mounted_on(&e) => {}
                    Err(e) => return Err(kept(what(), &e)),
                }
            }
        }
        removed = Removed::Gone;
    }
    Err(Error::new(Kind::Taken, what(), "others make and remove it all the time"))
}

/// Whether a file can't be read or removed because a namespace was mounted on it just now.
fn is_mounted_on(error: &keep::Error) -> bool {
    [libc::EINVAL, libc::EBUSY].contains(&error.errno())
}

/// Makes `dir` (mode 0755) and makes it a shared mount of itself, as `ip netns add` does
/// and under the lock that it takes: what is mounted in it then also reaches the mount
/// namespaces that were made from this one, and leaves them together.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN.
pub fn share(dir: &Path) -> Result<()> {
    let what = || format!("share {}", dir.display());
    DirBuilder::new().recursive(true).mode(0o755).create(dir).ctx(what)?;
    let _lock =
        Lock::exclusive(dir, Wait::Until(PATIENCE)).map_err(|error| kept(what(), &error))?;
    let flags = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    match rustix::mount::mount_change(dir, flags) {
        // No mount yet.
        Err(Errno::INVAL) => {}
        other => return other.ctx(what),
    }
    rustix::mount::mount_bind_recursive(dir, dir).ctx(what)?;
    rustix::mount::mount_change(dir, flags).ctx(what)
}

/// Whether `ip netns` would take this as the name of a namespace: a file's name.
///
/// # Errors
/// [`Kind::Input`], and what is wrong with it.
pub fn check(name: &str) -> Result<()> {
    let why = match name {
        "" => "it is empty",
        "." | ".." => "it is a directory's",
        _ if name.contains('/') => "'/' cannot be in it",
        _ if name.contains('\0') => "a zero byte cannot be in it",
        _ if name.len() > NAME_MAX => "it is longer than 255 bytes",
        _ => return Ok(()),
    };
    Err(Error::input(format!("use {name:?} as a namespace's name"), why))
}

/// Whether a new namespace can be called this: as [`check`], and it isn't hidden, since
/// hidden names are those of files in the making.
///
/// # Errors
/// As [`check`].
pub fn check_new(name: &str) -> Result<()> {
    check(name)?;
    if name.starts_with('.') {
        let why = "it begins with a dot";
        return Err(Error::input(format!("use {name:?} as a namespace's name"), why));
    }
    Ok(())
}

/// Longest name of a file, in bytes. Source: linux/limits.h.
const NAME_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["web", "a b", "ähm", "-x", "cni-0f", "a..b", &"x".repeat(255)] {
            assert!(check(good).is_ok() && check_new(good).is_ok(), "{good}");
        }
        for (bad, why) in
            [("", "empty"), (".", "directory"), ("..", "directory"), ("a/b", "'/'"), ("/", "'/'")]
        {
            assert!(check(bad).unwrap_err().to_string().contains(why), "{bad:?}");
        }
        assert!(check(&"x".repeat(256)).is_err());
        for hidden in [".x", "..."] {
            assert!(check(hidden).is_ok() && check_new(hidden).is_err(), "{hidden}");
        }
    }

    #[test]
    fn owners_are_one_line() {
        for bad in ["", "a\nb", "a\0"] {
            assert!(Pin::new(Path::new("/nonexistent"), "web", bad).is_err(), "{bad:?}");
        }
    }
}
