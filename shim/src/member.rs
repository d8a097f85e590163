//! A process that joins a pod, and its parent.
//!
//! ```text
//!   in the foreground     shim ── the process         shim waits, forwards, hands over
//!   detached              shim ─► monitor ── the process     shim leaves when it runs
//! ```
//!
//! The parent of a joined process is outside the pod, and pause can't reap it: whoever
//! started it stays, and waits. Were it a zombie for long, it would keep pause from ending.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use podkeel_netsetup::error::{Context as _, Error, Kind, Result};
use podkeel_netsetup::kernel::NsKind;
use podkeel_netsetup::record::Process;

use crate::enter::{self, Entry, Refused};
use crate::foreground;
use crate::inside::Program;
use crate::join::{self, Chosen};
use crate::ns::Mode;
use crate::process::Child;
use crate::record::{self, Container, Exit, Held, Phase, Role};
use crate::shm::Shm;
use crate::user::User;
use crate::{Shim, base, monitor};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Its name; one without has no record, but for a detached one.
    pub name: Option<String>,
    /// Its namespaces.
    pub modes: BTreeMap<NsKind, Mode>,
    /// Whether it gets mounts of its own, with the pod's /proc and /dev/shm.
    pub mounts: bool,
    /// Whether shim leaves once it runs.
    pub detach: bool,
    /// Whether its record goes when it ends.
    pub remove: bool,
    /// The program and its words.
    pub words: Vec<OsString>,
    /// `KEY=VALUE`, or `KEY` for the caller's value.
    pub env: Vec<OsString>,
    /// Working directory.
    pub workdir: Option<PathBuf>,
    /// `USER[:GROUP]`.
    pub user: Option<String>,
}

/// Starts a process in a pod. Returns the exit code: its own, or 0 once it runs detached.
pub fn run(shim: &Shim, wish: &Wish) -> Result<i32, Refused> {
    let own = |e: Error| Refused::own(&e);
    if wish.detach {
        println!("{}", detach(shim, wish)?);
        return Ok(0);
    }
    let chosen = join::choose(shim, &wish.modes).map_err(own)?;
    let program = program(shim, wish).map_err(own)?;
    if wish.name.is_none() {
        let child = execute(chosen.entry, chosen.shm, wish, program)?;
        foreground::hand_over(&child).map_err(own)?;
        return foreground::attend(child).map(|(code, _)| code).map_err(own);
    }
    let held = claim(shim, wish, &chosen).map_err(own)?;
    named(shim, wish, chosen, program, held)
}

/// Starts a process in a pod, and leaves it there. Returns its name.
pub fn detach(shim: &Shim, wish: &Wish) -> Result<String, Refused> {
    let own = |e: Error| Refused::own(&e);
    let chosen = join::choose(shim, &wish.modes).map_err(own)?;
    let program = program(shim, wish).map_err(own)?;
    let held = claim(shim, wish, &chosen).map_err(own)?;
    monitor::detached(shim, held, wish.remove, |held, log| {
        bring_up(wish, chosen, Program { log: Some(log), ..program }, held)
    })
}

fn claim(shim: &Shim, wish: &Wish, chosen: &Chosen) -> Result<Held> {
    let name = record::name_or(wish.name.as_ref(), "app")?;
    let mut container = Container::new(&name, Role::Member)?;
    container.pod.clone_from(&chosen.pod);
    container.namespaces.clone_from(&chosen.spaces);
    container.command = wish.words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    container.log = wish.detach;
    base::claim(shim, container)
}

/// Waits for the end of one that is on record, and writes down how it ended. Returns its
/// exit code.
pub fn attended(shim: &Shim, forget: bool, held: Held, child: Child) -> Result<i32> {
    let dir = open_dir(shim, &held.container)?;
    let (name, id) = (held.container.name.clone(), held.container.id.clone());
    drop(held);
    let (code, signal) = foreground::attend(child)?;
    let written =
        if forget { remove(shim, &name, &id) } else { write_exit(&dir, &id, code, signal) };
    if let Err(error) = written {
        eprintln!("shim: warning: {error}");
    }
    Ok(code)
}

/// In the foreground, and on record.
fn named(
    shim: &Shim,
    wish: &Wish,
    chosen: Chosen,
    program: Program,
    mut held: Held,
) -> Result<i32, Refused> {
    match bring_up(wish, chosen, program, &mut held) {
        Ok(child) => attended(shim, wish.remove, held, child).map_err(|e| Refused::own(&e)),
        Err(refused) => Err(take_back(shim, held, refused)),
    }
}

/// The process, on record as ready.
fn bring_up(
    wish: &Wish,
    chosen: Chosen,
    program: Program,
    held: &mut Held,
) -> Result<Child, Refused> {
    let own = |e: Error| Refused::own(&e);
    let mut waiting = start(chosen.entry, chosen.shm, wish, program).map_err(own)?;
    held.container.process = Some(waiting.process()?);
    let unread = || Error::new(Kind::Failed, "find /proc/self/stat", "it can't be read");
    let monitor = Process::read(nix::unistd::getpid().as_raw());
    held.container.monitor = Some(monitor.ok_or_else(unread).map_err(own)?);
    held.write().map_err(own)?;
    foreground::hand_over(&waiting.child).map_err(own)?;
    let child = waiting.go()?;
    held.container.phase = Phase::Ready;
    held.write().map_err(own)?;
    Ok(child)
}

