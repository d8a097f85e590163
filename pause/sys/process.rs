//! The system calls of the init mode.

use super::{Result, SIG_IGN, Set, Str, Words, arch, check, exit, getpid, zeros};
use crate::init::Job;
use arch::{nr, syscall1, syscall2, syscall3, syscall4};

/// No such file or directory (`asm-generic/errno-base.h`).
pub(crate) const ENOENT: i32 = 2;
/// Exec format error.
pub(crate) const ENOEXEC: i32 = 8;
/// No child processes.
pub(crate) const ECHILD: i32 = 10;
/// Permission denied.
pub(crate) const EACCES: i32 = 13;
/// Not a directory.
pub(crate) const ENOTDIR: i32 = 20;

/// Starts a child that shares the memory until it executes a program or ends, and
/// returns its process id; this process stands still until then: clone(2) with
/// CLONE_VM and CLONE_VFORK. Nothing is copied, not even page tables.
pub(crate) fn spawn(job: &Job) -> Result<i32> {
    // SAFETY: `born` never returns, and the job outlives this call: until it is back,
    // the child has executed a program or is gone.
    let value = unsafe { arch::spawn(born, job) };
    check(value).map(|pid| pid as i32)
}

/// Where the child begins.
extern "C" fn born(job: &Job) -> ! {
    exit(crate::init::child(job))
}

/// The root directory.
pub(crate) const ROOT: Str = Str::new(c"/");
/// The controlling terminal, whichever that is: tty(4).
pub(crate) const TERMINAL: Str = Str::new(c"/dev/tty");
/// Read and write (`asm-generic/fcntl.h`).
pub(crate) const O_RDWR: usize = 2;

/// Becomes a program; returns the errno if it can't: execve(2). The words are those
/// of the command, the program's name first.
pub(crate) fn execute(path: Str, words: Words, environment: Words) -> i32 {
    let (words, environment) = (words.pointers() as usize, environment.pointers() as usize);
    // SAFETY: the path ends in a zero, both lists in a null, and their strings in zeros.
    let value = unsafe { syscall3(nr::EXECVE, path.address(), words, environment) };
    -value as i32
}

/// Has a shell read a file that is no program, as execvp(3) does: puts the shell and
/// the path in the place of the first word and of the one before it. Returns the errno.
pub(crate) fn execute_script(path: Str, words: Words, environment: Words) -> i32 {
    const SHELL: Str = Str::new(c"/bin/sh");
    let script = words.pointers().cast_mut();
    // SAFETY: before the first word of a command stands at least the name of this
    // program, in the same list.
    let shell = unsafe { script.sub(1) };
    // SAFETY: the list is on the stack, which can be written to, and it is read by
    // nobody from now on but by the kernel.
    unsafe { *shell = Some(SHELL) };
    // SAFETY: as above.
    unsafe { *script.cast() = path };
    let environment = environment.pointers() as usize;
    // SAFETY: the path ends in a zero, both lists in a null, and their strings in zeros.
    let value = unsafe { syscall3(nr::EXECVE, SHELL.address(), shell as usize, environment) };
    -value as i32
}

/// Puts `by` in the place of the last word that was taken from the environment.
pub(crate) fn replace(behind: Words, by: Str) {
    let place = behind.pointers().cast_mut().wrapping_sub(1).cast();
    // SAFETY: a word was taken, so there is one before the next; the list is on the
    // stack, which can be written to. Only the child calls this, and it keeps `by` until
    // it has executed its program; the init doesn't read its environment any more once
    // it has a child.
    unsafe { *place = by };
}

/// What was said with a signal that was taken: `siginfo_t`, 128 bytes, of which the union
/// begins at the next pointer's place.
pub(crate) struct Caught([i32; 32]);

impl Caught {
    const UNION: usize = if size_of::<usize>() == 8 { 4 } else { 3 };

    /// Nothing yet.
    pub(crate) const NOTHING: Self = Self([0; 32]);

    /// `si_code`: above 0 from the kernel; of SIGCHLD one of `CLD_*`.
    pub(crate) fn code(&self) -> i32 {
        self.0[2]
    }

    /// Of SIGCHLD the child.
    pub(crate) fn pid(&self) -> i32 {
        self.0[Self::UNION]
    }

    /// Of SIGCHLD the exit code or the signal.
    fn status(&self) -> i32 {
        self.0[Self::UNION + 2]
    }
}

/// A child has exited (`asm-generic/siginfo.h`).
const CLD_EXITED: i32 = 1;
/// A child was killed by a signal.
const CLD_KILLED: i32 = 2;
/// The same, and a core was dumped.
const CLD_DUMPED: i32 = 3;

/// Takes a pending signal of `set`, and sleeps until there is one: rt_sigtimedwait(2)
/// without a timeout.
pub(crate) fn wait_signal(set: &Set, caught: &mut Caught) -> Result<i32> {
    take(set, &raw mut caught.0 as usize, 0)
}

