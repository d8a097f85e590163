//! Processes: cloned, executed, told to end. The only unsafe code of shim.

#![allow(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::process::WaitOptions;

/// What [`Child::news`] tells; signals by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// It stands, by this signal.
    Stopped(i32),
    /// It has ended with this code.
    Exited(i32),
    /// This signal has ended it.
    Signaled(i32),
}

/// A child process. Dropped, it is killed and waited for: nothing stays behind.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    done: bool,
}

impl Child {
    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Sends it a signal by number, real-time ones too. Until it was waited for, its pid is
    /// nobody else's.
    pub fn signal(&self, signal: i32) -> Result<(), rustix::io::Errno> {
        use rustix::{io::Errno, process::Pid, process::kill_process};
        let pid = Pid::from_raw(self.pid.as_raw()).ok_or(Errno::SRCH)?;
        kill_process(pid, numbered(signal)?)
    }

    /// Waits until it has ended.
    pub fn wait(mut self) -> Result<WaitStatus, Errno> {
        loop {
            match waitpid(self.pid, None) {
                Err(Errno::EINTR) => {}
                other => {
                    self.done = true;
                    return other;
                }
            }
        }
    }

    /// What is new of it, without waiting.
    ///
    /// Not nix's waitpid: it knows no real-time signals, and loses the status of a child
    /// that one has ended.
    pub fn news(&mut self) -> Result<News, rustix::io::Errno> {
        let pid = rustix::process::Pid::from_raw(self.pid.as_raw());
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
        let Some((_, status)) = rustix::process::waitpid(pid, options)? else {
            return Ok(News::None);
        };
        let news = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => News::Exited(code),
            (_, Some(signal)) => News::Signaled(signal),
            _ => return Ok(status.stopping_signal().map_or(News::None, News::Stopped)),
        };
        self.done = true;
        Ok(news)
    }

    /// Lets it live on without this value: whoever reaps orphans will reap it.
    pub fn leave(mut self) -> i32 {
        self.done = true;
        self.pid.as_raw()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.done {
            let _ = kill(self.pid, Signal::SIGKILL);
            while waitpid(self.pid, None) == Err(Errno::EINTR) {}
        }
    }
}

/// Sends a signal by number, real-time ones too, to the process of a pidfd.
pub fn send(to: impl AsFd, signal: i32) -> Result<(), rustix::io::Errno> {
    rustix::process::pidfd_send_signal(to, numbered(signal)?)
}

fn numbered(signal: i32) -> Result<rustix::process::Signal, rustix::io::Errno> {
    if !(1..=libc::SIGRTMAX()).contains(&signal) {
        return Err(rustix::io::Errno::INVAL);
    }
    // SAFETY: it is the number of a signal, and is only sent.
    Ok(unsafe { rustix::process::Signal::from_raw_unchecked(signal) })
}

/// Runs `job` in a child process, in new namespaces of these kinds; its result
/// is the exit code. The child dies with this process.
///
/// The caller has one thread: a child of a program with several would see the
/// locks of the others in whatever state they were.
pub fn spawn(namespaces: CloneFlags, job: impl FnOnce() -> i32) -> Result<Child, Errno> {
    let parent = nix::unistd::getpid();
    fork(namespaces, || {
        let own = CloneFlags::CLONE_NEWPID;
        // In a pid namespace of its own a child sees its parent as 0.
        let orphaned = !namespaces.contains(own) && nix::unistd::getppid() != parent;
        let doomed = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
        if doomed.is_ok() && !orphaned { job() } else { 1 }
    })
}

/// The same, but the child outlives this process. With CLONE_PARENT it is a sibling:
/// the caller's parent has to wait for it.
pub fn fork(flags: CloneFlags, job: impl FnOnce() -> i32) -> Result<Child, Errno> {
    let words = libc::c_long::from(flags.bits() | libc::SIGCHLD);
    // SAFETY: clone without CLONE_VM and with a null stack is fork: the child
    // goes on in a copy of this address space. One thread is all there is, so
    // no lock of the C library is held by anybody else.
    let pid = unsafe { libc::syscall(libc::SYS_clone, words, 0, 0, 0, 0) };
    match pid {
        -1 => Err(Errno::last()),
        0 => exit(job()),
        pid => Ok(Child {
            pid: Pid::from_raw(pid as i32),
            done: flags.contains(CloneFlags::CLONE_PARENT),
        }),
    }
}

