//! Network namespaces: opened, identified, visited.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::LinkNameSpaceType;
use serde::{Deserialize, Serialize};

use super::cookie::cookie;
use super::ns::{NsKind, no_process, open_nsfs};
use super::{Rtnl, sys};
use crate::error::{Context, Error, Kind, Result};

/// An open network namespace. It lives at least as long as this value.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    /// The path that it was opened by.
    pub path: PathBuf,
    /// Inode number on nsfs: unique among the living, reused at once.
    pub inode: u64,
}

/// What identifies a namespace after it was closed: its cookie, which is never used twice in
/// one boot. The inode number is for people, and for a look around without entering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsId {
    /// Path by which it was opened.
    pub path: PathBuf,
    /// Inode number, as in `net:[4026532281]`.
    pub inode: u64,
    /// SO_NETNS_COOKIE, or what stands for it before Linux 5.14. `None`: it is not known
    /// which namespace it was, as older records have it from such a kernel.
    pub cookie: Option<u64>,
}

impl fmt::Display for NetnsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}] at {}", self.inode, self.path.display())
    }
}

impl NetnsId {
    /// Whether both mean one namespace, by whatever paths.
    pub fn is(&self, other: &NetnsId) -> bool {
        self.cookie.is_some() && (self.inode, self.cookie) == (other.inode, other.cookie)
    }
}

impl Netns {
    /// Opens the namespace behind a path (`/proc/PID/ns/net`, `/run/netns/NAME`).
    ///
    /// # Errors
    /// A path that isn't there, or that isn't a network namespace.
    pub fn open(path: &Path) -> Result<Netns> {
        let what = || format!("open network namespace {}", path.display());
        let (fd, stat) = open_nsfs(path, &what)?;
        let netns = Netns { fd, path: path.to_owned(), inode: stat.st_ino };
        netns.must_be_net()?;
        Ok(netns)
    }

    /// The namespace that this thread is in.
    pub fn own() -> Result<Netns> {
        let path = Path::new("/proc/thread-self/ns/net");
        // A new socket belongs to it: asking that one takes half of the time of the way through
        // /proc, whose directories the kernel makes up for each process that looks at them.
        match of_new_socket() {
            Ok((fd, inode)) => Ok(Netns { fd, path: path.to_owned(), inode }),
            Err(_) => Netns::open(path),
        }
    }

    /// The namespace of a process.
    ///
    /// # Errors
    /// [`Kind::Missing`] where no process has this pid, or where it is a zombie.
    pub fn of_process(pid: i32) -> Result<Netns> {
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        Netns::open(&path).map_err(|e| no_process(pid, NsKind::Net, e))
    }

    /// A new network namespace, which nobody else is in. The caller stays where it is.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN; ENOSPC where /proc/sys/user/max_net_namespaces is
    /// reached. Source: unshare(2).
    pub fn make() -> Result<Netns> {
        on_thread(&|| "make a network namespace".into(), || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
                .map_err(|e| Error::errno("make a network namespace", e as i32))?;
            Netns::own()
        })
    }

    /// nsfs holds namespaces of every kind.
    fn must_be_net(&self) -> Result<()> {
        let what = || format!("open network namespace {}", self.path.display());
        match sys::namespace_type(self.fd.as_fd()).ctx(what)? {
            libc::CLONE_NEWNET => Ok(()),
            _ => Err(Error::input(what(), "it is a namespace of another kind")),
        }
    }

    /// Runs `job` inside the namespace and returns what it returns. What the job opens
    /// stays bound to the namespace; the caller's thread is where it was. Where it could
    /// go but not come back (that takes CAP_SYS_ADMIN over its own namespace's owner), a
    /// short-lived thread goes: that costs ten times as much, 0.2 ms.
    ///
    /// # Errors
    /// The namespace can't be entered (EPERM: CAP_SYS_ADMIN over its owner is
    /// needed), or no thread can be made.
    pub fn visit<T: Send>(&self, job: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        visit(self.fd.as_fd(), &self.path, job)
    }

    /// What to write down of it; `inside` was opened in it.
    ///
    /// # Errors
    /// Before Linux 5.14: EPERM without CAP_NET_ADMIN in there.
    pub fn id(&self, inside: &mut Rtnl) -> Result<NetnsId> {
        let cookie = Some(cookie(self.as_fd(), inside)?);
        Ok(NetnsId { path: self.path.clone(), inode: self.inode, cookie })
    }

    /// Whether both are the same namespace. Both are open, so inode numbers are evidence.
    pub fn same(&self, other: &Netns) -> bool {
        self.inode == other.inode
    }
}

fn of_new_socket() -> rustix::io::Result<(OwnedFd, u64)> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::DGRAM);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    let fd = sys::netns_of(socket.as_fd())?;
    let inode = rustix::fs::fstat(&fd)?.st_ino;
    Ok((fd, inode))
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Runs `job` inside a network namespace; see [`Netns::visit`].
pub(super) fn visit<T: Send>(
    netns: BorrowedFd<'_>,
    path: &Path,
    job: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let what = || format!("enter network namespace {}", path.display());
    // Who may go to where he is already may also come back there: setns(2) asks for the same.
    if let Some(home) = Netns::own().ok().filter(|home| go(home.as_fd()).is_ok()) {
        go(netns).ctx(what)?;
        let _back = Home(home);
        return job();
    }
    on_thread(&|| format!("work in network namespace {}", path.display()), || {
        go(netns).ctx(what)?;
        job()
    })
}

fn go(netns: BorrowedFd<'_>) -> rustix::io::Result<()> {
    rustix::thread::move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))
}

/// Where the thread belongs: it is back there when this value is dropped.
struct Home(Netns);

impl Drop for Home {
    fn drop(&mut self) {
        // It was allowed a moment ago: what may be missing is memory, for a moment.
        for _ in 0..RETURN_TRIES {
            if go(self.0.as_fd()).is_ok() {
                return;
            }
        }
        // Whatever this thread did next, it would do to the wrong host. The record of what is
        // under way tells del and gc what there is to take away.
        eprintln!("netsetup: cannot return to its own network namespace");
        std::process::abort();
    }
}

/// How often a thread tries to come back.
const RETURN_TRIES: u32 = 3;

/// Runs `job` on a short-lived thread, which may go where the caller's must not.
fn on_thread<T: Send>(
    what: &dyn Fn() -> String,
    job: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(VISIT_STACK).spawn_scoped(scope, job);
        let handle = thread.ctx(|| "start a thread to visit a namespace".into())?;
        handle
            .join()
            .unwrap_or_else(|_| Err(Error::new(Kind::Failed, what(), "the thread panicked")))
    })
}

/// Stack of a visiting thread, bytes: it opens sockets and reads small files.
const VISIT_STACK: usize = 128 * 1024;