/// Takes a pending signal of `set`, if there is one: rt_sigtimedwait(2), timeout 0.
pub(crate) fn pending_signal(set: &Set) -> Result<i32> {
    // `struct timespec`
    take(set, 0, zeros())
}

#[inline(always)]
fn take(set: &Set, caught: usize, timeout: usize) -> Result<i32> {
    let set = &raw const *set as usize;
    // SAFETY: the kernel reads the 8 bytes of the set and the timeout, which is null
    // or static, and writes at most the 128 bytes of the siginfo, if that isn't null.
    let value = unsafe { syscall4(nr::RT_SIGTIMEDWAIT, set, caught, timeout, size_of::<Set>()) };
    check(value).map(|signal| signal as i32)
}

/// The end of a child, or that it stopped, as wait4(2) tells it.
#[derive(Clone, Copy)]
pub(crate) struct Status(pub(crate) i32);

impl Status {
    /// Of a process that has exited.
    pub(crate) fn exited(code: i32) -> Self {
        Self(code << 8)
    }

    /// What the signal of a child's end tells; none if it tells of another change.
    pub(crate) fn told(caught: &Caught) -> Option<Self> {
        match caught.code() {
            CLD_EXITED => Some(Self::exited(caught.status())),
            CLD_KILLED..=CLD_DUMPED => Some(Self(caught.status())),
            _ => None,
        }
    }

    /// As a shell tells it: the exit code, or 128 and the signal that killed it.
    pub(crate) fn code(self) -> i32 {
        match self.0 & 0x7f {
            0 => self.0 >> 8 & 0xff,
            signal => 128 + signal,
        }
    }

    /// The signal that it stopped by.
    pub(crate) fn stopped(self) -> Option<i32> {
        (self.0 & 0xff == 0x7f).then_some(self.0 >> 8 & 0xff)
    }
}

/// Also children that have stopped.
pub(crate) const WUNTRACED: usize = 2;

/// A child that has ended, if there is one: wait4(2), WNOHANG. Its process id is 0 if
/// no child has anything to tell; ECHILD if there is no child at all.
pub(crate) fn collect(options: usize, status: &mut Status) -> Result<i32> {
    const WNOHANG: usize = 1;
    wait(usize::MAX, WNOHANG | options, status)
}

/// Sleeps until that child has ended: wait4(2).
pub(crate) fn wait_for(pid: i32, status: &mut Status) -> Result<i32> {
    wait(pid as usize, 0, status)
}

#[inline(always)]
fn wait(pid: usize, options: usize, status: &mut Status) -> Result<i32> {
    // SAFETY: the kernel writes the 4 bytes of the status; null for the usage.
    let value = unsafe { syscall4(nr::WAIT4, pid, &raw mut status.0 as usize, options, 0) };
    check(value).map(|pid| pid as i32)
}

/// Sends a signal: kill(2).
pub(crate) fn kill(pid: i32, signal: i32) -> Result {
    // SAFETY: takes numbers only.
    check(unsafe { syscall2(nr::KILL, pid as usize, signal as usize) }).map(drop)
}

/// What nobody survives (`asm/signal.h`).
pub(crate) const SIGKILL: i32 = 9;

/// Stops this process.
pub(crate) fn stop() {
    const SIGSTOP: i32 = 19;
    let _ = kill(getpid(), SIGSTOP);
}

/// Becomes the leader of a process group of its own: setpgid(2).
pub(crate) fn new_group() -> Result {
    // SAFETY: takes numbers only.
    check(unsafe { syscall2(nr::SETPGID, 0, 0) }).map(drop)
}

/// The process group of this process: getpgid(2).
pub(crate) fn group() -> Result<i32> {
    // SAFETY: takes a number only.
    check(unsafe { syscall1(nr::GETPGID, 0) }).map(|group| group as i32)
}

/// Becomes the leader of a session of its own: setsid(2).
pub(crate) fn new_session() -> Result {
    // SAFETY: takes nothing.
    check(unsafe { syscall1(nr::SETSID, 0) }).map(drop)
}

// Calls of a terminal (`asm-generic/ioctls.h`; powerpc has numbers of its own).
const POWERPC: bool = cfg!(target_arch = "powerpc64");
const TIOCSCTTY: usize = 0x540e;
const TIOCGPGRP: usize = if POWERPC { 0x4004_7477 } else { 0x540f };
const TIOCSPGRP: usize = if POWERPC { 0x8004_7476 } else { 0x5410 };
const TIOCNOTTY: usize = 0x5422;

/// The process group in the foreground of a terminal: ioctl_tty(2), TIOCGPGRP.
pub(crate) fn foreground(terminal: i32) -> Result<i32> {
    let mut group = 0_i32;
    let to = &raw mut group as usize;
    // SAFETY: the kernel writes the 4 bytes of the group.
    check(unsafe { syscall3(nr::IOCTL, terminal as usize, TIOCGPGRP, to) }).map(|_| group)
}

