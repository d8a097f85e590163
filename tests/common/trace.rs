//! A program under ptrace: its system calls counted, and at one of them it is killed
//! or told that the call has failed.
//!
//! Calls are counted at their entry, from the first one after the program's execve,
//! over all of its threads and of all processes that it starts (the followed). The
//! address space is not randomised, so that a single-threaded program makes the same
//! calls each time. Where threads race, two runs may differ by a few.
//!
//! There is no `after_at`: a program that dies right after its n-th call has returned
//! has done the same to the world as one that dies at the entry of call n + 1.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::ptrace;
use nix::unistd::Pid;

use super::raw::{AtExit, finish_failing, kill, resume, spawn, start_failing, stop, wait_any};
use super::syscalls::Syscall;

/// What becomes of followed processes that outlive the program itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// They belong to it: their calls count until they have ended too.
    Wait,
    /// They are let go and live on (a pod's PID 1).
    Detach,
    /// They are killed.
    Kill,
}

/// Whose calls count, besides the program's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Those of all processes that it starts; they die with it.
    All,
    /// Those of all processes that it starts, until they become another program: then
    /// they are let go.
    UntilExec,
}

/// A program to run under ptrace.
#[derive(Debug)]
pub struct Program {
    command: Command,
    stdin: Vec<u8>,
    follow: Follow,
    leftover: Leftover,
    deadline: Duration,
}

impl Program {
    /// A program by its path or name; no arguments, empty stdin, [`Follow::All`],
    /// [`Leftover::Wait`], 20 seconds.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let command = Command::new(program);
        let deadline = Duration::from_secs(20);
        let (follow, leftover) = (Follow::All, Leftover::Wait);
        Self { command, stdin: Vec::new(), follow, leftover, deadline }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives it these bytes to read.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Says whose calls count.
    #[must_use]
    pub fn follow(mut self, follow: Follow) -> Self {
        self.follow = follow;
        self
    }

    /// Says what becomes of processes that outlive it.
    #[must_use]
    pub fn leftover(mut self, leftover: Leftover) -> Self {
        self.leftover = leftover;
        self
    }

