//! The only unsafe code of netsetup: socket options, the ioctls of namespaces and of
//! tun, a process in the caller's memory, and the address of a frame, which no safe crate offers.

#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};

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

/// The network namespace that a socket belongs to. Source: SIOCGSKNS, Linux 4.10; EPERM
/// without CAP_NET_ADMIN in it.
pub(super) fn netns_of(socket: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: SIOCGSKNS takes no argument and touches no memory of ours.
    let fd = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGSKNS as libc::Ioctl) };
    if fd < 0 {
        return Err(last_error());
    }
    // SAFETY: the kernel has just opened it, close-on-exec, for whoever asks.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Which kind of namespace a file is: CLONE_NEWNET, CLONE_NEWPID, ...
/// Source: ioctl_ns(2).
pub(super) fn namespace_type(fd: BorrowedFd<'_>) -> Result<i32, Errno> {
    // SAFETY: NS_GET_NSTYPE takes no argument and touches no memory of ours.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), libc::NS_GET_NSTYPE) };
    if kind >= 0 { Ok(kind) } else { Err(last_error()) }
}

/// Runs `job` in a process of its own that this one has not to wait for, with no open file
/// but these, which `job` is given: no flock and no pipe of the caller lives on in it. `job`
/// makes system calls and nothing else. It must not allocate: its process is in the caller's
/// memory, whose locks it may never get, but in none of the caller's threads. And it must
/// leave errno alone, for that is the calling thread's: rustix does, where libc doesn't.
///
/// Nobody gets a SIGCHLD, and no zombie stays: the parent of that process is another one, which
/// ends at once, and whoever adopts orphans waits for it. What `job` owns, and the stacks, are
/// never given back: nobody knows when it is done with them. Of a stack that is the pages
/// that were written to.
///
/// # Errors
/// EAGAIN, ENOMEM: no process could be made; `job` does not run. Where close_range(2) is
/// missing (Linux 5.9) or denied, `job` doesn't run either, and its files are closed.
pub(super) fn apart<J: Job>(keep: &[BorrowedFd<'_>], job: J) -> Result<Leaving, Errno> {
    let numbers = in_order(keep);
    // SAFETY: they are open in the process that gets them, which closes all others, until
    // its end.
    let files = keep.iter().map(|fd| unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) }).collect();
    let asked = Asked { keep: numbers, files, job, stack: new_stack() };
    let asked: *mut Asked<J> = Box::leak(Box::new(asked));
    // SAFETY: the stack is a new one, and `asked` is what `leave` expects; neither is ever
    // freed or written to by this process any more.
    let pid = unsafe { libc::clone(leave::<J>, new_stack(), libc::CLONE_VM, asked.cast()) };
    if pid < 0 { Err(last_error()) } else { Ok(Leaving(pid)) }
}

/// The process between the caller's and the one of [`apart`]. Once this is dropped, nothing of
/// the caller's is open in any of them; it takes about a tenth of a millisecond, in which the
/// caller may do something else.
#[must_use]
#[derive(Debug)]
pub(super) struct Leaving(libc::pid_t);

impl Drop for Leaving {
    fn drop(&mut self) {
        let _ = wait(self.0);
    }
}

/// What a process of [`apart`] does with the files that it has kept, in the order in which
/// they were given.
pub(super) trait Job: Fn(&'static [BorrowedFd<'static>]) + Send + 'static {}

impl<J: Fn(&'static [BorrowedFd<'static>]) + Send + 'static> Job for J {}

/// What [`apart`]'s processes are given.
struct Asked<J> {
    /// In order.
    keep: Vec<libc::c_uint>,
    files: Vec<BorrowedFd<'static>>,
    job: J,
    /// The second one's.
    stack: *mut libc::c_void,
}

/// The upper end of a stack for a process of [`apart`].
fn new_stack() -> *mut libc::c_void {
    // In words of what stacks are aligned to.
    let stack = Vec::<u128>::with_capacity(APART_STACK / size_of::<u128>());
    ManuallyDrop::new(stack).spare_capacity_mut().as_mut_ptr_range().end.cast()
}

/// Bytes of the stack of a process of [`apart`].
const APART_STACK: usize = 16 * 1024;

/// [`apart`]'s first process: of the caller's memory, but with files of its own.
extern "C" fn leave<J: Job>(asked: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `apart` hands in what is never freed, and nobody writes to any more.
    let Asked { keep, stack, .. } = unsafe { &*asked.cast::<Asked<J>>() };
    // Closed before the second process is made, and before this one ends, which the caller
    // waits for.
    if close_but(keep) {
        // A directory that is about to be unmounted must not be in use.
        let _ = rustix::process::chdir(c"/");
        // SAFETY: as in `apart`. Its memory is the caller's, too: no copy of that is made.
        let _ = unsafe { libc::clone(stay::<J>, *stack, libc::CLONE_VM, asked) };
    }
    // SAFETY: _exit has no preconditions and never returns.
    unsafe { libc::_exit(0) }
}

/// [`apart`]'s second process, which does the job.
extern "C" fn stay<J: Job>(asked: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `apart` hands in what is never freed, and nobody writes to any more.
    let Asked { files, job, .. } = unsafe { &*asked.cast::<Asked<J>>() };
    job(files);
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

/// Runs `job` in a copy of this process, with one thread and memory of its own, waits for
/// its end, and returns the answer. `job` makes system calls and nothing else, as in [`apart`].
///
/// # Errors
/// EAGAIN, ENOMEM: no process could be made. EPIPE: it ended without an answer.
pub(super) fn in_copy<const N: usize>(
    job: impl FnOnce() -> [[u8; 4]; N],
) -> Result<[[u8; 4]; N], Errno> {
    let pipe = std::io::pipe();
    let (ours, theirs) = pipe.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    let pid = fork()?;
    if pid == 0 {
        let _ = rustix::io::write(&theirs, job().as_flattened());
        // SAFETY: _exit has no preconditions and never returns.
        unsafe { libc::_exit(0) }
    }
    drop(theirs);
    let mut answer = [[0; 4]; N];
    let read = rustix::io::retry_on_intr(|| rustix::io::read(&ours, answer.as_flattened_mut()));
    wait(pid)?;
    if read? == N * 4 { Ok(answer) } else { Err(Errno::PIPE) }
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

/// Whom [`send_frame`] sends to: struct sockaddr_ll. Source: packet(7).
struct LinkAddr(libc::sockaddr_ll);

// SAFETY: the pointer is to a whole struct sockaddr_ll, with its length.
unsafe impl SocketAddrArg for LinkAddr {
    unsafe fn with_sockaddr<R>(
        &self,
        f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R,
    ) -> R {
        f((&raw const self.0).cast(), size_of::<libc::sockaddr_ll>() as SocketAddrLen)
    }
}

/// Sends one frame, as it is, over the link of this index. Leaves errno alone.
pub(super) fn send_frame(fd: BorrowedFd<'_>, index: u32, frame: &[u8]) -> Result<(), Errno> {
    // What only receivers are told, and what is in the frame already, is 0.
    let to = LinkAddr(libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    });
    rustix::net::sendto(fd, frame, SendFlags::DONTWAIT, &to).map(|_| ())
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
