//! The parent of a detached container: it waits, and writes down how that one ended.
//!
//! ```text
//!   shim ─fork─► shim: starts the container, puts it on record
//!                  │ exec      shim/monitor: a page or two, for as long as the container lives
//!                  │ exec      shim ended NAME ID STATUS: writes exit.json, or takes all away
//! ```
//!
//! The container writes its log itself, so a monitor that is killed takes nothing with
//! it but the exit status: the container then belongs to the host's init, which reaps it.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use podkeel_netsetup::error::{Context, Error, Kind, Result};
use podkeel_netsetup::roots::Roots;

use crate::enter::Refused;
use crate::process::{self, Child};
use crate::record::{self, Container, Held};
use crate::{Shim, log, member};

/// The word that the status is written over: ten digits.
const STATUS: &str = "##########";

/// The verb that is executed at the end.
pub const VERB: &str = "ended";

/// Starts a container that goes on without us: a process of its own runs `begin`, and
/// becomes the monitor of the child that it gets from that. Returns the name.
pub fn detached(
    shim: &Shim,
    mut held: Held,
    remove: bool,
    begin: impl FnOnce(&mut Held, File) -> Result<Child, Refused>,
) -> Result<String, Refused> {
    let own = |e: Error| Refused::own(&e);
    let name = held.container.name.clone();
    let prepared = log::open(&held.container.log_path(&shim.context.roots)).and_then(|log| {
        let pipe = nix::unistd::pipe2(OFlag::O_CLOEXEC);
        Ok((log, pipe.map_err(|e| Error::errno("make a pipe", e as i32))?))
    });
    let (log, (answer, say)) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return Err(member::take_back(shim, held, Refused::own(&error))),
    };
    let monitor = process::fork(CloneFlags::empty(), || {
        let mut say = File::from(say);
        match begin(&mut held, log) {
            Ok(child) => {
                let _ = say.write_all(&[0]);
                drop(say);
                let _ = become_it(shim, &held.container, child.pid(), remove);
                // It could not: then this process waits, as large as it is.
                return i32::from(member::attended(shim, remove, held, child).is_err());
            }
            Err(refused) => {
                let refused = member::take_back(shim, held, refused);
                let _ = say.write_all(&[&[refused.code], refused.why.as_bytes()].concat());
            }
        }
        1
    });
    let (refused, monitor) = match monitor {
        Err(errno) => (own(Error::errno("start a monitor", errno as i32)), None),
        Ok(monitor) => match hear(&name, answer) {
            Ok(()) => {
                monitor.leave();
                return Ok(name);
            }
            // It has taken back what there was.
            Err((refused, true)) => return Err(refused),
            Err((refused, false)) => (refused, Some(monitor)),
        },
    };
    // Dropped, it is killed; the record that it had is free then.
    drop(monitor);
    Err(match Held::open(&shim.context.roots, &name) {
        Ok(held) => member::take_back(shim, held, refused),
        Err(_) => refused,
    })
}

/// What a monitor says of the start. If it says that it failed, it has taken back what
/// there was (true); if it says nothing, nobody has.
fn hear(name: &str, answer: OwnedFd) -> Result<(), (Refused, bool)> {
    let mut text = Vec::new();
    let read = File::from(answer).read_to_end(&mut text);
    match (read, text.split_first()) {
        (Ok(_), Some((0, _))) => Ok(()),
        (Ok(_), Some((code, why))) => {
            let why = String::from_utf8_lossy(why).into_owned();
            Err((Refused { code: *code, why }, true))
        }
        (read, _) => {
            let why = match read {
                Ok(_) => "its monitor ended before it ran".to_owned(),
                Err(error) => format!("its monitor can't be heard: {error}"),
            };
            let error = Error::new(Kind::Failed, format!("start {name}"), why);
            Err((Refused::own(&error), false))
        }
    }
}

/// This process becomes the monitor of its child. Comes back only if it could not.
fn become_it(shim: &Shim, container: &Container, pid: i32, remove: bool) -> Error {
    let what = || format!("become the monitor of {}", container.name);
    let become_it = || -> Result<()> {
        let _ = nix::unistd::setsid();
        std::env::set_current_dir("/").ctx(what)?;
        let exe = File::open("/proc/self/exe").ctx(what)?;
        let program = process::in_memory("shim-monitor", shim.monitor).ctx(what)?;
        leave_outputs()?;
        Err(process::become_program(&program, &exe, &words(shim, container, pid, remove))).ctx(what)
    };
    match become_it() {
        Err(error) => error,
        Ok(()) => Error::new(Kind::Failed, what(), "it was not executed"),
    }
}

/// The words of the monitor, and behind its own two those of `shim ended`.
fn words(shim: &Shim, container: &Container, pid: i32, remove: bool) -> Vec<CString> {
    let pid = pid.to_string();
    let mut words: Vec<&OsStr> = vec![OsStr::new("shim-monitor"), OsStr::new(&pid)];
    words.push(OsStr::new("shim"));
    let Roots { run, netns, leases, conf } = &shim.context.roots;
    for (flag, dir) in [("--run-dir", run), ("--netns-dir", netns), ("--lease-dir", leases)] {
        words.extend([OsStr::new(flag), dir.as_os_str()]);
    }
    words.extend(conf.iter().flat_map(|dir| [OsStr::new("--conf-dir"), dir.as_os_str()]));
    words.push(OsStr::new(VERB));
    if remove {
        words.push(OsStr::new("--rm"));
    }
    words.extend([&container.name, &container.id].map(OsStr::new));
    words.push(OsStr::new(STATUS));
    // No word that a kernel handed in, or a directory that it found, has a zero byte.
    words.into_iter().filter_map(|word| CString::new(word.as_bytes()).ok()).collect()
}

/// Callers wait for the end of their pipes.
fn leave_outputs() -> Result<()> {
    let what = || "leave the caller's outputs".to_owned();
    let null = File::options().read(true).write(true).open("/dev/null").ctx(what)?;
    rustix::stdio::dup2_stdin(&null).ctx(what)?;
    rustix::stdio::dup2_stdout(&null).ctx(what)?;
    rustix::stdio::dup2_stderr(&null).ctx(what)
}

/// `shim ended`: the container has, with this status in wait(2)'s encoding.
pub fn ended(shim: &Shim, name: &str, id: &str, remove: bool, status: i32) -> Result<i32> {
    let roots = &shim.context.roots;
    // It may have been renamed meanwhile.
    let known = record::read(roots, name)?.filter(|c| c.id == id);
    let Some(container) = known.map_or_else(|| record::by_id(roots, id), |c| Ok(Some(c)))? else {
        return Ok(0);
    };
    if remove {
        member::remove(shim, &container.name, id)?;
        return Ok(0);
    }
    let status = ExitStatus::from_raw(status);
    let signal = status.signal();
    let code = status.code().or(signal.map(|s| 128 + s)).unwrap_or(1);
    let dir = member::open_dir(shim, &container)?;
    member::write_exit(&dir, id, code, signal)?;
    Ok(0)
}