/// Bytes of the stack of an errand's process: a few system calls, and perhaps an error's words.
const ERRAND_STACK: usize = 256 * 1024;

/// Runs `job` in a child process, in new namespaces of these kinds, that shares all memory
/// with this one: what a thread would be, but with namespaces and children of its own. No
/// page table is copied, and no page afterwards. This process sleeps until the other has
/// ended or executed a program. Returns its pid, for the caller to wait for, and what `job`
/// did if it came back: it didn't if it executed a program, or was killed.
pub fn errand<T>(flags: CloneFlags, job: impl FnOnce() -> T) -> Result<(i32, Option<T>), Errno> {
    struct Errand<J, T>(Option<J>, Option<T>);
    extern "C" fn run<T, J: FnOnce() -> T>(errand: *mut libc::c_void) -> libc::c_int {
        // SAFETY: `errand` below, of this very type; who made it sleeps, so it is ours alone.
        let errand = unsafe { &mut *errand.cast::<Errand<J, T>>() };
        errand.1 = errand.0.take().map(|job| job());
        0
    }
    fn entry<T, J: FnOnce() -> T>(
        _: &Errand<J, T>,
    ) -> extern "C" fn(*mut libc::c_void) -> libc::c_int {
        run::<T, J>
    }
    let mut errand = Errand(Some(job), None);
    let mut stack = vec![0u128; ERRAND_STACK / size_of::<u128>()];
    let flags = flags.bits() | libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let start = entry(&errand);
    let top = stack.as_mut_ptr_range().end;
    let argument = (&raw mut errand).cast();
    // SAFETY: with CLONE_VFORK this process sleeps until the other has ended or executed a
    // program, so nothing that both have is used by both at once: not `errand`, not the C
    // library's locks, not errno. The stack is the other's alone, large enough, and lives
    // until then. One errand may have another made: then all but the last one sleep.
    let pid = unsafe { libc::clone(start, top.cast(), flags, argument) };
    match pid {
        -1 => Err(Errno::last()),
        pid => Ok((pid, errand.1)),
    }
}

/// A child that another process of ours has made with CLONE_PARENT.
pub fn adopt(pid: i32) -> Child {
    Child { pid: Pid::from_raw(pid), done: false }
}

/// From here on, what loses its parent below this process comes to it, and not to init:
/// prctl(2), PR_SET_CHILD_SUBREAPER.
pub fn adopt_orphans(yes: bool) -> Result<(), Errno> {
    nix::sys::prctl::set_child_subreaper(yes)
}

/// Whether this process is the one that can wait for that one, which may have ended.
pub fn is_child(pid: i32) -> bool {
    waitid(Id::Pid(Pid::from_raw(pid)), LOOK).is_ok()
}

/// Reaps orphans that have come to this process and ended; not the one that is waited for.
pub fn reap_others(child: &Child) {
    while let Ok(Some(pid)) = waitid(Id::All, LOOK).map(|status| status.pid()) {
        if pid == child.pid || waitpid(pid, Some(WaitPidFlag::WNOHANG)).is_err() {
            return;
        }
    }
}

/// Only looks at children that have ended.
const LOOK: WaitPidFlag =
    WaitPidFlag::WEXITED.union(WaitPidFlag::WNOHANG).union(WaitPidFlag::WNOWAIT);

/// Ends this process at once: what the parent has in its buffers is not
/// written a second time.
pub fn exit(code: i32) -> ! {
    // SAFETY: _exit has no preconditions and never returns.
    unsafe { libc::_exit(code) }
}

/// Gives a program that is about to be executed what it would have without us: SIGPIPE as
/// it was (Rust's start ignores it), and the mask of our start. What is caught gets its
/// default from exec itself, and what was ignored stays ignored (`nohup`).
pub fn restore_signals(mask: &SigSet) {
    // SAFETY: the default action runs no code of ours.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    let _ = mask.thread_set_mask();
}

/// Whether whoever started us had this signal ignored (nohup, `trap ''`). Of SIGPIPE
/// that can't be told: Rust's start ignores it.
pub fn ignored_at_start(signal: i32) -> bool {
    use std::sync::OnceLock;
    static IGNORED: OnceLock<u64> = OnceLock::new();
    let ignored = *IGNORED.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        field.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    });
    ignored >> (signal - 1) & 1 == 1
}

