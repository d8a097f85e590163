//! A container of an OCI runtime that joins a pod.
//!
//! ```text
//!   DIR/config.json ──► a copy: the pod's namespaces by path, its /dev/shm, absolute paths
//!                         │
//!   in the foreground     shim ── RUNTIME run ── the container
//!   detached              shim ─► monitor ── RUNTIME create, RUNTIME start
//!                                   └── the container, once the runtime has left it an orphan
//! ```
//!
//! The runtime knows the container by the record's id. The record names the runtime's
//! process before that one begins, then the container's first process. Whatever is
//! killed in between, `undo` ends what is recorded and has the runtime forget the id.
//!
//! `create` and `start`, and not `run --detach`: crun's run writes down what it has made
//! only when the program runs already. Killed before that, it would leave a container
//! behind that it doesn't know. In the foreground shim ends what it leaves.

mod cgroups;
mod config;
mod place;
mod runtime;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::wait::WaitStatus;
use podkeel_netsetup::error::{Context as _, Error, Kind, Result};
use podkeel_netsetup::kernel::NsKind;
use podkeel_netsetup::record::Process;

use crate::alive::{self, Living};
use crate::enter::{Refused, Waiting};
use crate::ns::{self, Mode};
use crate::process::{self, Child};
use crate::record::{self, Container, Held, Phase, Role, Space};
use crate::{Shim, base, foreground, join, log, member, monitor};

use config::{Config, Entry};
use place::{Place, Shared, place, shared_shm};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Its name; one without gets a random one, and is forgotten when it ends in the foreground.
    pub name: Option<String>,
    /// The namespaces that are chosen; the others stay as config.json has them.
    pub modes: BTreeMap<NsKind, Mode>,
    /// Whether shim leaves once it runs.
    pub detach: bool,
    /// Whether its record goes when it ends.
    pub remove: bool,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// The runtime, by name or path.
    pub runtime: Option<String>,
}

/// Starts a container. Returns the exit code: its own, or 0 once it runs detached.
pub fn run(shim: &Shim, wish: &Wish) -> Result<i32, Refused> {
    let own = |e: Error| Refused::own(&e);
    let runtime = runtime::find(wish.runtime.as_deref())?;
    let job = Job::prepare(shim, wish, runtime).map_err(own)?;
    for note in &job.notes {
        eprintln!("shim: {note}");
    }
    let held = claim(shim, wish, &job).map_err(own)?;
    if wish.detach {
        let name =
            monitor::detached(shim, held, wish.remove, |held, log| job.detached(shim, held, log))?;
        println!("{name}");
        Ok(0)
    } else {
        let remove = wish.remove || wish.name.is_none();
        job.foreground(shim, held, remove)
    }
}

/// Ends a runtime that is making a container, and all that it has started for that: what
/// it hasn't written down yet, it wouldn't find again.
pub fn end(runtime: Living) -> Result<()> {
    let mut found = vec![runtime];
    let mut next = 0;
    while let Some(living) = found.get(next) {
        // Until it stands it may yet start another.
        living.stand_still()?;
        for pid in alive::children(living.process.pid) {
            found.extend(Process::read(pid).map(Living::find).transpose()?.flatten());
        }
        next += 1;
    }
    found.iter().try_for_each(Living::kill)
}

/// Ends what a runtime has started in making a container and left to others: crun enters a
/// pid namespace by a process whose parent ends at once, and if ours has ended, too, that
/// one is nobody's child that we know. It still has the runtime's environment.
fn end_strays(id: &str) -> Result<()> {
    let mark = runtime::mark(id);
    loop {
        let strays = alive::with_variable(&mark);
        if strays.is_empty() {
            return Ok(());
        }
        for stray in strays {
            Living::find(stray)?.map_or(Ok(()), |living| living.kill())?;
        }
    }
}

