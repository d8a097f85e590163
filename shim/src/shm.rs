//! /dev/shm: what POSIX shared memory goes through. It belongs to whoever has the ipc
//! namespace, but the kernel knows nothing of that: it is a mount like any other.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use podkeel_netsetup::error::{Context, Error, Kind, Result};
use podkeel_netsetup::kernel::{Ns, NsKind};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::alive::Living;

/// Where it is.
const AT: &str = "/dev/shm";

/// What a container has for /dev/shm.
#[derive(Debug)]
pub enum Shm {
    /// The caller's.
    Callers,
    /// Another's: a mount that is on nothing yet.
    Of(OwnedFd),
    /// An empty one.
    Own,
}

/// The one that is mounted at a path; the caller's where nothing is.
pub fn of_path(path: &Path) -> Result<Shm> {
    let what = || format!("share {}", path.display());
    match clone(path) {
        Ok(mount) => Ok(Shm::Of(mount)),
        Err(Errno::NOENT) => Ok(Shm::Callers),
        Err(errno) => Err(errno).ctx(what),
    }
}

/// That of a process. Mounts are taken from one namespace to another by descriptor; a
/// thread of its own goes there for it.
pub fn of_process(living: &Living) -> Result<Shm> {
    let pid = living.process.pid;
    let ns = Ns::of_process(pid, NsKind::Mnt)?;
    if ns.same(&Ns::own(NsKind::Mnt)?) {
        return Ok(Shm::Callers);
    }
    let what = || format!("share /dev/shm of process {pid}");
    let visit = || {
        unshare(CloneFlags::CLONE_FS)
            .and_then(|()| setns(ns.as_fd(), CloneFlags::CLONE_NEWNS))
            .map_err(|errno| Error::errno(what(), errno as i32))?;
        match clone(Path::new(AT)) {
            Ok(mount) => Ok(Shm::Of(mount)),
            Err(Errno::NOENT) => Ok(Shm::Callers),
            Err(errno) => Err(errno).ctx(what),
        }
    };
    std::thread::scope(|scope| match scope.spawn(visit).join() {
        Ok(shm) => shm,
        Err(_) => Err(Error::new(Kind::Failed, what(), "the thread panicked")),
    })
}

fn clone(path: &Path) -> std::result::Result<OwnedFd, Errno> {
    open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
}

impl Shm {
    /// Mounts it, in a mount namespace that is the caller's own.
    pub fn mount(&self) -> Result<()> {
        let what = || "mount /dev/shm".to_owned();
        match self {
            Shm::Callers => Ok(()),
            Shm::Of(mount) => {
                let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                move_mount(mount, "", CWD, AT, flags).ctx(what)
            }
            Shm::Own => {
                let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
                mount(Some("shm"), AT, Some("tmpfs"), flags, Some("mode=1777,size=64m"))
                    .map_err(|errno| Error::errno(what(), errno as i32))
            }
        }
    }
}
