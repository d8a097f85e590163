//! Ethernet links whose other end is a program: taps. No netlink message makes one.
//!
//! A tap has the SELinux context of who makes it. That can be changed by a process with one
//! thread (with more, only to a context that is bounded by the old one: selinux_setprocattr
//! of security/selinux/hooks.c), and the way back needs a permission of its own. So where a
//! context is asked for a copy of this process takes it, makes the tap, and ends.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::sys;
use crate::error::{Error, Result};

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

/// Makes one in the calling thread's network namespace, which stays until it is deleted.
///
/// # Errors
/// A kernel without the tun driver; a name that is taken: EBUSY.
pub fn make(name: &str, settings: Settings<'_>) -> Result<()> {
    let (stage, errno) = match settings.selinux {
        None => outcome(build(name, settings)),
        Some(_) => {
            let answer = sys::in_copy(|| {
                let (stage, errno) = outcome(build(name, settings));
                [stage as i32, errno].map(i32::to_ne_bytes)
            });
            let what = || format!("start a process to make tap {name}");
            let [stage, errno] = answer.map_err(|e| Error::errno(what(), e.raw_os_error()))?;
            (Stage::of(i32::from_ne_bytes(stage)), i32::from_ne_bytes(errno))
        }
    };
    if stage == Stage::Done { Ok(()) } else { Err(stage.error(name, settings, errno)) }
}

/// How far the making of a tap has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Done,
    Context,
    Open,
    Make,
    Owner,
    Group,
    Keep,
}

fn outcome(built: std::result::Result<(), (Stage, Errno)>) -> (Stage, i32) {
    match built {
        Ok(()) => (Stage::Done, 0),
        Err((stage, errno)) => (stage, errno.raw_os_error()),
    }
}

/// It allocates nothing, as a copy of a process mustn't.
fn build(name: &str, settings: Settings<'_>) -> std::result::Result<(), (Stage, Errno)> {
    if let Some(context) = settings.selinux {
        take_context(context).map_err(|e| (Stage::Context, e))?;
    }
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let fd = rustix::fs::open(c"/dev/net/tun", flags, Mode::empty());
    let fd = fd.map_err(|e| (Stage::Open, e))?;
    let queues = if settings.multi_queue { libc::IFF_MULTI_QUEUE } else { 0 };
    sys::tun_open(fd.as_fd(), name, libc::IFF_TAP | libc::IFF_NO_PI | queues)
        .map_err(|e| (Stage::Make, e))?;
    set(fd.as_fd(), libc::TUNSETOWNER, settings.owner).map_err(|e| (Stage::Owner, e))?;
    set(fd.as_fd(), libc::TUNSETGROUP, settings.group).map_err(|e| (Stage::Group, e))?;
    set(fd.as_fd(), libc::TUNSETPERSIST, Some(1)).map_err(|e| (Stage::Keep, e))
}

fn set(fd: BorrowedFd<'_>, what: libc::Ioctl, value: Option<u32>) -> rustix::io::Result<()> {
    value.map_or(Ok(()), |value| sys::tun_set(fd, what, value.into()))
}

/// What this process makes from here on has this SELinux context. The kernel takes it whole,
/// in one write at the file's beginning.
fn take_context(context: &str) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(c"/proc/thread-self/attr/current", flags, Mode::empty())?;
    rustix::io::pwrite(&file, context.as_bytes(), 0).map(|_| ())
}

impl Stage {
    fn of(number: i32) -> Stage {
        use Stage::{Context, Done, Group, Keep, Make, Open, Owner};
        let all = [Done, Context, Open, Make, Owner, Group, Keep];
        all.into_iter().find(|stage| *stage as i32 == number).unwrap_or(Make)
    }

    /// What failed there, in words.
    fn error(self, name: &str, settings: Settings<'_>, errno: i32) -> Error {
        let failed = |what: String| Error::errno(what, errno);
        match self {
            Stage::Context => {
                let context = settings.selinux.unwrap_or_default();
                failed(format!("take SELinux context {context:?}")).hint(
                    "a kernel without SELinux has no such context; selinuxContext can be left out",
                )
            }
            Stage::Open => failed("open /dev/net/tun".into())
                .hint("taps need the kernel's tun driver, and its device file"),
            Stage::Owner => failed(format!("set the owner of tap {name}")),
            Stage::Group => failed(format!("set the group of tap {name}")),
            Stage::Keep => failed(format!("keep tap {name}")),
            Stage::Make | Stage::Done => failed(format!("make tap {name}")),
        }
    }
}
