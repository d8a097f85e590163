//! What a new process does inside before it becomes its program.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal};
use podkeel_netsetup::error::{Context, Error, Result};
use podkeel_netsetup::kernel::sysctl::ProcSys;

use crate::enter::{Gate, Refused};
use crate::process;
use crate::shm::Shm;
use crate::sysctl::Setting;
use crate::user::User;

/// The first descriptor that isn't standard input, output or error.
const FIRST_OTHER: i32 = 3;

/// No source, no type, no data.
const NONE: Option<&str> = None;

/// How pause is started.
#[derive(Debug)]
pub struct Pause {
    /// The program; `None` for a pod of pinned namespaces alone.
    pub program: Option<OwnedFd>,
    /// Its words: its name, and the command that it is to run as an init.
    pub words: Vec<CString>,
    /// An empty directory, for its root to be mounted on; `None` leaves it the host's files.
    pub root: Option<PathBuf>,
    /// The pod's /dev/shm.
    pub shm: Option<PathBuf>,
    /// The host name to set.
    pub hostname: Option<String>,
    /// The sysctls to set.
    pub sysctls: Vec<Setting>,
    /// Where its output goes; `None` leaves it the caller's.
    pub log: Option<File>,
    /// The signal mask it gets.
    pub mask: SigSet,
}

impl Pause {
    /// Runs it; comes back only when it could not.
    pub fn run(self, gate: Gate) -> Refused {
        match self.prepare_and_exec(gate) {
            Ok(()) => process::exit(0),
            Err(error) => Refused::own(&error),
        }
    }

    fn prepare_and_exec(self, gate: Gate) -> Result<()> {
        // Nobody's terminal is ours: ^C there is for shim alone.
        let _ = nix::unistd::setsid();
        let sys = ProcSys::open()?;
        redirect(self.log.as_ref())?;
        // While there is a /proc, which old kernels need for it.
        process::close_at_exec(FIRST_OTHER);
        if let Some(root) = &self.root {
            empty_root(root, self.shm.as_deref())?;
        } else if self.program.is_some() {
            pods_own_mounts(self.shm.as_deref())?;
        }
        gate.pass()?;
        if let Some(name) = &self.hostname {
            nix::unistd::sethostname(name).on(|| format!("set host name {name}"))?;
        }
        for setting in &self.sysctls {
            setting.apply(&sys)?;
        }
        let Some(program) = self.program else { return Ok(()) };
        // A signal that comes before pause has asked for it is kept for it; were it not
        // blocked, the kernel would drop it, for this is the first process of its namespace.
        let mut mask = self.mask;
        mask.add(Signal::SIGINT);
        mask.add(Signal::SIGTERM);
        process::restore_signals(&mask);
        // Alone it needs no environment; what it runs has the caller's.
        let environment = match self.words.len() {
            0 | 1 => Vec::new(),
            _ => std::env::vars_os().filter_map(variable).collect(),
        };
        let error = process::exec_held(&program, &self.words, &environment);
        Err(Error::io("execute pause", &error))
    }
}

/// Standard input from nowhere, both outputs to the log; without a log only the input.
fn redirect(log: Option<&File>) -> Result<()> {
    let null = File::open("/dev/null").ctx(|| "open /dev/null".into())?;
    rustix::stdio::dup2_stdin(&null).ctx(|| "redirect standard input".into())?;
    if let Some(log) = log {
        rustix::stdio::dup2_stdout(log).ctx(|| "redirect standard output".into())?;
        rustix::stdio::dup2_stderr(log).ctx(|| "redirect standard error".into())?;
    }
    Ok(())
}

/// As execve(2) takes it; what has a zero byte inside can't have come from there.
fn variable((name, value): (std::ffi::OsString, std::ffi::OsString)) -> Option<CString> {
    CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
}

/// The host's files, but for the pod's /proc and /dev/shm.
fn pods_own_mounts(shm: Option<&Path>) -> Result<()> {
    // Slaves: what the host unmounts is unmounted here, too, and kept busy by nobody.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)
        .on(|| "make the mounts of the pod its own".into())?;
    if let Some(shm) = shm {
        mount(Some(shm), "/dev/shm", NONE, MsFlags::MS_BIND, NONE)
            .on(|| "mount the pod's /dev/shm".into())?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, NONE).on(|| "mount the pod's /proc".into())
}