    /// After this time it is killed and [`Outcome::timed_out`] is set.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

/// How a traced run went.
#[derive(Debug)]
pub struct Outcome {
    /// The call at which the program was killed or told of a failure; `None` when it
    /// ended before making that many.
    pub reached: Option<Syscall>,
    /// How the program itself ended.
    pub status: ExitStatus,
    #[allow(missing_docs)]
    pub stdout: String,
    #[allow(missing_docs)]
    pub stderr: String,
    /// Calls counted.
    pub calls: usize,
    /// The deadline passed, and the program was killed for that.
    pub timed_out: bool,
}

/// What is done with a program at the entry of one of its calls.
pub(super) enum Action {
    Go,
    /// The program, and all that are followed.
    Kill,
    /// The process that makes the call; the others go on.
    KillOne,
    Fail(Errno),
}

/// Runs the program unharmed and returns its system calls in order.
pub fn count(program: Program) -> (Vec<Syscall>, Outcome) {
    let mut calls = Vec::new();
    let outcome = run(program, &mut |n, tid| {
        calls.push(Syscall::read(n, tid));
        Action::Go
    });
    (calls, outcome)
}

/// Kills the program, with all followed threads and processes, at the entry of its
/// n-th call (the first is 1). That call is not made.
pub fn kill_at(program: Program, n: usize) -> Outcome {
    run(program, &mut |at, _| if at == n { Action::Kill } else { Action::Go })
}

/// Kills the process that makes the n-th call (the first is 1); the others go on.
pub fn kill_one_at(program: Program, n: usize) -> Outcome {
    run(program, &mut |at, _| if at == n { Action::KillOne } else { Action::Go })
}

/// Lets the n-th call (the first is 1) return `errno` without being made.
///
/// brk(2) reports failure by returning the old break; so does one that fails here.
pub fn fail_at(program: Program, n: usize, errno: Errno) -> Outcome {
    run(program, &mut |at, _| if at == n { Action::Fail(errno) } else { Action::Go })
}

/// Runs the program and asks `decide` at the entry of each call, until it has decided
/// on something other than `Go`.
pub(super) fn run(
    program: Program,
    decide: &mut (dyn FnMut(usize, Pid) -> Action + Send),
) -> Outcome {
    // A thread of its own: only its own children and tracees are waited for, so that
    // the test's other children keep their exit status.
    std::thread::scope(|scope| match scope.spawn(|| Tracer::run(program, decide)).join() {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

struct Tracer<'a> {
    main: Pid,
    follow: Follow,
    leftover: Leftover,
    /// Followed threads that are alive or announced, shared with the watchdog.
    known: &'a Mutex<HashSet<i32>>,
    /// Those of them that have made their first stop.
    started: HashSet<i32>,
    /// Threads that have ended: one may be announced only after its end.
    ended: HashSet<i32>,
    calls: usize,
    reached: Option<Syscall>,
    /// The thread whose call is being failed, and what is to be done at the call's exit.
    failing: Option<(Pid, AtExit)>,
    killing: bool,
    detaching: bool,
    status: Option<ExitStatus>,
}

impl Tracer<'_> {
    fn run(mut program: Program, decide: &mut (dyn FnMut(usize, Pid) -> Action + Send)) -> Outcome {
        let (input, stdout, stderr) = (memory(), memory(), memory());
        input.write_all_at(&program.stdin, 0).expect("write to a memfd");
        let dup = |file: &File| file.try_clone().expect("dup of a memfd");
        program.command.stdin(dup(&input)).stdout(dup(&stdout)).stderr(dup(&stderr));
        let main = spawn(&mut program.command);
        let known = Mutex::new(HashSet::from([main.as_raw()]));
        let mut tracer = Tracer {
            main,
            follow: program.follow,
            leftover: program.leftover,
            known: &known,
            started: HashSet::from([main.as_raw()]),
            ended: HashSet::new(),
            calls: 0,
            reached: None,
            failing: None,
            killing: false,
            detaching: false,
            status: None,
        };
        let timed_out = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (done, wait) = mpsc::channel::<()>();
            scope.spawn(|| watchdog(wait, program.deadline, &known, &timed_out));
            tracer.follow(decide);
            drop(done);
        });
        let text = |file: &File| {
            let mut bytes = vec![0; file.metadata().expect("fstat of a memfd").len() as usize];
            file.read_exact_at(&mut bytes, 0).expect("read of a memfd");
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Outcome {
            reached: tracer.reached,
            status: tracer.status.expect("the program's end was seen"),
            stdout: text(&stdout),
            stderr: text(&stderr),
            calls: tracer.calls,
            timed_out: timed_out.into_inner(),
        }
    }

    /// Takes one stop after the other until nothing is left to follow.
    fn follow(&mut self, decide: &mut (dyn FnMut(usize, Pid) -> Action + Send)) {
        resume(self.main, 0);
        while let Some((pid, status)) = wait_any() {
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                self.ended(pid, status);
            } else if self.killing {
                kill(pid.as_raw());
            } else {
                let signal = self.stopped(pid, status, decide);
                if let Some(signal) = signal {
                    resume(pid, signal);
                }
            }
            if self.detaching && self.known.lock().expect(LOCK).is_empty() {
                break;
            }
        }
    }

    fn ended(&mut self, pid: Pid, status: i32) {
        self.known.lock().expect(LOCK).remove(&pid.as_raw());
        self.started.remove(&pid.as_raw());
        self.ended.insert(pid.as_raw());
        if pid != self.main {
            return;
        }
        self.status = Some(ExitStatus::from_raw(status));
        match self.leftover {
            Leftover::Wait => {}
            Leftover::Kill => self.kill_all(),
            Leftover::Detach => {
                self.detaching = true;
                // Only a stopped thread can be let go; a new one stops by itself.
                self.started.iter().for_each(|tid| stop(*tid));
            }
        }
    }

