//! The system calls of the plain join, each named, with what it is promised.

use crate::arch::syscall;
use crate::own::nr;

/// Numbers of errors (`asm-generic/errno-base.h`).
pub(crate) const ENOENT: isize = 2;
pub(crate) const EINTR: isize = 4;
pub(crate) const EACCES: isize = 13;
pub(crate) const ENOTDIR: isize = 20;

/// clone(2), setns(2) (`linux/sched.h`).
pub(crate) const CLONE_NEWNS: usize = 0x0002_0000;
pub(crate) const CLONE_NEWUTS: usize = 0x0400_0000;
pub(crate) const CLONE_NEWIPC: usize = 0x0800_0000;
pub(crate) const CLONE_NEWPID: usize = 0x2000_0000;
pub(crate) const CLONE_NEWNET: usize = 0x4000_0000;
const CLONE_VM: usize = 0x100;
const CLONE_VFORK: usize = 0x4000;

/// Signals (`asm-generic/signal.h`; the same on all that this is written for).
pub(crate) const SIGCHLD: i32 = 17;
pub(crate) const SIGSTOP: i32 = 19;
pub(crate) const SIGTSTP: i32 = 20;
pub(crate) const SIGTTIN: i32 = 21;
pub(crate) const SIGTTOU: i32 = 22;
/// siginfo's code of a signal that the kernel sends itself (`asm-generic/siginfo.h`).
pub(crate) const SI_KERNEL: i32 = 0x80;
const SIG_BLOCK: usize = 0;
const SIG_SETMASK: usize = 2;
/// Bytes of the kernel's signal set.
const SET: usize = 8;

/// mount(2) (`linux/mount.h`).
pub(crate) const MS_NOSUID_NODEV_NOEXEC: usize = 2 | 4 | 8;
pub(crate) const MS_REC_SLAVE: usize = 0x4000 | 0x8_0000;

const AT_FDCWD: usize = -100_isize as usize;
const O_CLOEXEC: usize = 0o2_000_000;
const OPEN_TREE_CLONE: usize = 1;
const MOVE_MOUNT_F_EMPTY_PATH: usize = 4;
const CLOSE_RANGE_CLOEXEC: usize = 4;
const PR_SET_DUMPABLE: usize = 4;
const WNOHANG: usize = 1;
const WUNTRACED: usize = 2;

/// Text that ends with a zero byte, where the kernel has laid it out or in a [`Path`].
pub(crate) type Text = *const u8;

/// The value of a call, or the number of the error.
fn checked(value: isize) -> Result<usize, isize> {
    if value < 0 { Err(-value) } else { Ok(value as usize) }
}

/// An open file. Dropped, it is closed.
pub(crate) struct Fd(usize);

impl Fd {
    /// Opens a file for reading.
    pub(crate) fn open(path: Text) -> Result<Fd, isize> {
        // SAFETY: a Text ends with a zero byte.
        checked(unsafe { syscall(nr::OPENAT, AT_FDCWD, path as usize, O_CLOEXEC, 0, 0) }).map(Fd)
    }

    /// Holds a process: pidfd_open(2).
    pub(crate) fn of_process(pid: i32) -> Result<Fd, isize> {
        // SAFETY: takes numbers only.
        checked(unsafe { syscall(nr::PIDFD_OPEN, pid as usize, 0, 0, 0, 0) }).map(Fd)
    }

    /// A copy of the mount at a path, on nothing yet: open_tree(2).
    pub(crate) fn of_mount(path: Text) -> Result<Fd, isize> {
        let flags = OPEN_TREE_CLONE | O_CLOEXEC;
        // SAFETY: a Text ends with a zero byte.
        checked(unsafe { syscall(nr::OPEN_TREE, AT_FDCWD, path as usize, flags, 0, 0) }).map(Fd)
    }

    /// Reads from the beginning until the end or until the buffer is full.
    pub(crate) fn read<'a>(&self, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let mut filled = 0;
        loop {
            let rest = buffer.get_mut(filled..)?;
            let (at, size) = (rest.as_mut_ptr() as usize, rest.len());
            // SAFETY: the kernel writes at most `size` bytes to the rest of the buffer.
            match checked(unsafe { syscall(nr::READ, self.0, at, size, 0, 0) }) {
                Ok(0) => return buffer.get(..filled),
                Ok(count) => filled += count,
                Err(EINTR) => {}
                Err(_) => return None,
            }
        }
    }

    /// Enters the namespaces of these kinds of the process: setns(2).
    pub(crate) fn enter(&self, kinds: usize) -> bool {
        // SAFETY: takes numbers only.
        unsafe { syscall(nr::SETNS, self.0, kinds, 0, 0, 0) == 0 }
    }

    /// Puts the mount on a directory: move_mount(2).
    pub(crate) fn mount_on(&self, path: Text) -> bool {
        let (empty, path) = (c"".as_ptr() as usize, path as usize);
        let flags = MOVE_MOUNT_F_EMPTY_PATH;
        // SAFETY: both paths end with a zero byte.
        unsafe { syscall(nr::MOVE_MOUNT, self.0, empty, AT_FDCWD, path, flags) == 0 }
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: the descriptor is this value's alone, and nobody uses it afterwards.
        unsafe { syscall(nr::CLOSE, self.0, 0, 0, 0, 0) };
    }
}