/// A program that is held in memory. The file that it runs from is sealed: nobody who
/// sees it under /proc can change it (CVE-2019-5736).
pub fn in_memory(name: &str, program: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Before Linux 6.3 there is no such flag, and every memfd is executable.
    let fd = rustix::fs::memfd_create(name, flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create(name, flags))?;
    let mut rest = program;
    while !rest.is_empty() {
        let written = rustix::io::write(&fd, rest)?;
        rest = &rest[written..];
    }
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&fd, seals)?;
    Ok(fd)
}

/// Replaces this process by a program that is held in memory, with an empty environment.
pub fn exec(name: &str, program: &[u8], args: &[&str]) -> io::Error {
    let run = || -> io::Result<()> {
        let fd = in_memory(name, program)?;
        let words = [name].into_iter().chain(args.iter().copied());
        let words: Vec<CString> = words.map(CString::new).collect::<Result<_, _>>()?;
        nix::unistd::fexecve(&fd, &words, &[] as &[CString])?;
        Ok(())
    };
    match run() {
        Err(error) => error,
        Ok(()) => io::Error::other("the program was not started"),
    }
}

/// Replaces this process by a program that is open.
pub fn exec_held(program: &OwnedFd, words: &[CString], environment: &[CString]) -> io::Error {
    match nix::unistd::fexecve(program, words, environment) {
        Err(errno) => errno.into(),
        Ok(never) => match never {},
    }
}

/// Where a monitor has shim's own file.
const MONITORS_SHIM: i32 = 3;

/// Replaces this process by a program in memory that has `file` as descriptor 3 and no other
/// beside the standard three, every signal blocked, and an empty environment.
pub fn become_program(program: &OwnedFd, file: &File, words: &[CString]) -> io::Error {
    let become_it = || -> io::Result<()> {
        SigSet::all().thread_block()?;
        // Out of the way first: either may be 3 already.
        let program = rustix::io::fcntl_dupfd_cloexec(program, MONITORS_SHIM + 1)?;
        let file = rustix::io::fcntl_dupfd_cloexec(file, MONITORS_SHIM + 1)?;
        // SAFETY: who had descriptor 3 never uses it again: this process executes
        // another program, or ends without running a destructor.
        let moved = unsafe { libc::dup2(file.as_raw_fd(), MONITORS_SHIM) };
        if moved != MONITORS_SHIM {
            return Err(io::Error::last_os_error());
        }
        close_at_exec(MONITORS_SHIM + 1);
        let none: &[CString] = &[];
        nix::unistd::fexecve(&program, words, none)?;
        Ok(())
    };
    match become_it() {
        Err(error) => error,
        Ok(()) => io::Error::other("the program was not started"),
    }
}

/// Has every descriptor from this one on closed by the next exec, whoever opened it: a
/// directory of the host that a container inherits is its way out (CVE-2024-21626).
pub fn close_at_exec(from: i32) {
    let (first, last) = (from as libc::c_uint, libc::c_uint::MAX);
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // musl has no function for it.
    // SAFETY: only marks descriptors; takes numbers only.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if done == 0 {
        return;
    }
    // Before Linux 5.11 there is no such flag (EINVAL): one by one, as /proc lists them. The
    // listing's own descriptor is among them, and is marked already.
    let listed = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers = listed.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for fd in numbers.filter(|fd| *fd >= from) {
        // SAFETY: F_SETFD takes numbers only; marking is no use of a descriptor that is another's.
        let _ = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Replaces this process by a program of the file system, looked for along `path` if its
/// name has no slash. As execvp(3): a file that may not be executed is passed over, and
/// is the error only if no other is found.
pub fn exec_path(words: &[CString], env: &[CString], path: &OsStr) -> Errno {
    let Some(program) = words.first() else { return Errno::ENOENT };
    if program.is_empty() {
        return Errno::ENOENT;
    }
    if program.as_bytes().contains(&b'/') {
        return failed(nix::unistd::execve(program, words, env));
    }
    let mut worst = Errno::ENOENT;
    for dir in path.as_bytes().split(|b| *b == b':') {
        let dir = if dir.is_empty() { b".".as_slice() } else { dir };
        let Ok(file) = CString::new([dir, b"/", program.as_bytes()].concat()) else { continue };
        match failed(nix::unistd::execve(&file, words, env)) {
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => worst = Errno::EACCES,
            other => return other,
        }
    }
    worst
}

fn failed<T>(result: Result<T, Errno>) -> Errno {
    result.err().unwrap_or(Errno::UnknownErrno)
}
