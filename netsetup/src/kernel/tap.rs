//! Ethernet links whose other end is a program: taps. No netlink message makes one.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::sys;
use crate::error::{Context, Error, Result};

/// A tap that goes when this value goes, unless it is made to stay.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    name: String,
}

/// What is said of a tap when it is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings<'a> {
    /// The user who may use it.
    pub owner: Option<u32>,
    /// The group that may use it.
    pub group: Option<u32>,
    /// Several programs may hold it open, each with a queue of its own.
    pub multi_queue: bool,
    /// The SELinux context that it is made in.
    pub selinux: Option<&'a str>,
}

const TUN: &str = "/dev/net/tun";

impl Tap {
    /// Makes one in the calling thread's network namespace. The thread keeps the SELinux
    /// context: let it be a short-lived one.
    ///
    /// # Errors
    /// A kernel without the tun driver; a name that is taken: EBUSY.
    pub fn make(name: &str, settings: Settings<'_>) -> Result<Tap> {
        let what = || format!("make tap {name}");
        if let Some(context) = settings.selinux {
            take_context(context)?;
        }
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let fd = rustix::fs::open(TUN, flags, Mode::empty()).map_err(|e| {
            Error::errno(format!("open {TUN}"), e.raw_os_error())
                .hint("taps need the kernel's tun driver, and its device file")
        })?;
        let queues = if settings.multi_queue { libc::IFF_MULTI_QUEUE } else { 0 };
        sys::tun_open(fd.as_fd(), name, libc::IFF_TAP | libc::IFF_NO_PI | queues).ctx(what)?;
        let set = |what: libc::Ioctl, id: Option<u32>, word: &str| match id {
            Some(id) => sys::tun_set(fd.as_fd(), what, id.into())
                .ctx(|| format!("set the {word} of tap {name}")),
            None => Ok(()),
        };
        set(libc::TUNSETOWNER, settings.owner, "owner")?;
        set(libc::TUNSETGROUP, settings.group, "group")?;
        Ok(Tap { fd, name: name.to_owned() })
    }

    /// From here on it stays until it is deleted.
    pub fn keep(self) -> Result<()> {
        sys::tun_set(self.fd.as_fd(), libc::TUNSETPERSIST, 1)
            .ctx(|| format!("keep tap {}", self.name))
    }
}

/// What the calling thread makes from here on has this SELinux context.
fn take_context(context: &str) -> Result<()> {
    let file = Path::new("/proc/thread-self/attr/current");
    std::fs::write(file, context).map_err(|e| {
        Error::io(format!("take SELinux context {context:?}"), &e)
            .hint("a kernel without SELinux has no such context; selinuxContext can be left out")
    })
}