/// Has the runtime forget a container, and takes away its copy of config.json.
pub fn undo(shim: &Shim, container: &Container) -> Result<()> {
    let Role::Bundle { runtime, .. } = &container.role else { return Ok(()) };
    let dir = container.bundle_dir(&shim.context.roots);
    // A runtime keeps its state where a boot ends it. One that was never started has none.
    if container.boot == shim.boot && container.process.is_some() {
        if container.phase == Phase::Creating {
            end_strays(&container.id)?;
        }
        runtime::delete(shim, runtime, &container.id)?;
        if container.phase == Phase::Creating {
            cgroups::remove(&dir, &container.id)?;
            runtime::forget(runtime, &container.id)?;
        }
    }
    match std::fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io(format!("remove {}", dir.display()), &e));
        }
        _ => {}
    }
    // Others may be using it.
    let _ = dir.parent().map(std::fs::remove_dir);
    Ok(())
}

fn claim(shim: &Shim, wish: &Wish, job: &Job) -> Result<Held> {
    let name = record::name_or(wish.name.as_ref(), "app")?;
    let runtime = job.runtime.to_string_lossy().into_owned();
    let bundle = job.config.dir().to_owned();
    let mut container = Container::new(&name, Role::Bundle { runtime, bundle })?;
    container.pod.clone_from(&job.pod);
    container.namespaces.clone_from(&job.spaces);
    container.command = job.config.command();
    container.log = wish.detach;
    Held::claim(&shim.context.roots, container, |held| base::undo(shim, held))
}

/// Everything that is found before anything is started.
#[derive(Debug)]
struct Job {
    runtime: PathBuf,
    config: Config,
    places: BTreeMap<NsKind, Place>,
    spaces: BTreeMap<NsKind, Space>,
    pod: Option<String>,
    /// Children that were there before the runtime.
    others: Vec<i32>,
    /// What the user should know.
    notes: Vec<String>,
}

impl Job {
    fn prepare(shim: &Shim, wish: &Wish, runtime: PathBuf) -> Result<Job> {
        let mut config = Config::read(&wish.bundle)?;
        if wish.detach && config.terminal() {
            let what = format!("run {} detached", wish.bundle.display());
            return Err(Error::input(what, "config.json wants a terminal, and there is none")
                .hint("set process.terminal to false, or leave -d away"));
        }
        let modes = ns::SHARED.into_iter().map(|kind| match wish.modes.get(&kind) {
            Some(mode) => (kind, mode.clone()),
            None => (kind, config.mode(kind)),
        });
        // Opened here only to see that they are there, and to have them on record.
        let chosen = join::choose(shim, &modes.collect())?;
        let mut places = BTreeMap::new();
        for (kind, mode) in &wish.modes {
            places.insert(*kind, place(shim, *kind, mode)?);
        }
        let mut notes = Vec::new();
        match wish.modes.get(&NsKind::Uts) {
            None | Some(Mode::Private) => {}
            Some(mode) => notes.extend(config.leave_names().into_iter().map(|name| {
                format!("{name} of config.json is left out: the uts namespace is {mode}'s")
            })),
        }
        if let Some(mode) = wish.modes.get(&NsKind::Ipc).filter(|_| config.has_own_shm()) {
            match shared_shm(shim, mode)? {
                Shared::Own => {}
                Shared::At(path) => config.share_shm(&path),
                Shared::Unknown => notes.push(format!(
                    "/dev/shm stays the container's own: which one belongs to {mode} isn't known"
                )),
            }
        }
        config.settle_paths();
        let (spaces, pod) = (chosen.spaces, chosen.pod);
        Ok(Job { runtime, config, places, spaces, pod, others: Vec::new(), notes })
    }

