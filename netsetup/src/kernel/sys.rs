//! The only unsafe code of netsetup: two socket options, the ioctls of namespaces and of
//! tun, a fork, and a frame sent as it is, which no safe crate offers.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// Sets an option at level SOL_NETLINK: 1 turns NETLINK_EXT_ACK, NETLINK_CAP_ACK and
/// NETLINK_GET_STRICT_CHK on; NETLINK_ADD_MEMBERSHIP and NETLINK_DROP_MEMBERSHIP take the
/// number of a group. Source: netlink(7).
pub(super) fn set_netlink_option(
    fd: BorrowedFd<'_>,
    option: i32,
    value: libc::c_int,
) -> Result<(), Errno> {
    // SAFETY: the pointer and the length describe `value`, which lives through
    // the call; the kernel only reads it.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
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

/// Runs `job` in a process of its own that this one has not to wait for, with no open file
/// but these: no flock and no pipe of the caller lives on in it. `job` makes system
/// calls and nothing else: it must not allocate, for the program may have other threads.
///
/// Returns when that process has begun, not when it has ended. Nobody gets a SIGCHLD, and
/// no zombie stays: its parent ends at once and is waited for here, and whoever adopts
/// orphans waits for it.
///
/// # Errors
/// EAGAIN, ENOMEM: no process could be made; `job` does not run. Where close_range(2) is
/// missing (Linux 5.9) or denied, `job` doesn't run either, and its files are closed.
pub(super) fn apart<J: FnOnce()>(keep: &[BorrowedFd<'_>], job: J) -> Result<(), Errno> {
    let keep = in_order(keep);
    // Its stack: the caller's holds frames that wait here. In words of what stacks are aligned to.
    let mut stack: Vec<u128> = Vec::with_capacity(APART_STACK / size_of::<u128>());
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
    let mut asked = Asked { keep: &keep, job: Some(job) };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK;
    // SAFETY: `top` is the upper end of a stack, `asked` is what `leave` expects. Both live
    // through the call: with CLONE_VFORK this thread stands still until the child is gone, so
    // neither touches memory while the other does, and no copy of it is made.
    let pid = unsafe { libc::clone(leave::<J>, top.cast(), flags, (&raw mut asked).cast()) };
    if pid < 0 { Err(last_error()) } else { wait(pid) }
}

/// Bytes of the stack of [`apart`]'s processes.
const APART_STACK: usize = 32 * 1024;

/// What [`apart`]'s first process is given.
struct Asked<'a, J> {
    /// In order.
    keep: &'a [libc::c_uint],
    job: Option<J>,
}

/// [`apart`]'s first process: of the caller's memory, but with files of its own.
extern "C" fn leave<J: FnOnce()>(asked: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `apart` hands in what it owns, and looks at it no more.
    let asked = unsafe { &mut *asked.cast::<Asked<'_, J>>() };
    // Closed before the second process is made: when `apart` returns, nothing of the
    // caller's is open in any of them.
    if close_but(asked.keep) {
        // A directory that is about to be unmounted must not be in use.
        let _ = rustix::process::chdir(c"/");
        if fork() == Ok(0)
            && let Some(job) = asked.job.take()
        {
            job();
        }
    }
    // SAFETY: _exit has no preconditions and never returns.
    unsafe { libc::_exit(0) }
}

/// A child that goes on in a copy of this process, and whose end is no signal.
fn fork() -> Result<libc::pid_t, Errno> {
    // SAFETY: clone without CLONE_VM and with a null stack is fork. The child sees locks
    // of other threads as they were; it takes none, as it calls the kernel alone.
    let pid = unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) };
    if pid < 0 { Err(last_error()) } else { Ok(pid as libc::pid_t) }
}

/// Waits for a child that sends no signal when it ends: __WALL, waitpid(2).
fn wait(pid: libc::pid_t) -> Result<(), Errno> {
    loop {
        // SAFETY: the status is not asked for: no memory is written to.
        let waited = unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) };
        match last_error() {
            _ if waited == pid => return Ok(()),
            Errno::INTR => {}
            error => return Err(error),
        }
    }
}

/// Numbers of descriptors for [`close_but`].
pub(super) fn in_order(fds: &[BorrowedFd<'_>]) -> Vec<libc::c_uint> {
    let mut numbers: Vec<libc::c_uint> = fds.iter().map(|fd| fd.as_raw_fd() as _).collect();
    numbers.sort_unstable();
    numbers
}

/// Of a process of [`apart`]: closes every descriptor but these, which are in order. It is not to
/// use the others any more.
pub(super) fn close_but(keep: &[libc::c_uint]) -> bool {
    let close = |first: libc::c_uint, last: libc::c_uint| {
        // musl has no function for it.
        // SAFETY: this process goes on to use those that stay, and nothing else that is
        // open; it ends without running a destructor.
        first > last || unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0
    };
    let mut next = 0;
    keep.iter().all(|&fd| {
        let first = std::mem::replace(&mut next, fd + 1);
        fd == 0 || close(first, fd - 1)
    }) && close(next, libc::c_uint::MAX)
}

/// Makes a link of the tun driver, or opens one: `flags` are IFF_TAP, IFF_NO_PI, ... It
/// lives as long as `fd` unless [`tun_set`] says otherwise. A name is at most 15 bytes long.
/// Source: TUNSETIFF, linux/if_tun.h.
pub(super) fn tun_open(fd: BorrowedFd<'_>, name: &str, flags: i32) -> Result<(), Errno> {
    // struct ifreq: 16 bytes of name, then a union of which ifr_flags is a short.
    let mut request = [0u8; 40];
    let name = name.as_bytes().get(..15.min(name.len())).unwrap_or_default();
    request[..name.len()].copy_from_slice(name);
    request[16..18].copy_from_slice(&(flags as u16).to_ne_bytes());
    // SAFETY: `request` is as long as struct ifreq, which the kernel reads and writes, and
    // lives through the call.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) };
    if done == 0 { Ok(()) } else { Err(last_error()) }
}

/// Sets what is a number of an open link of the tun driver: TUNSETOWNER, TUNSETGROUP,
/// TUNSETPERSIST. Source: linux/if_tun.h.
pub(super) fn tun_set(
    fd: BorrowedFd<'_>,
    what: libc::Ioctl,
    value: libc::c_ulong,
) -> Result<(), Errno> {
    // SAFETY: these three take a number, and touch no memory of ours.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), what, value) };
    if done == 0 { Ok(()) } else { Err(last_error()) }
}

/// Sends one frame over the link of this index. Source: packet(7).
pub(super) fn send_frame(fd: BorrowedFd<'_>, index: u32, frame: &[u8]) -> Result<(), Errno> {
    let [a, b, c, d] = index.to_ne_bytes();
    let [e, g] = (libc::AF_PACKET as u16).to_ne_bytes();
    // struct sockaddr_ll: family, protocol, index, and what only receivers are told.
    let mut to = [0u8; size_of::<libc::sockaddr_ll>()];
    to[..8].copy_from_slice(&[e, g, 0, 0, a, b, c, d]);
    // SAFETY: both pointers and their lengths describe slices that live through the call;
    // the kernel only reads them.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            libc::MSG_DONTWAIT,
            to.as_ptr().cast(),
            to.len() as libc::socklen_t,
        )
    };
    if sent >= 0 { Ok(()) } else { Err(last_error()) }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
