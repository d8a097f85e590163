//! What is under a name: looked at, and described.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, UnmountFlags};
use serde::Serialize;

use crate::error::{Context, Result};
use crate::kernel::ns::is_nsfs;
use crate::kernel::{Ns, NsId, apart};
use crate::names::MARK;

/// Longest content of a file that is read for its mark, in bytes.
const MARK_MAX: u64 = 4096;

/// The content of a file that we claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Who claimed it.
    pub(super) owner: String,
    /// The mount namespace in which it was claimed: `mnt:[4026531841]`.
    pub(super) seen_from: String,
}

impl Mark {
    /// The mark that these bytes are; `None` if they are something else.
    pub(super) fn read(bytes: &[u8]) -> Option<Mark> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (owner, rest) = text.strip_prefix(MARK)?.split_once('\n')?;
        let seen_from = rest.strip_suffix('\n').unwrap_or(rest).to_owned();
        Some(Mark { owner: owner.to_owned(), seen_from })
    }
}

/// What is under a name.
#[derive(Debug)]
pub(super) enum Found {
    Absent,
    /// A namespace is mounted on it.
    Mounted(Mounted),
    /// A file with our mark, or with something else in it (`None`).
    File(Option<Mark>),
    /// A file with nothing in it: `ip netns` makes such.
    Empty,
    /// A symbolic link, to this.
    Link(PathBuf),
    /// A directory, a device and the like.
    Other(FileType),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Absent => f.write_str("nothing is there"),
            Found::Mounted(mounted) => write!(f, "namespace {}", mounted.ns),
            Found::File(Some(mark)) => {
                write!(f, "a file of {MARK}{} without a namespace", mark.owner)
            }
            Found::File(None) => f.write_str("a file that is no namespace"),
            Found::Empty => f.write_str("an empty file that is no namespace"),
            Found::Link(target) => write!(f, "a symbolic link to {}", target.display()),
            Found::Other(FileType::Directory) => f.write_str("a directory"),
            Found::Other(_) => f.write_str("a special file"),
        }
    }
}

/// A namespace and the mount by which it was found.
#[derive(Debug)]
pub(super) struct Mounted {
    pub(super) ns: Ns,
    mount: OwnedFd,
}

impl Mounted {
    /// Takes this very mount away, whatever the name leads to by now. EINVAL if it is
    /// none any more.
    pub(super) fn unmount(&self) -> Result<(), Errno> {
        let path = format!("/proc/self/fd/{}", self.mount.as_raw_fd());
        rustix::mount::unmount(path, UnmountFlags::DETACH)
    }
}

/// Looks at `dir/name`.
pub(super) fn look(dir: &Path, name: &str) -> Result<Found> {
    let path = dir.join(name);
    let what = || format!("look at {}", path.display());
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match rustix::fs::open(&path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Found::Absent),
        other => other.ctx(what)?,
    };
    let again = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    if is_nsfs(fd.as_fd()).ctx(what)? {
        let mut ns = Ns::open(&again)?;
        ns.path = path;
        return Ok(Found::Mounted(Mounted { ns, mount: fd }));
    }
    let stat = rustix::fs::fstat(&fd).ctx(what)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if stat.st_size == 0 => Found::Empty,
        FileType::RegularFile => {
            let mut bytes = Vec::new();
            let file = File::open(again).ctx(what)?;
            file.take(MARK_MAX).read_to_end(&mut bytes).ctx(what)?;
            Found::File(Mark::read(&bytes))
        }
        FileType::Symlink => Found::Link(std::fs::read_link(&path).unwrap_or_default()),
        other => Found::Other(other),
    })
}

/// The mark of the file below a mount.
pub(super) fn below(dir: &Path, name: &str) -> Option<Mark> {
    Below::of(dir)?.mark(name)
}

/// A directory without what is mounted in it. It is there until this value is dropped.
struct Below(Option<OwnedFd>);

impl Drop for Below {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(apart::close);
    }
}

impl Below {
    /// `None` where that isn't permitted (without CAP_SYS_ADMIN, or where somebody more
    /// privileged has mounted something in it).
    fn of(dir: &Path) -> Option<Below> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        rustix::mount::open_tree(CWD, dir, flags).ok().map(|dir| Below(Some(dir)))
    }

    fn mark(&self, name: &str) -> Option<Mark> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.0.as_ref()?, name, flags, Mode::empty()).ok()?;
        let mut bytes = Vec::new();
        File::from(file).take(MARK_MAX).read_to_end(&mut bytes).ok()?;
        Mark::read(&bytes)
    }
}

/// A name in a directory of namespaces.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// The file's name; what isn't UTF-8 in it is replaced.
    pub name: String,
    /// What is under it.
    #[serde(flatten)]
    pub state: State,
    /// Who claimed it, where that is known: `ip netns` leaves no mark.
    pub owner: Option<String>,
}

/// What a name leads to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// This namespace.
    Namespace(NsId),
    /// None, and what is there instead.
    Nothing(String),
}

/// The names in a directory, sorted; none if it isn't there.
///
/// # Errors
/// It can't be read. What disappears meanwhile isn't listed.
pub fn list(dir: &Path) -> Result<Vec<Entry>> {
    let what = || format!("list {}", dir.display());
    let names = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.ctx(what)?,
    };
    let mut entries = Vec::new();
    let below = Below::of(dir);
    for name in names {
        let name = name.ctx(what)?.file_name();
        let state = match Ns::open(&dir.join(&name)) {
            Ok(ns) => State::Namespace(ns.id()),
            Err(error) => match name.to_str().map(|name| look(dir, name)) {
                Some(Ok(Found::Absent)) => continue,
                Some(Ok(found)) => State::Nothing(found.to_string()),
                _ => State::Nothing(error.why),
            },
        };
        let mark = name.to_str().zip(below.as_ref()).and_then(|(name, below)| below.mark(name));
        let owner = mark.map(|mark| format!("{MARK}{}", mark.owner));
        entries.push(Entry { name: name.to_string_lossy().into_owned(), state, owner });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_is_written() {
        let mark = Mark::read(b"podkeel shim base-3f2a\nmnt:[4026531841]\n").unwrap();
        assert_eq!((&*mark.owner, &*mark.seen_from), ("shim base-3f2a", "mnt:[4026531841]"));
        assert_eq!(Mark::read(b"podkeel ns\n").unwrap().seen_from, "");
        for other in [&b""[..], b"podkeel", b"podkeel ns", b"docker\n", b"\xff\n"] {
            assert_eq!(Mark::read(other), None);
        }
    }
}