    /// Writes the copy of config.json and starts the runtime; it waits at its gate, on
    /// record.
    fn start(&mut self, shim: &Shim, held: &mut Held, log: Option<File>) -> Result<Waiting> {
        // By this process's table of open files: no other namespace can come to be there.
        let own = nix::unistd::getpid();
        for (kind, place) in &self.places {
            let entry = match place {
                Place::Hosts => None,
                Place::Own => Some(Entry::Own),
                Place::At(path) => Some(Entry::At(path.clone())),
                Place::Open(ns) => {
                    let fd = ns.as_fd().as_raw_fd();
                    Some(Entry::At(format!("/proc/{own}/fd/{fd}").into()))
                }
            };
            self.config.set(*kind, entry);
        }
        let dir = held.container.bundle_dir(&shim.context.roots);
        let file = dir.join(config::FILE);
        let what = || format!("write {}", file.display());
        std::fs::create_dir_all(&dir).ctx(what)?;
        std::fs::write(&file, self.config.to_bytes()).ctx(what)?;
        let pid_file = pid_file(shim, &held.container);
        let verb = if log.is_some() { "create" } else { "run" };
        let mut words = vec![OsStr::new(verb)];
        words.extend([OsStr::new("--bundle"), dir.as_os_str()]);
        words.extend([OsStr::new("--pid-file"), pid_file.as_os_str()]);
        words.push(OsStr::new(&held.container.id));
        process::adopt_orphans(true)
            .map_err(|e| Error::errno("become the parent of orphans", e as i32))?;
        self.others = alive::children(own.as_raw());
        let waiting = runtime::start(shim, &self.runtime, &words, log, Some(&held.container.id))?;
        held.container.process = Process::read(waiting.child.pid());
        held.container.monitor = Process::read(own.as_raw());
        held.write()?;
        Ok(waiting)
    }

    /// In the monitor: the runtime makes it and leaves; the container's first process is
    /// ours then, and on record before its program runs.
    fn detached(mut self, shim: &Shim, held: &mut Held, log: File) -> Result<Child, Refused> {
        let own = |e: Error| Refused::own(&e);
        let output = log.try_clone().ctx(|| "duplicate the log".into()).map_err(own)?;
        let runtime = self.start(shim, held, Some(log)).map_err(own)?.go()?;
        self.succeeded(shim, held, runtime.wait())?;
        let child = self.adopt(shim, held).map_err(own)?;
        let words = ["start", &held.container.id].map(OsStr::new);
        let id = Some(held.container.id.as_str());
        let runtime = runtime::start(shim, &self.runtime, &words, Some(output), id).map_err(own)?;
        self.succeeded(shim, held, runtime.go()?.wait())?;
        held.container.phase = Phase::Ready;
        held.write().map_err(own)?;
        Ok(child)
    }

    fn succeeded(
        &self,
        shim: &Shim,
        held: &Held,
        ended: nix::Result<WaitStatus>,
    ) -> Result<(), Refused> {
        match ended {
            Ok(WaitStatus::Exited(_, 0)) => Ok(()),
            other => {
                self.end_orphans();
                Err(Refused::own(&self.failed(shim, held, other)))
            }
        }
    }

    /// What a runtime that failed, or was killed, has left behind has come to us.
    fn end_orphans(&self) {
        let own = nix::unistd::getpid().as_raw();
        let orphans = || alive::children(own).into_iter().filter(|pid| !self.others.contains(pid));
        // An orphan's end makes orphans of its children.
        for _ in 0..ORPHANS {
            let Some(pid) = orphans().next() else { return };
            drop(process::adopt(pid));
        }
    }

    fn adopt(&self, shim: &Shim, held: &mut Held) -> Result<Child> {
        let what = || format!("find the first process of {}", held.container.name);
        let path = pid_file(shim, &held.container);
        let pid = read_pid(&path).ok_or_else(|| {
            Error::new(Kind::Failed, what(), format!("no pid is in {}", path.display()))
        })?;
        // A runtime may leave before the one that it has forked has: only then it is an orphan.
        let deadline = Instant::now() + ADOPTION;
        while !process::is_child(pid) {
            if Instant::now() > deadline {
                let why = format!("process {pid} isn't the runtime's child");
                return Err(Error::new(Kind::Failed, what(), why));
            }
            std::thread::sleep(LOOK);
        }
        let child = process::adopt(pid);
        // Others may go to init again; those that have come are the monitor's to reap.
        let _ = process::adopt_orphans(false);
        held.container.process = alive::read(pid).map(|(process, _)| process);
        held.write()?;
        Ok(child)
    }