/// mount(2); null stands for what isn't given.
pub(crate) fn mount(source: Text, target: Text, kind: Text, flags: usize) -> bool {
    let (source, target, kind) = (source as usize, target as usize, kind as usize);
    // SAFETY: each is null or ends with a zero byte.
    unsafe { syscall(nr::MOUNT, source, target, kind, flags, 0) == 0 }
}

/// Has all descriptors from 3 on closed by the next exec: close_range(2).
pub(crate) fn close_at_exec() -> bool {
    // SAFETY: only marks descriptors.
    unsafe { syscall(nr::CLOSE_RANGE, 3, u32::MAX as usize, CLOSE_RANGE_CLOEXEC, 0, 0) == 0 }
}

/// Whether others may trace this memory: PR_SET_DUMPABLE(2const).
pub(crate) fn set_dumpable(yes: bool) {
    // SAFETY: takes numbers only.
    unsafe { syscall(nr::PRCTL, PR_SET_DUMPABLE, usize::from(yes), 0, 0, 0) };
}

/// Blocks more signals, and returns the mask that was: rt_sigprocmask(2).
pub(crate) fn block(set: u64) -> Option<u64> {
    let mut old = 0u64;
    let (new, place) = (&raw const set as usize, &raw mut old as usize);
    // SAFETY: the kernel reads and writes one set each.
    let done = unsafe { syscall(nr::RT_SIGPROCMASK, SIG_BLOCK, new, place, SET, 0) };
    (done == 0).then_some(old)
}

/// Sets the signal mask.
pub(crate) fn set_mask(set: u64) {
    // SAFETY: the kernel reads one set.
    unsafe { syscall(nr::RT_SIGPROCMASK, SIG_SETMASK, &raw const set as usize, 0, SET, 0) };
}

/// The beginning of the kernel's siginfo.
#[repr(C, align(8))]
pub(crate) struct Info {
    pub(crate) signal: i32,
    errno: i32,
    pub(crate) code: i32,
    rest: [u32; 29],
}

/// Waits for one of these signals, which are blocked.
pub(crate) fn fetch(set: u64) -> Option<Info> {
    fetch_within(set, 0)
}

/// The same, of those that have come.
pub(crate) fn fetch_now(set: u64) -> Option<Info> {
    let none = [0_i64; 2];
    fetch_within(set, none.as_ptr() as usize)
}

/// rt_sigtimedwait(2): at most for the timespec at this address; for ever if that is null.
fn fetch_within(set: u64, patience: usize) -> Option<Info> {
    let mut info = Info { signal: 0, errno: 0, code: 0, rest: [0; 29] };
    let (set, place) = (&raw const set as usize, &raw mut info as usize);
    // SAFETY: the kernel reads one set and one timespec, and writes one siginfo, of 128 bytes.
    let signal = unsafe { syscall(nr::RT_SIGTIMEDWAIT, set, place, patience, SET, 0) };
    (signal > 0).then_some(info)
}

/// Sends a signal: kill(2).
pub(crate) fn kill(pid: i32, signal: i32) {
    // SAFETY: takes numbers only.
    unsafe { syscall(nr::KILL, pid as usize, signal as usize, 0, 0, 0) };
}

/// What wait4(2) tells.
pub(crate) enum News {
    /// Nothing yet.
    None,
    /// This child has ended or stopped, with this status.
    Of(i32, u32),
    /// There is no child.
    NoChild,
}

/// What is new of any child; with `wait`, of this one, once it has ended.
pub(crate) fn news(of: Option<i32>) -> News {
    let mut status = 0u32;
    let (pid, options) = match of {
        Some(pid) => (pid as usize, 0),
        None => (-1_isize as usize, WNOHANG | WUNTRACED),
    };
    loop {
        // SAFETY: the kernel writes one int.
        let value = unsafe { syscall(nr::WAIT4, pid, &raw mut status as usize, options, 0, 0) };
        match checked(value) {
            Ok(0) => return News::None,
            Ok(pid) => return News::Of(pid as i32, status),
            Err(EINTR) => {}
            Err(_) => return News::NoChild,
        }
    }
}

/// This process's id.
pub(crate) fn own_pid() -> i32 {
    // SAFETY: takes nothing.
    unsafe { syscall(nr::GETPID, 0, 0, 0, 0, 0) as i32 }
}

/// A process's group; 0 is this process: getpgid(2).
pub(crate) fn group(pid: i32) -> isize {
    // SAFETY: takes a number only.
    unsafe { syscall(nr::GETPGID, pid as usize, 0, 0, 0, 0) }
}

/// Becomes a program: execve(2). Returns the error.
pub(crate) fn execute(file: Text, words: *const Text, environment: *const Text) -> isize {
    let (file, words, environment) = (file as usize, words as usize, environment as usize);
    // SAFETY: the file's name ends with a zero byte; both lists are the kernel's own, from
    // this program's start, and end with a null.
    -unsafe { syscall(nr::EXECVE, file, words, environment, 0, 0) }
}

/// Runs `job` in a child that shares this memory, in new namespaces of these kinds; this
/// process sleeps until the child has executed a program or ended. Returns its pid.
pub(crate) fn spawn<T>(kinds: usize, job: extern "C" fn(&mut T) -> !, with: &mut T) -> Option<i32> {
    let flags = kinds | CLONE_VM | CLONE_VFORK | SIGCHLD as usize;
    // SAFETY: the job takes a T, and `with` is one that nobody else touches meanwhile.
    let pid = unsafe { crate::own::spawn(flags, job as usize, (&raw mut *with) as usize) };
    (pid > 0).then_some(pid as i32)
}