/// What was begun is taken back; says so too if that fails.
pub fn take_back(shim: &Shim, held: Held, mut refused: Refused) -> Refused {
    if let Err(error) = base::undo(shim, held) {
        refused.why = format!("{}; and taking it back failed too: {error}", refused.why);
    }
    refused
}

/// The directory of its record, open: its path changes with its name.
pub fn open_dir(shim: &Shim, container: &Container) -> Result<File> {
    let dir = container.dir(&shim.context.roots);
    File::open(&dir).ctx(|| format!("open {}", dir.display()))
}

/// Writes down how it ended.
pub fn write_exit(dir: &File, id: &str, code: i32, signal: Option<i32>) -> Result<()> {
    let dir = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    record::write_exit(&dir, &Exit { id: id.to_owned(), code, signal, at: record::now() })
}

/// `--rm`: takes the record away, if it is still there under that name. Who else is at
/// that already waits for us to end, so nobody is waited for here.
pub fn remove(shim: &Shim, name: &str, id: &str) -> Result<()> {
    let roots = &shim.context.roots;
    let end = Instant::now() + record::PATIENCE;
    loop {
        if let Some(held) = Held::try_open(roots, name)? {
            return if held.container.id == id { base::undo(shim, held) } else { Ok(()) };
        }
        match record::read(roots, name)? {
            Some(c) if c.id == id && c.phase != Phase::Removing && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(10));
            }
            _ => return Ok(()),
        }
    }
}

/// Up to its gate.
fn start(entry: Entry, shm: Shm, wish: &Wish, mut program: Program) -> Result<enter::Waiting> {
    let entry = mounted(entry, shm, wish, &mut program);
    let lo = has_own_lo(&entry);
    let waiting = enter::start(entry, |gate| program.run(gate))?;
    if lo {
        let netns = podkeel_netsetup::kernel::Netns::of_process(waiting.child.pid())?;
        podkeel_netsetup::verbs::loopback(&netns)?;
    }
    Ok(waiting)
}

/// Until it has executed its program.
fn execute(
    entry: Entry,
    shm: Shm,
    wish: &Wish,
    mut program: Program,
) -> std::result::Result<Child, Refused> {
    if has_own_lo(&entry) {
        return start(entry, shm, wish, program).map_err(|e| Refused::own(&e))?.go();
    }
    let entry = mounted(entry, shm, wish, &mut program);
    enter::execute(entry, |gate| program.run(gate))
}

/// Whether there will be a network namespace of its own, whose lo is to be set up.
fn has_own_lo(entry: &Entry) -> bool {
    entry.new.contains(crate::ns::flag(NsKind::Net))
}

/// With the mounts that were asked for.
fn mounted(entry: Entry, shm: Shm, wish: &Wish, program: &mut Program) -> Entry {
    // A pid namespace of others, or of its own: then /proc shows that one.
    let pid = crate::ns::flag(NsKind::Pid);
    let other_pids =
        entry.new.contains(pid) || entry.joined.iter().any(|(_, kinds)| kinds.contains(pid));
    if wish.mounts {
        program.proc = other_pids;
        program.shm = shm;
    }
    Entry { new: entry.new | program.new_namespaces(), ..entry }
}

/// Everything of it that can be wrong is found here, before anything is started.
fn program(shim: &Shim, wish: &Wish) -> Result<Program> {
    let user = wish.user.as_deref().map(User::find).transpose()?;
    let words = wish.words.iter().map(|w| c_string(w.as_bytes())).collect::<Result<_>>()?;
    let mut env: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    if let Some(home) = user.as_ref().and_then(|u| u.home.as_ref()) {
        env.insert("HOME".into(), home.into());
    }
    for word in &wish.env {
        let bytes = word.as_bytes();
        let (key, value) = match bytes.iter().position(|b| *b == b'=') {
            Some(0) => {
                return Err(Error::input(
                    format!("use --env {}", word.display()),
                    "it has no name",
                ));
            }
            Some(at) => (&bytes[..at], Some(OsString::from_vec(bytes[at + 1..].to_vec()))),
            None => (bytes, std::env::var_os(word)),
        };
        if let Some(value) = value {
            env.insert(OsString::from_vec(key.to_vec()), value);
        }
    }
    let path = env.get(&OsString::from("PATH")).cloned().unwrap_or_else(|| DEFAULT_PATH.into());
    let env =
        env.iter().map(|(key, value)| c_string(&[key.as_bytes(), b"=", value.as_bytes()].concat()));
    Ok(Program {
        words,
        env: env.collect::<Result<Vec<CString>>>()?,
        path,
        workdir: wish.workdir.clone(),
        user,
        proc: false,
        shm: Shm::Callers,
        log: None,
        mask: shim.mask,
    })
}

/// Where programs are looked for without a PATH, as docker has it.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| {
        Error::input(format!("use {:?}", String::from_utf8_lossy(bytes)), "a zero byte is in it")
    })
}
