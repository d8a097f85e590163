//! The start of a process inside of namespaces: its order, with the reason per step.
//!
//! ```text
//!   shim ─vfork──► envoy      not dumpable: nobody inside may trace it (CVE-2016-9962)
//!    │               │ setns  pidfd: net, ipc, uts, pid in one call; or one by one
//!    │               │ clone  CLONE_PARENT: the new process is shim's own child, and in
//!    │               ▼        the pid namespace, which setns alone does not bring about
//!    ├────────────► inside    a mount namespace of its own: /proc and /dev/shm of the pod
//!    │  gate ──────► │        waits until shim has it on record; if shim dies, it ends
//!    ◄──── status ── │        what failed; closed by exec when nothing did
//!                    ▼ exec
//! ```
//!
//! Where nothing has to be done between the process and its program, there is no gate: the
//! one inside shares shim's memory too, and all sleep until it has executed.
//!
//! shim itself never moves: who has called setns(CLONE_NEWPID) can't make a thread any
//! more, and would do its own work in the pod.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::unistd::pipe2;
use podkeel_netsetup::error::{Error, Kind, Result};
use podkeel_netsetup::record::Process;

use crate::process::{self, Child, News};

/// Which namespaces a process is started in.
#[derive(Debug)]
pub struct Entry {
    /// Existing ones: an open namespace or a pidfd, with the kinds that are meant.
    pub joined: Vec<(OwnedFd, CloneFlags)>,
    /// New ones.
    pub new: CloneFlags,
}

/// Why a process inside could not go on: shim's exit code, and the words.
#[derive(Debug)]
pub struct Refused {
    /// 125 for shim's own failures, 126 and 127 for the program's, as docker has them.
    pub code: u8,
    /// In [`Error`]'s words.
    pub why: String,
}

impl Refused {
    /// shim's own failure, or a kernel that refused.
    pub const OWN: u8 = 125;

    /// From an error of shim's own.
    pub fn own(error: &Error) -> Refused {
        Refused { code: Refused::OWN, why: error.to_string() }
    }

    /// As an error. The words are whole already.
    pub fn into_error(self) -> Error {
        let why = self.why.strip_prefix("cannot ").unwrap_or(&self.why);
        let (what, why) = why.split_once(": ").unwrap_or((why, "it failed"));
        let kind = match self.code {
            126 => Kind::Denied,
            127 => Kind::Missing,
            _ => Kind::Failed,
        };
        Error::new(kind, what, why)
    }
}

/// A process that stands inside and waits at the gate.
#[derive(Debug)]
pub struct Waiting {
    /// It. Dropped, it ends.
    pub child: Child,
    gate: File,
    status: File,
}

impl Waiting {
    /// Which process it is, for the record.
    ///
    /// # Errors
    /// What failed inside, if it has ended already; or /proc can't be read.
    pub fn process(&mut self) -> std::result::Result<Process, Refused> {
        let pid = self.child.pid();
        if let Some(process) = Process::read(pid) {
            return Ok(process);
        }
        let why = match self.child.news() {
            Ok(News::Exited(_) | News::Signaled(_)) => {
                let mut text = Vec::new();
                let _ = self.status.read_to_end(&mut text);
                if let Some((code, why)) = text.split_first() {
                    let why = String::from_utf8_lossy(why).into_owned();
                    return Err(Refused { code: *code, why });
                }
                "it ended before its program was executed"
            }
            _ => "its start time can't be read",
        };
        Err(Refused::own(&Error::new(Kind::Failed, format!("find /proc/{pid}/stat"), why)))
    }

    /// Lets it go on, and waits until it has executed its program or failed.
    ///
    /// # Errors
    /// What failed inside; the process has ended then.
    pub fn go(self) -> std::result::Result<Child, Refused> {
        let Waiting { child, mut gate, mut status } = self;
        match gate.write_all(b"!") {
            // It is dead already, and its status says why.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            Err(error) => return Err(Refused::own(&Error::io("open the gate", &error))),
            Ok(()) => {}
        }
        drop(gate);
        let mut text = Vec::new();
        if let Err(error) = status.read_to_end(&mut text) {
            // Dropped, it is killed: whether it runs isn't known.
            return Err(Refused::own(&Error::io("hear from the process inside", &error)));
        }
        match text.split_first() {
            None => Ok(child),
            Some((code, why)) => {
                let _ = child.wait();
                Err(Refused { code: *code, why: String::from_utf8_lossy(why).into_owned() })
            }
        }
    }
}