/// Puts a process group in the foreground of a terminal: ioctl_tty(2), TIOCSPGRP.
pub(crate) fn set_foreground(terminal: i32, group: i32) -> Result {
    let from = &raw const group as usize;
    // SAFETY: the kernel reads the 4 bytes of the group.
    check(unsafe { syscall3(nr::IOCTL, terminal as usize, TIOCSPGRP, from) }).map(drop)
}

/// Gives the controlling terminal up: ioctl_tty(2), TIOCNOTTY.
pub(crate) fn give_terminal_up(terminal: i32) -> Result {
    // SAFETY: takes numbers only.
    check(unsafe { syscall3(nr::IOCTL, terminal as usize, TIOCNOTTY, 0) }).map(drop)
}

/// Takes a terminal that is nobody's for the controlling one: ioctl_tty(2), TIOCSCTTY.
pub(crate) fn take_terminal(terminal: i32) -> Result {
    // SAFETY: takes numbers only.
    check(unsafe { syscall3(nr::IOCTL, terminal as usize, TIOCSCTTY, 0) }).map(drop)
}

/// Opens a file: openat(2) with O_CLOEXEC and these flags.
pub(crate) fn open(path: Str, flags: usize) -> Result<i32> {
    const AT_FDCWD: usize = -100_isize as usize;
    const O_CLOEXEC: usize = 0x8_0000;
    // SAFETY: the path ends in a zero.
    let value = unsafe { syscall4(nr::OPENAT, AT_FDCWD, path.address(), flags | O_CLOEXEC, 0) };
    check(value).map(|fd| fd as i32)
}

/// Closes every descriptor from `first` to `last`: close_range(2).
pub(crate) fn close(first: i32, last: i32) {
    // SAFETY: takes numbers only; nothing here uses a descriptor after it was closed,
    // and if something did, it would get an error.
    unsafe { syscall3(nr::CLOSE_RANGE, first as usize, last as u32 as usize, 0) };
}

/// Changes the working directory: chdir(2).
pub(crate) fn change_directory(path: Str) {
    // SAFETY: the path ends in a zero.
    unsafe { syscall1(nr::CHDIR, path.address()) };
}

/// This process adopts the orphans among its descendants: prctl(2), PR_SET_CHILD_SUBREAPER.
pub(crate) fn adopt_orphans() -> Result {
    const PR_SET_CHILD_SUBREAPER: usize = 36;
    // SAFETY: takes numbers only.
    check(unsafe { syscall2(nr::PRCTL, PR_SET_CHILD_SUBREAPER, 1) }).map(drop)
}

/// The signal that this process gets when its parent ends: prctl(2), PR_SET_PDEATHSIG.
pub(crate) fn parent_death_signal(signal: usize) -> Result {
    const PR_SET_PDEATHSIG: usize = 1;
    // SAFETY: takes numbers only.
    check(unsafe { syscall2(nr::PRCTL, PR_SET_PDEATHSIG, signal) }).map(drop)
}

/// Blocks the signals of `set` and no others, and tells those that were blocked:
/// rt_sigprocmask(2), SIG_SETMASK.
pub(crate) fn swap_mask(set: &Set, old: &mut Set) -> Result {
    const SIG_SETMASK: usize = 2;
    let (set, to) = (&raw const *set as usize, &raw mut *old as usize);
    // SAFETY: the kernel reads the 8 bytes of `set` and writes those of `old`.
    let value = unsafe { syscall4(nr::RT_SIGPROCMASK, SIG_SETMASK, set, to, size_of::<Set>()) };
    check(value).map(drop)
}

/// Gives a signal its default action, and returns whether it was ignored:
/// rt_sigaction(2) with SIG_DFL.
pub(crate) fn by_default(signal: i32) -> Result<bool> {
    // The kernel's `struct sigaction`, with room for the longest of them.
    let mut old = [0_usize; 5];
    let (action, to) = (zeros(), &raw mut old as usize);
    // SAFETY: the kernel reads and writes at most the 32 bytes of an action; one that
    // is not caught runs no code, so no restorer is needed.
    let value =
        unsafe { syscall4(nr::RT_SIGACTION, signal as usize, action, to, size_of::<Set>()) };
    check(value).map(|_| old[0] == SIG_IGN)
}

/// Sends SIGALRM to this process after so many milliseconds, once: setitimer(2).
pub(crate) fn alarm(milliseconds: usize) {
    const ITIMER_REAL: usize = 0;
    // `struct itimerval`: the interval, which is 0, and the first time; microseconds.
    let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000 * 1000);
    let timer = [0, 0, seconds, rest];
    // SAFETY: the kernel reads the four words of the timer; null for the old one.
    unsafe { syscall3(nr::SETITIMER, ITIMER_REAL, &raw const timer as usize, 0) };
}
