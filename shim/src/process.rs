//! Processes: cloned, executed from memory, ended. The only unsafe code of shim.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::fs::{MemfdFlags, SealFlags};

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

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), Errno> {
        kill(self.pid, signal)
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
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.done {
            let _ = kill(self.pid, Signal::SIGKILL);
            while waitpid(self.pid, None) == Err(Errno::EINTR) {}
        }
    }
}

/// Runs `job` in a child process, in new namespaces of these kinds; its result
/// is the exit code. The child dies with this process.
///
/// The caller has one thread: a child of a program with several would see the
/// locks of the others in whatever state they were.
pub fn spawn(namespaces: CloneFlags, job: impl FnOnce() -> i32) -> Result<Child, Errno> {
    let parent = nix::unistd::getpid();
    let flags = libc::c_long::from(namespaces.bits() | libc::SIGCHLD);
    // SAFETY: clone without CLONE_VM and with a null stack is fork: the child
    // goes on in a copy of this address space. One thread is all there is, so
    // no lock of the C library is held by anybody else.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match pid {
        -1 => Err(Errno::last()),
        0 => {
            let own = CloneFlags::CLONE_NEWPID;
            // In a pid namespace of its own a child sees its parent as 0.
            let orphaned = !namespaces.contains(own) && nix::unistd::getppid() != parent;
            let doomed = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
            let code = if doomed.is_ok() && !orphaned { job() } else { 1 };
            exit(code)
        }
        pid => Ok(Child { pid: Pid::from_raw(pid as i32), done: false }),
    }
}

/// Ends this process at once: what the parent has in its buffers is not
/// written a second time.
fn exit(code: i32) -> ! {
    // SAFETY: _exit has no preconditions and never returns.
    unsafe { libc::_exit(code) }
}

/// Replaces this process by a program that is held in memory. The file that it
/// runs from is sealed: nobody who sees it under /proc can change it.
pub fn exec(name: &str, program: &[u8], args: &[&str]) -> io::Error {
    let run = || -> io::Result<()> {
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