/// The gate, seen from inside. Where nothing is to be done before the program begins, there
/// is none.
#[derive(Debug)]
pub struct Gate(Option<File>);

impl Gate {
    /// Waits until the starter says go. Where the starter has died there is nothing to
    /// wait for: this process ends.
    pub fn pass(self) -> Result<()> {
        let Some(mut gate) = self.0 else { return Ok(()) };
        let mut word = [0; 1];
        match gate.read_exact(&mut word) {
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                process::exit(i32::from(Refused::OWN))
            }
            passed => passed.map_err(|e| Error::io("wait at the gate", &e)),
        }
    }
}

/// Starts a process that runs `job` inside; `job` passes the gate when it is ready, and
/// comes back only if it could not execute its program. The caller has one thread.
pub fn start(entry: Entry, job: impl FnOnce(Gate) -> Refused) -> Result<Waiting> {
    let failed = |errno| Error::errno("start a process", errno as i32);
    let (gate, go) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    let (status, say) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    // Each side closes the ends of the other: only so the death of one is seen by the other.
    let theirs = Cell::new(Some((go, status)));
    let inside = || {
        drop(theirs.take());
        let refused = job(Gate(Some(gate.into())));
        let mut text = vec![refused.code];
        text.extend(refused.why.as_bytes());
        let _ = File::from(say).write_all(&text);
        i32::from(refused.code)
    };
    let fork = |flags| process::fork(flags, inside).map(Child::leave);
    let child = by_envoy(&entry, fork)?;
    match theirs.take() {
        Some((go, status)) => Ok(Waiting { child, gate: go.into(), status: status.into() }),
        None => Err(Error::new(Kind::Failed, "start a process", "its pipes are gone")),
    }
}

/// Starts a process that runs `job` inside, and has executed its program when this returns:
/// nothing is to be put on record or set up from outside before, so there is no gate, and
/// shim sleeps meanwhile. The caller has one thread.
pub fn execute(
    entry: Entry,
    job: impl FnOnce(Gate) -> Refused,
) -> std::result::Result<Child, Refused> {
    let run = |flags| process::errand(flags, || job(Gate(None)));
    let mut refused = None;
    let child = by_envoy(&entry, |flags| {
        let (pid, came_back) = run(flags)?;
        refused = came_back;
        Ok(pid)
    });
    let child = child.map_err(|error| Refused::own(&error))?;
    match refused {
        None => Ok(child),
        Some(refused) => {
            let _ = child.wait();
            Err(refused)
        }
    }
}

/// A child that `make` makes with these flags: in the namespaces that are joined by way of
/// an envoy, which shares our memory while we sleep and costs no copy of it.
fn by_envoy(
    entry: &Entry,
    make: impl FnOnce(CloneFlags) -> std::result::Result<i32, Errno>,
) -> Result<Child> {
    if entry.joined.is_empty() {
        let failed = |errno| Error::errno("start a process", errno as i32);
        return make(entry.new).map(process::adopt).map_err(failed);
    }
    nix::sys::prctl::set_dumpable(false).map_err(entering)?;
    // With the descriptors shared, what the envoy drops is closed.
    let envoy = process::errand(CloneFlags::CLONE_FILES, || {
        entry.joined.iter().try_for_each(|(fd, kinds)| setns(fd, *kinds))?;
        make(entry.new | CloneFlags::CLONE_PARENT)
    });
    let made = envoy.and_then(|(pid, made)| {
        let _ = process::adopt(pid).wait();
        // Nothing: it was killed before it was done.
        made.unwrap_or(Err(Errno::EINTR))
    });
    // Only who is inside must not be traced; the child that is has kept it.
    let _ = nix::sys::prctl::set_dumpable(true);
    made.map(process::adopt).map_err(entering)
}

fn entering(errno: Errno) -> Error {
    let error = Error::errno("enter the namespaces", errno as i32);
    match errno {
        Errno::ESRCH => error.kind(Kind::Missing).hint("the process that they belong to has ended"),
        // setns(2): a pid namespace whose first process has ended takes in nobody any more.
        Errno::ENOMEM => error.hint("the first process of that pid namespace has ended"),
        Errno::EPERM => error.hint("CAP_SYS_ADMIN over the namespaces is needed"),
        _ => error,
    }
}