    /// Why the runtime could not start it: its own words stand in the log.
    fn failed(&self, shim: &Shim, held: &Held, ended: nix::Result<WaitStatus>) -> Error {
        let what = format!("run {} by {}", held.container.name, self.runtime.display());
        let mut said = Vec::new();
        let path = held.container.log_path(&shim.context.roots);
        let _ = log::copy(&path, Some(LAST_WORDS), &mut || false, &mut said);
        match ended {
            Ok(ended) => {
                let why = runtime::told(ended, &String::from_utf8_lossy(&said));
                Error::new(Kind::Failed, what, why)
            }
            Err(errno) => Error::errno(what, errno as i32),
        }
    }

    fn foreground(mut self, shim: &Shim, mut held: Held, remove: bool) -> Result<i32, Refused> {
        let own = |e: Error| Refused::own(&e);
        let started = self.start(shim, &mut held, None).map_err(own).and_then(Waiting::go);
        let child = match started {
            Ok(child) => child,
            Err(refused) => return Err(member::take_back(shim, held, refused)),
        };
        let runtime = child.pid();
        let (name, id) = (held.container.name.clone(), held.container.id.clone());
        let dir = member::open_dir(shim, &held.container).map_err(own)?;
        let mut start = Some((self, held));
        let (code, signal) = foreground::attend_and(child, || {
            let Some((_, held)) = &mut start else { return false };
            if !note_first(shim, held, runtime) {
                return true;
            }
            // Released, and the namespaces are nobody's but the container's.
            start = None;
            false
        })
        .map_err(own)?;
        if let Some((job, mut held)) = start.take() {
            if read_pid(&pid_file(shim, &held.container)).is_none() {
                job.end_orphans();
                // Its own words have gone where ours go.
                let what = format!("run {name} by {}", job.runtime.display());
                let why = format!("exit code {code}, and the container has never run");
                let refused = own(Error::new(Kind::Failed, what, why));
                return Err(member::take_back(shim, held, refused));
            }
            if !note_first(shim, &mut held, runtime) {
                // It ran for an instant. The runtime's process stays on record; it has ended.
                held.container.phase = Phase::Ready;
                held.write().map_err(own)?;
            }
        }
        let (code, signal) = match signal {
            Some(_) => outlived(shim, &id)?.unwrap_or((code, signal)),
            None => (code, signal),
        };
        let written = match remove {
            true => member::remove(shim, &name, &id),
            false => member::write_exit(&dir, &id, code, signal),
        };
        if let Err(error) = written {
            eprintln!("shim: warning: {error}");
        }
        Ok(code)
    }
}

/// How long the container's first process may have another parent once the runtime has left.
const ADOPTION: Duration = Duration::from_secs(10);

/// How many processes a start is made of, at most.
const ORPHANS: usize = 1000;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// Lines of a log that tell why a runtime failed.
const LAST_WORDS: usize = 20;

fn pid_file(shim: &Shim, container: &Container) -> PathBuf {
    container.bundle_dir(&shim.context.roots).join("pid")
}

fn read_pid(path: &Path) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok().filter(|pid| *pid > 0)
}

/// Once there is a container: its first process, on record as ready. Says whether there is.
fn note_first(shim: &Shim, held: &mut Held, runtime: i32) -> bool {
    let first = read_pid(&pid_file(shim, &held.container)).and_then(alive::read);
    // A child of the runtime's, or ours if that one was killed: not somebody else's who has
    // got the number since.
    let own = nix::unistd::getpid().as_raw();
    let first = first.filter(|(_, parent)| [runtime, own].contains(parent));
    let Some((process, _)) = first else { return false };
    held.container.process = Some(process);
    held.container.phase = Phase::Ready;
    if let Err(error) = held.write() {
        eprintln!("shim: warning: {error}");
    }
    true
}

/// The runtime was killed; the container it has left behind is ours to wait for.
fn outlived(shim: &Shim, id: &str) -> Result<Option<(i32, Option<i32>)>, Refused> {
    let own = |e: Error| Refused::own(&e);
    let container = record::by_id(&shim.context.roots, id).map_err(own)?;
    let pid = container.and_then(|c| c.process).map(|p| p.pid);
    match pid.filter(|pid| process::is_child(*pid)) {
        Some(pid) => foreground::attend(process::adopt(pid)).map(Some).map_err(own),
        None => Ok(None),
    }
}
