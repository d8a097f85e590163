//! Recorded processes that live: held by a pidfd, so that no other one with their pid is
//! taken for them.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use podkeel_netsetup::error::{Error, Kind, Result};
use podkeel_netsetup::record::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::process;

/// A process that lived when it was looked for, and is still told apart when it doesn't.
#[derive(Debug)]
pub struct Living {
    fd: OwnedFd,
    /// Which it is.
    pub process: Process,
}

impl Living {
    /// Looks for a recorded process; `None` if it has ended.
    pub fn find(process: Process) -> Result<Option<Living>> {
        let what = || format!("hold process {}", process.pid);
        let Some(pid) = Pid::from_raw(process.pid) else { return Ok(None) };
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            // EINVAL: the pid is a thread's by now, and no process's.
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            Err(errno) => return Err(Error::errno(what(), errno.raw_os_error())),
        };
        // Looked at after it was opened: the descriptor is that of this very process.
        let found = Process::find(process.pid).map_err(|e| Error::io(what(), &e))?;
        Ok((found == Some(process)).then_some(Living { fd, process }))
    }

    /// Sends it a signal. One that has ended gets none, and that is no error.
    pub fn signal(&self, signal: i32) -> Result<()> {
        match process::send(&self.fd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => {
                let what = format!("send signal {signal} to process {}", self.process.pid);
                Err(Error::errno(what, errno.raw_os_error()))
            }
        }
    }

    /// Waits until it has ended, at most until `deadline`; says whether it has.
    pub fn wait(&self, deadline: Option<Instant>) -> Result<bool> {
        loop {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            let timeout = left.map(|left| Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            });
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    let what = format!("wait for process {}", self.process.pid);
                    return Err(Error::errno(what, errno.raw_os_error()));
                }
            }
        }
    }

    /// TERM, and KILL to who hasn't ended after the grace.
    ///
    /// # Errors
    /// [`Kind::Failed`] if it is still there 5 seconds later, naming what holds it up.
    pub fn stop(&self, grace: Duration) -> Result<()> {
        if grace > Duration::ZERO {
            self.signal(Signal::SIGTERM as i32)?;
            if self.wait(Some(Instant::now() + grace))? {
                return Ok(());
            }
        }
        self.kill()
    }

    /// KILL, and waits for the end.
    ///
    /// # Errors
    /// As [`Living::stop`].
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL as i32)?;
        if self.wait(Some(Instant::now() + KILL_WAIT))? {
            return Ok(());
        }
        let what = format!("end process {}", self.process.pid);
        let why = format!("it was killed {} s ago and is still there", KILL_WAIT.as_secs());
        let error = Error::new(Kind::Failed, what, why);
        Err(match culprits(self.process.pid) {
            Some(culprits) => error.hint(culprits),
            None => error,
        })
    }

    /// Stops it, and waits until it stands: the signal alone lets it finish what it is at.
    /// One that has ended, or that the kernel holds up for longer, isn't waited for.
    pub fn stand_still(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP as i32)?;
        let end = Instant::now() + STOP_WAIT;
        let moves = || {
            Stat::read(self.process.pid)
                .is_some_and(|stat| !matches!(stat.state, 'T' | 't' | 'Z' | 'X'))
        };
        while moves() && Instant::now() < end {
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// The descriptor, for setns(2).
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Living {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How long a process may take to stand once it was stopped.
const STOP_WAIT: Duration = Duration::from_secs(1);

/// How long a process may take to end once it was killed.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// Who keeps the first process of a pid namespace from ending: it can't before all
/// others in it are reaped (zap_pid_ns_processes in the kernel's pid_namespace.c), and
/// one that was joined has its parent outside. If that one doesn't wait for it, both stay.
///
/// A zombie has no namespace any more that could be compared, but it has its numbers.
fn culprits(first: i32) -> Option<String> {
    let depth = nested_pids(first);
    let mut found = Vec::new();
    for pid in pids() {
        let Some(stat) = Stat::read(pid).filter(|s| s.state == 'Z' && pid != first) else {
            continue;
        };
        if nested_pids(pid) >= depth
            && depth > nested_pids(0)
            && let Some(parent) = Stat::read(stat.parent)
        {
            found.push(format!(
                "process {pid} ({}) is a zombie: its parent, process {} ({}), doesn't wait for it",
                stat.name, stat.parent, parent.name
            ));
        }
    }
    (!found.is_empty()).then(|| found.join("; "))
}

/// In how many pid namespaces a process has a number; pid 0 is this process.
fn nested_pids(pid: i32) -> usize {
    let who = if pid == 0 { "self".to_owned() } else { pid.to_string() };
    let status = std::fs::read_to_string(format!("/proc/{who}/status")).unwrap_or_default();
    let field = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    field.map_or(0, |numbers| numbers.split_whitespace().count())
}

/// A process by its number, also one that has ended and isn't reaped yet; and its parent.
pub fn read(pid: i32) -> Option<(Process, i32)> {
    let stat = Stat::read(pid)?;
    Some((Process { pid, start: stat.start }, stat.parent))
}

/// The children of a process that has one thread.
pub fn children(pid: i32) -> Vec<i32> {
    match std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")) {
        Ok(text) => text.split_whitespace().filter_map(|word| word.parse().ok()).collect(),
        // A kernel without CONFIG_PROC_CHILDREN, or no such process.
        Err(_) => pids().filter(|p| Stat::read(*p).is_some_and(|s| s.parent == pid)).collect(),
    }
}

/// Those that were started with this `NAME=VALUE` in their environment, as far as it may be
/// read: proc_pid_environ(5).
pub fn with_variable(word: &str) -> Vec<Process> {
    let has = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|found| found == word.as_bytes())
    };
    pids().filter(has).filter_map(Process::read).collect()
}

/// All processes.
fn pids() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
}

/// A few fields of /proc/PID/stat.
struct Stat {
    name: String,
    state: char,
    parent: i32,
    start: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Stat> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (open, close) = (stat.find('(')?, stat.rfind(')')?);
        let mut rest = stat[close + 1..].split_whitespace();
        let state = rest.next()?.chars().next()?;
        let parent = rest.next()?.parse().ok()?;
        // Field 22; what was taken are fields 3 and 4.
        let start = rest.nth(17)?.parse().ok()?;
        Some(Stat { name: stat[open + 1..close].to_owned(), state, parent, start })
    }
}