    /// One stop of one thread. Returns the signal to resume it with; `None` when it is
    /// not to be resumed.
    fn stopped(
        &mut self,
        pid: Pid,
        status: i32,
        decide: &mut (dyn FnMut(usize, Pid) -> Action + Send),
    ) -> Option<i32> {
        let signal = libc::WSTOPSIG(status);
        if signal == libc::SIGTRAP | 0x80 {
            return self.syscall_stop(pid, decide).then_some(0);
        }
        if status >> 16 != 0 {
            // The new thread reports by itself, perhaps after its parent's end.
            if [libc::PTRACE_EVENT_FORK, libc::PTRACE_EVENT_VFORK, libc::PTRACE_EVENT_CLONE]
                .contains(&(status >> 16))
            {
                let new = ptrace::getevent(pid).ok().and_then(|new| i32::try_from(new).ok());
                let alive = new.filter(|new| !self.ended.remove(new));
                self.known.lock().expect(LOCK).extend(alive);
            }
            let executed = status >> 16 == libc::PTRACE_EVENT_EXEC;
            if executed && self.follow == Follow::UntilExec && pid != self.main {
                self.let_go(pid);
                return None;
            }
            return Some(0);
        }
        self.known.lock().expect(LOCK).insert(pid.as_raw());
        let new = self.started.insert(pid.as_raw());
        if signal == libc::SIGSTOP && (new || self.detaching) {
            if self.detaching {
                self.let_go(pid);
                return None;
            }
            return Some(0);
        }
        // A group-stop has no siginfo; it is not to be delivered a second time.
        Some(if ptrace::getsiginfo(pid) == Err(Errno::EINVAL) { 0 } else { signal })
    }

    /// Entry or exit of a call. Returns whether the thread goes on.
    fn syscall_stop(
        &mut self,
        pid: Pid,
        decide: &mut (dyn FnMut(usize, Pid) -> Action + Send),
    ) -> bool {
        // Fails only when the thread has been killed meanwhile.
        let Ok(info) = ptrace::syscall_info(pid) else { return true };
        if info.op == libc::PTRACE_SYSCALL_INFO_EXIT {
            if let Some((_, at_exit)) = self.failing.take_if(|(tid, _)| *tid == pid) {
                finish_failing(pid, &at_exit);
            }
            return true;
        }
        self.calls += 1;
        if self.reached.is_some() {
            return true;
        }
        match decide(self.calls, pid) {
            Action::Go => true,
            Action::Kill => {
                self.reached = Some(Syscall::read(self.calls, pid));
                self.kill_all();
                false
            }
            Action::KillOne => {
                self.reached = Some(Syscall::read(self.calls, pid));
                kill(pid.as_raw());
                false
            }
            Action::Fail(errno) => {
                let call = Syscall::read(self.calls, pid);
                self.failing = Some((pid, start_failing(pid, &call, errno)));
                self.reached = Some(call);
                true
            }
        }
    }

    fn let_go(&mut self, pid: Pid) {
        self.known.lock().expect(LOCK).remove(&pid.as_raw());
        self.started.remove(&pid.as_raw());
        ptrace::detach(pid, None).ok();
    }

    fn kill_all(&mut self) {
        self.killing = true;
        self.known.lock().expect(LOCK).iter().for_each(|tid| kill(*tid));
    }
}

const LOCK: &str = "nobody panics with the lock";

/// Kills the followed when the deadline passes before `wait` is closed.
fn watchdog(
    wait: mpsc::Receiver<()>,
    deadline: Duration,
    known: &Mutex<HashSet<i32>>,
    timed_out: &AtomicBool,
) {
    let mut left = deadline;
    while wait.recv_timeout(left) == Err(mpsc::RecvTimeoutError::Timeout) {
        timed_out.store(true, Ordering::Relaxed);
        known.lock().expect(LOCK).iter().for_each(|tid| kill(*tid));
        // Again, for those that were just being born.
        left = Duration::from_millis(20);
    }
}

/// An unlinked file in memory: no pipe that could fill up or wait for its other end.
fn memory() -> File {
    File::from(memfd_create("trace", MFdFlags::MFD_CLOEXEC).expect("memfd_create"))
}
