//! Namespaces of any kind: opened, told apart, and who is inside.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, Stat};
use serde::{Deserialize, Serialize};

use super::cookie::cookie;
use super::{Rtnl, netns, sys};
use crate::error::{Context, Error, Kind, Result};

/// A kind of namespace, by its name under /proc/PID/ns. Source: namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "each is called what the kernel calls it")]
pub enum NsKind {
    Cgroup,
    Ipc,
    Mnt,
    Net,
    Pid,
    Time,
    User,
    Uts,
}

impl NsKind {
    /// Every kind, in the order of their names.
    pub const ALL: [NsKind; 8] = [
        NsKind::Cgroup,
        NsKind::Ipc,
        NsKind::Mnt,
        NsKind::Net,
        NsKind::Pid,
        NsKind::Time,
        NsKind::User,
        NsKind::Uts,
    ];

    /// Its name under /proc/PID/ns.
    pub fn name(self) -> &'static str {
        match self {
            NsKind::Cgroup => "cgroup",
            NsKind::Ipc => "ipc",
            NsKind::Mnt => "mnt",
            NsKind::Net => "net",
            NsKind::Pid => "pid",
            NsKind::Time => "time",
            NsKind::User => "user",
            NsKind::Uts => "uts",
        }
    }

    /// Its clone(2) flag.
    pub fn flag(self) -> i32 {
        match self {
            NsKind::Cgroup => libc::CLONE_NEWCGROUP,
            NsKind::Ipc => libc::CLONE_NEWIPC,
            NsKind::Mnt => libc::CLONE_NEWNS,
            NsKind::Net => libc::CLONE_NEWNET,
            NsKind::Pid => libc::CLONE_NEWPID,
            NsKind::Time => CLONE_NEWTIME,
            NsKind::User => libc::CLONE_NEWUSER,
            NsKind::Uts => libc::CLONE_NEWUTS,
        }
    }
}

/// libc has it as an unsigned number only in some versions. Source: linux/sched.h.
const CLONE_NEWTIME: i32 = 0x80;

impl fmt::Display for NsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What identifies a namespace after it was closed.
///
/// Numbers of namespaces that are gone are given out again at once. Only a network
/// namespace has a number that is never used twice in one boot, its cookie; for the others
/// whoever relies on it asks for more evidence, or keeps the namespace open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NsId {
    /// Which kind it is.
    pub kind: NsKind,
    /// Device number of nsfs.
    pub dev: u64,
    /// Inode number on nsfs, as in `net:[4026532281]`.
    pub inode: u64,
    /// SO_NETNS_COOKIE, or what stands for it before Linux 5.14, of a network namespace that
    /// could be entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<u64>,
}

impl NsId {
    /// Whether both mean the same namespace, as far as can be known.
    pub fn is(&self, other: &NsId) -> bool {
        let cookies = match (self.cookie, other.cookie) {
            (Some(one), Some(two)) => one == two,
            _ => true,
        };
        (self.kind, self.dev, self.inode) == (other.kind, other.dev, other.inode) && cookies
    }
}

impl fmt::Display for NsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:[{}]", self.kind, self.inode)
    }
}

/// An open namespace of any kind. It lives at least as long as this value.
#[derive(Debug)]
pub struct Ns {
    fd: OwnedFd,
    /// The path that it was opened by.
    pub path: PathBuf,
    /// Which kind it is.
    pub kind: NsKind,
    /// Device number of nsfs.
    pub dev: u64,
    /// Inode number on nsfs: unique among the living, reused at once.
    pub inode: u64,
}

impl Ns {
    /// Opens the namespace behind a path (`/proc/PID/ns/uts`, `/run/netns/NAME`).
    ///
    /// # Errors
    /// A path that isn't there, or that isn't a namespace ([`Kind::Input`]).
    pub fn open(path: &Path) -> Result<Ns> {
        let what = || format!("open namespace {}", path.display());
        let (fd, stat) = open_nsfs(path, &what)?;
        let flag = sys::namespace_type(fd.as_fd()).ctx(what)?;
        let kind = NsKind::ALL.into_iter().find(|kind| kind.flag() == flag);
        let kind = kind.ok_or_else(|| Error::input(what(), "it is of an unknown kind"))?;
        Ok(Ns { fd, path: path.to_owned(), kind, dev: stat.st_dev, inode: stat.st_ino })
    }

    /// The namespace of a process.
    ///
    /// # Errors
    /// [`Kind::Missing`] where no process has this pid, or where it is a zombie.
    pub fn of_process(pid: i32, kind: NsKind) -> Result<Ns> {
        let path = PathBuf::from(format!("/proc/{pid}/ns/{kind}"));
        Ns::open(&path).map_err(|e| no_process(pid, kind, e))
    }