/// A root with nothing of the host in it: whoever gets to /proc/1/root from inside the
/// pod finds /proc and /dev/shm, and no mount of the host is kept busy.
fn empty_root(at: &Path, shm: Option<&Path>) -> Result<()> {
    let step = |what: &str| format!("{what} for pause at {}", at.display());
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)
        .on(|| "make the mounts of pause its own".into())?;
    let shm = shm.map(File::open).transpose().ctx(|| step("open /dev/shm"))?;
    mount(Some("pause"), at, Some("tmpfs"), flags, Some("mode=755,size=64k"))
        .on(|| step("mount a root"))?;
    std::env::set_current_dir(at).ctx(|| step("enter the root"))?;
    fs::create_dir_all("proc")
        .and_then(|()| fs::create_dir_all("dev/shm"))
        .ctx(|| step("fill the root"))?;
    if let Some(shm) = shm {
        let from = format!("/proc/self/fd/{}", shm.as_fd().as_raw_fd());
        mount(Some(from.as_str()), "dev/shm", NONE, MsFlags::MS_BIND, NONE)
            .on(|| step("mount /dev/shm"))?;
    }
    // pause needs none; where the kernel allows no new one (a container that hides parts
    // of its own), the pod's tools mount theirs.
    let _ = mount(Some("proc"), "proc", Some("proc"), flags, NONE);
    // The old root comes to lie on the new one, and goes: pivot_root(2).
    nix::unistd::pivot_root(".", ".").on(|| step("change the root"))?;
    umount2(".", MntFlags::MNT_DETACH).on(|| step("leave the host's root"))?;
    mount(NONE, "/", NONE, flags | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, NONE)
        .on(|| step("close the root"))
}

/// How a program is started in a pod.
#[derive(Debug)]
pub struct Program {
    /// Its words; the first is looked for along PATH.
    pub words: Vec<CString>,
    /// Its environment.
    pub env: Vec<CString>,
    /// The PATH to look along.
    pub path: std::ffi::OsString,
    /// Its working directory; `None` is the caller's.
    pub workdir: Option<PathBuf>,
    /// As whom it runs; `None` is the caller.
    pub user: Option<User>,
    /// Whether it gets a mount namespace of its own, with the pod's /proc.
    pub proc: bool,
    /// What it has for /dev/shm.
    pub shm: Shm,
    /// Where its output goes; `None` leaves it the caller's.
    pub log: Option<File>,
    /// The signal mask it gets.
    pub mask: SigSet,
}

impl Program {
    /// Which new namespaces it needs for that.
    pub fn new_namespaces(&self) -> CloneFlags {
        match self.proc || !matches!(self.shm, Shm::Callers) {
            true => CloneFlags::CLONE_NEWNS,
            false => CloneFlags::empty(),
        }
    }

    /// Runs it; comes back only when it could not.
    pub fn run(self, gate: Gate) -> Refused {
        match self.prepare(gate) {
            Err(error) => Refused::own(&error),
            Ok(words) => {
                process::restore_signals(&self.mask);
                process::close_at_exec(FIRST_OTHER);
                self.not_executed(process::exec_path(&words, &self.env, &self.path))
            }
        }
    }

    fn prepare(&self, gate: Gate) -> Result<Vec<CString>> {
        if self.log.is_some() {
            // Detached: no terminal, and no signal that is sent to the caller's group.
            let _ = nix::unistd::setsid();
            redirect(self.log.as_ref())?;
        }
        self.mounts()?;
        gate.pass()?;
        if let Some(user) = &self.user {
            user.become_it()?;
        }
        if let Some(dir) = &self.workdir {
            std::env::set_current_dir(dir)
                .ctx(|| format!("change to working directory {}", dir.display()))?;
        }
        Ok(self.words.clone())
    }

    fn mounts(&self) -> Result<()> {
        if self.new_namespaces().is_empty() {
            return Ok(());
        }
        // Slaves: what the host unmounts is unmounted here, too, and kept busy by nobody.
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)
            .on(|| "make the mounts its own".into())?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        self.shm.mount()?;
        if self.proc {
            mount(Some("proc"), "/proc", Some("proc"), flags, NONE).map_err(|errno| {
                let error = Error::errno("mount the pod's /proc", errno as i32);
                error.hint("--mnt host leaves the mounts as they are")
            })?;
        }
        Ok(())
    }

    fn not_executed(&self, errno: Errno) -> Refused {
        let program = self.words.first().map(|w| w.to_string_lossy().into_owned());
        let code = match errno {
            Errno::ENOENT | Errno::ENOTDIR => 127,
            _ => 126,
        };
        let error = Error::errno(format!("execute {}", program.unwrap_or_default()), errno as i32);
        Refused { code, why: error.to_string() }
    }
}

/// [`Context`] for nix's results.
trait On<T> {
    fn on(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> On<T> for std::result::Result<T, Errno> {
    fn on(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Error::errno(what(), errno as i32))
    }
}
