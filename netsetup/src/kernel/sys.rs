//! The only unsafe code of netsetup: two socket options and an ioctl that no safe crate offers.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// Sets a boolean option at level SOL_NETLINK: NETLINK_EXT_ACK, NETLINK_CAP_ACK,
/// NETLINK_GET_STRICT_CHK. Source: netlink(7).
pub(super) fn set_netlink_option(fd: BorrowedFd<'_>, option: i32) -> Result<(), Errno> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer and the length describe `on`, which lives through
    // the call; the kernel only reads it.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(last_error()) }
}

/// The cookie of the network namespace that a socket belongs to: a number that
/// the kernel never gives out twice in one boot. Source: SO_NETNS_COOKIE,
/// Linux 5.14; ENOPROTOOPT before.
pub(super) fn netns_cookie(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut cookie = 0u64;
    let mut len = size_of_val(&cookie) as libc::socklen_t;
    // SAFETY: the pointer and the length describe `cookie`, which lives
    // through the call; the kernel writes at most `len` bytes to it.
    let done = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    if done == 0 { Ok(cookie) } else { Err(last_error()) }
}

/// Which kind of namespace a file is: CLONE_NEWNET, CLONE_NEWPID, ...
/// Source: ioctl_ns(2).
pub(super) fn namespace_type(fd: BorrowedFd<'_>) -> Result<i32, Errno> {
    // SAFETY: NS_GET_NSTYPE takes no argument and touches no memory of ours.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), libc::NS_GET_NSTYPE) };
    if kind >= 0 { Ok(kind) } else { Err(last_error()) }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
