//! Sysctls, read and written in the namespace of the calling thread.
//!
//! A pod's own mount namespace is never trusted: paths are resolved beneath a
//! directory that was seen to be procfs, without following any link
//! (CVE-2019-19921, CVE-2025-52881).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::error::{Context, Error, Result};

/// `/proc/sys`, verified.
#[derive(Debug)]
pub struct ProcSys {
    /// A directory of procfs.
    root: OwnedFd,
    /// Where in it the sysctls are.
    below: &'static str,
}

impl ProcSys {
    /// Opens `/proc/sys` and sees that it is procfs. A sysctl of `net` read or
    /// written through it is that of the *calling thread's* network namespace.
    pub fn open() -> Result<ProcSys> {
        let what = || "open /proc/sys".to_owned();
        let fd = rustix::fs::open(
            "/proc/sys",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .ctx(what)?;
        let magic = rustix::fs::fstatfs(&fd).ctx(what)?.f_type;
        if magic as u64 != libc::PROC_SUPER_MAGIC as u64 {
            return Err(Error::input(what(), "it is not procfs"));
        }
        Ok(ProcSys { root: fd, below: "" })
    }

    /// A procfs of one's own, mounted nowhere (fsopen(2), Linux 5.2); `/proc/sys` where that is not
    /// allowed, as in a user namespace that sees no whole procfs.
    ///
    /// Below the one of `/proc` each network namespace that was ever looked into has a directory
    /// `net/ipv6` to itself, all under one hash: to find a new namespace's takes the kernel 1 us
    /// for each of them, and one is added. Whoever closes this last waits 0.1 ms.
    pub fn apart() -> Result<ProcSys> {
        match proc_mount() {
            Ok(root) => Ok(ProcSys { root, below: "sys/" }),
            Err(_) => ProcSys::open(),
        }
    }

    /// The value without its newline; `None` where there is no such sysctl.
    pub fn read(&self, path: &[String]) -> Result<Option<String>> {
        let fd = match self.at(path, OFlags::RDONLY) {
            Ok(fd) => fd,
            Err(e) if e.is(libc::ENOENT) => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut bytes = vec![0; 4096];
        let len = rustix::io::read(&fd, &mut bytes[..])
            .ctx(|| format!("read sysctl {}", dotted(path)))?;
        Ok(Some(String::from_utf8_lossy(&bytes[..len]).trim_end().to_owned()))
    }

    /// Writes a value.
    pub fn write(&self, path: &[String], value: &str) -> Result<()> {
        let what = || format!("set sysctl {}={value}", dotted(path));
        let fd = self.at(path, OFlags::WRONLY).map_err(|e| Error { what: what(), ..e })?;
        rustix::io::write(&fd, value.as_bytes()).ctx(what)?;
        Ok(())
    }

    fn at(&self, path: &[String], flags: OFlags) -> Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        rustix::fs::openat2(
            &self.root,
            format!("{}{}", self.below, path.join("/")),
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )
        .ctx(|| format!("open sysctl {}", dotted(path)))
    }
}

impl AsFd for ProcSys {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

fn proc_mount() -> rustix::io::Result<OwnedFd> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags)
}

/// A path as sysctl(8) writes it: dots between parts, `/` for a dot within one.
pub fn dotted(path: &[String]) -> String {
    let parts: Vec<String> = path.iter().map(|part| part.replace('.', "/")).collect();
    parts.join(".")
}

/// A path from its dotted form, as sysctl(8) reads it.
pub fn path_of(dotted: &str) -> Vec<String> {
    dotted.split('.').map(|part| part.replace('/', ".")).collect()
}