    /// The namespace that this thread is in.
    pub fn own(kind: NsKind) -> Result<Ns> {
        Ns::open(Path::new(&format!("/proc/thread-self/ns/{kind}")))
    }

    /// What to write down of it. A network namespace is entered for its cookie; where
    /// that isn't permitted the identity goes without.
    pub fn id(&self) -> NsId {
        let cookie = (self.kind == NsKind::Net).then(|| self.cookie()).flatten();
        NsId { kind: self.kind, dev: self.dev, inode: self.inode, cookie }
    }

    fn cookie(&self) -> Option<u64> {
        let mut inside = netns::visit(self.fd.as_fd(), &self.path, Rtnl::open).ok()?;
        cookie(self.fd.as_fd(), &mut inside).ok()
    }

    /// Whether both are the same namespace. Both are open, so inode numbers are evidence.
    pub fn same(&self, other: &Ns) -> bool {
        (self.dev, self.inode) == (other.dev, other.inode)
    }
}

/// As the kernel names it: `uts:[4026531838]`.
impl fmt::Display for Ns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:[{}]", self.kind, self.inode)
    }
}

impl AsFd for Ns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Ns> for OwnedFd {
    fn from(ns: Ns) -> OwnedFd {
        ns.fd
    }
}

/// Opens a file that must be on nsfs.
pub(super) fn open_nsfs(path: &Path, what: &dyn Fn() -> String) -> Result<(OwnedFd, Stat)> {
    // O_NONBLOCK: a FIFO in its place must not hold us up.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = rustix::fs::open(path, flags, Mode::empty()).ctx(what)?;
    if !is_nsfs(fd.as_fd()).ctx(what)? {
        return Err(Error::input(what(), "it is not a namespace")
            .hint("a path like /proc/PID/ns/net or /run/netns/NAME is wanted"));
    }
    let stat = rustix::fs::fstat(&fd).ctx(what)?;
    Ok((fd, stat))
}

/// Whether an open file, or one opened with O_PATH, is a namespace.
pub(crate) fn is_nsfs(fd: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let magic = rustix::fs::fstatfs(fd)?.f_type;
    Ok(magic as u64 == libc::NSFS_MAGIC as u64)
}

/// An error of opening a file below /proc/PID, in words.
pub(super) fn no_process(pid: i32, kind: NsKind, error: Error) -> Error {
    match error.errno {
        Some(libc::ENOENT | libc::ESRCH) => {
            let what = match kind {
                NsKind::Net => format!("find the network namespace of process {pid}"),
                _ => format!("find the {kind} namespace of process {pid}"),
            };
            Error::new(Kind::Missing, what, "no such process, or it has ended")
        }
        _ => error,
    }
}

/// Which processes are in which namespace of one kind, from one look at /proc.
///
/// A process counts by its first thread: one whose other threads have entered a
/// namespace is not seen there. Zombies are in none.
#[derive(Clone, Debug, Default)]
pub struct Census {
    members: BTreeMap<(u64, u64), Vec<i32>>,
    /// Processes that may not be looked at.
    pub hidden: usize,
}

impl Census {
    /// Looks at every process that can be seen.
    ///
    /// # Errors
    /// /proc can't be read. A process that ends meanwhile is no error.
    pub fn take(kind: NsKind) -> Result<Census> {
        let what = || "list the processes in /proc".to_owned();
        let mut census = Census::default();
        for entry in std::fs::read_dir("/proc").ctx(what)? {
            let name = entry.ctx(what)?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            match rustix::fs::stat(format!("/proc/{pid}/ns/{kind}")) {
                Ok(stat) => {
                    census.members.entry((stat.st_dev, stat.st_ino)).or_default().push(pid);
                }
                Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => census.hidden += 1,
                // It has ended, or is a zombie.
                Err(_) => {}
            }
        }
        census.members.values_mut().for_each(|pids| pids.sort_unstable());
        Ok(census)
    }

    /// The processes in the namespace with this device and inode number, in order.
    pub fn inside(&self, dev: u64, inode: u64) -> &[i32] {
        self.members.get(&(dev, inode)).map_or(&[], Vec::as_slice)
    }
}

/// The processes in a namespace, in order, and how many may not be looked at.
///
/// # Errors
/// As [`Census::take`].
pub fn pids(ns: &Ns) -> Result<(Vec<i32>, usize)> {
    let census = Census::take(ns.kind)?;
    Ok((census.inside(ns.dev, ns.inode).to_vec(), census.hidden))
}
