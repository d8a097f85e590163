//! The OCI runtime: found, started, told to forget a container.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sched::CloneFlags;
use nix::sys::signal::SigSet;
use nix::sys::wait::WaitStatus;
use podkeel_netsetup::error::{Context as _, Error, Kind, Result};
use podkeel_netsetup::record::Process;
use podkeel_netsetup::roots::Roots;
use rustix::fs::{Access, MemfdFlags, access, memfd_create};

use crate::alive::Living;
use crate::enter::{self, Entry, Refused, Waiting};
use crate::inside::Program;
use crate::process::Child;
use crate::shm::Shm;
use crate::{Shim, member};

/// Those that are looked for where none is named.
const KNOWN: [&str; 2] = ["runc", "crun"];

/// Finds the runtime: by its path, or along PATH.
///
/// # Errors
/// Code 127 where there is none, 126 where it can't be executed.
pub(super) fn find(named: Option<&str>) -> std::result::Result<PathBuf, Refused> {
    let words = named.map_or(KNOWN.to_vec(), |name| vec![name]);
    let mut closed = None;
    for word in &words {
        for file in candidates(word) {
            match access(&file, Access::EXEC_OK) {
                Ok(()) if file.is_file() => return Ok(file),
                Err(rustix::io::Errno::ACCESS) => closed = Some(file),
                _ => {}
            }
        }
    }
    let what = format!("find runtime {}", words.join(" or "));
    let (code, error) = match closed {
        Some(file) => {
            let why = format!("{} may not be executed", file.display());
            (126, Error::new(Kind::Denied, what, why))
        }
        None => (127, Error::new(Kind::Missing, what, "there is none").hint("--runtime PATH")),
    };
    Err(Refused { code, why: error.to_string() })
}

fn candidates(word: &str) -> Vec<PathBuf> {
    if word.contains('/') {
        return std::path::absolute(word).into_iter().collect();
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| member::DEFAULT_PATH.into());
    let dirs = std::env::split_paths(&path).filter(|dir| dir.is_absolute());
    dirs.map(|dir| dir.join(word)).collect()
}

/// The variable that a runtime has, and all that it forks, while it makes a container.
pub(super) fn mark(id: &str) -> String {
    format!("PODKEEL_CONTAINER={id}")
}

/// Starts it, up to its gate. Its output goes to `log`, or where ours goes. One that makes
/// a container is marked as the maker of that.
pub(super) fn start(
    shim: &Shim,
    runtime: &Path,
    words: &[&OsStr],
    log: Option<File>,
    makes: Option<&str>,
) -> Result<Waiting> {
    let all = [runtime.as_os_str()].into_iter().chain(words.iter().copied());
    let program = Program {
        words: all.map(c_string).collect::<Result<_>>()?,
        env: environment(shim, makes)?,
        path: OsString::new(),
        workdir: None,
        user: None,
        proc: false,
        shm: Shm::Callers,
        log,
        // Not the caller's: a monitor, and what it becomes, has every signal blocked.
        mask: SigSet::empty(),
    };
    let entry = Entry { joined: Vec::new(), new: CloneFlags::empty() };
    enter::start(entry, |gate| program.run(gate))
}

/// The caller's environment, and the roots of state as we have them: netsetup as a hook of
/// the bundle is to find the same. A monitor has none of it; runtimes look for programs.
fn environment(shim: &Shim, makes: Option<&str>) -> Result<Vec<CString>> {
    let Roots { run, netns, leases, conf } = &shim.context.roots;
    let conf = std::env::join_paths(conf).unwrap_or_default();
    let mut env: BTreeMap<OsString, OsString> =
        [(OsString::from("PATH"), OsString::from(member::DEFAULT_PATH))].into();
    env.extend(std::env::vars_os());
    env.extend([("PODKEEL_CONF_DIR".into(), conf)]);
    let dirs =
        [("PODKEEL_RUN_DIR", run), ("PODKEEL_NETNS_DIR", netns), ("PODKEEL_LEASE_DIR", leases)];
    env.extend(dirs.map(|(name, dir)| (name.into(), dir.clone().into_os_string())));
    let words = env.into_iter().map(|(mut word, value)| {
        word.push("=");
        word.push(value);
        word
    });
    words.chain(makes.map(|id| mark(id).into())).map(|word| c_string(&word)).collect()
}

fn c_string(word: &OsStr) -> Result<CString> {
    let zero = || Error::input(format!("use {word:?}"), "a zero byte is in it");
    CString::new(word.as_bytes()).map_err(|_| zero())
}

/// How long a runtime may take to forget a container: its hooks may have a minute.
const PATIENCE: Duration = Duration::from_secs(90);

/// How often it is told. One that is forgetting it by itself, in the foreground, gets in
/// the way of the one that we start.
const ROUNDS: u32 = 5;

/// Has the runtime kill and forget a container; one that it doesn't know is no error.
pub(super) fn delete(shim: &Shim, runtime: &str, id: &str) -> Result<()> {
    let words = ["delete", "--force", id].map(OsStr::new);
    let mut round = 0;
    loop {
        let (ended, said) = run(shim, Path::new(runtime), &words)?;
        round += 1;
        match ended {
            WaitStatus::Exited(_, 0) => return Ok(()),
            _ if round < ROUNDS => std::thread::sleep(Duration::from_millis(50)),
            _ if !knows(shim, runtime, id)? => return Ok(()),
            other => {
                let what = format!("have {runtime} delete {id}");
                return Err(Error::new(Kind::Failed, what, told(other, &said)));
            }
        }
    }
}

/// Takes away the folder of a container that the runtime was killed in before it had written
/// into it what it is for: its own `delete` finds nothing there. runc(8) and crun(1) keep
/// them below /run by default, and below XDG_RUNTIME_DIR without root.
pub(super) fn forget(runtime: &str, id: &str) -> Result<()> {
    let own = || std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let base = if nix::unistd::geteuid().is_root() { Some("/run".into()) } else { own() };
    let Some((base, name)) = base.zip(Path::new(runtime).file_name()) else { return Ok(()) };
    let dir = base.join(name).join(id);
    match std::fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", dir.display()), &e))
        }
        _ => Ok(()),
    }
}

fn knows(shim: &Shim, runtime: &str, id: &str) -> Result<bool> {
    let (ended, _) = run(shim, Path::new(runtime), &["state", id].map(OsStr::new))?;
    Ok(matches!(ended, WaitStatus::Exited(_, 0)))
}

/// How a runtime ended, and what it said.
pub(super) fn told(ended: WaitStatus, said: &str) -> String {
    let how = match ended {
        WaitStatus::Exited(_, code) => format!("exit code {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("ended by {signal}"),
        other => format!("{other:?}"),
    };
    match said.trim() {
        "" => how,
        said => format!("{how}: {said}"),
    }
}

/// Runs it to its end; what it says is kept in memory, for a pipe could be held open by
/// what it leaves behind.
fn run(shim: &Shim, runtime: &Path, words: &[&OsStr]) -> Result<(WaitStatus, String)> {
    let what = || format!("run {}", runtime.display());
    let mut said = File::from(memfd_create("said", MemfdFlags::CLOEXEC).ctx(what)?);
    let log = said.try_clone().ctx(what)?;
    let child = start(shim, runtime, words, Some(log), None)?.go().map_err(Refused::into_error)?;
    let ended = wait_for(child)?;
    let mut text = Vec::new();
    said.rewind().and_then(|()| said.read_to_end(&mut text)).ctx(what)?;
    Ok((ended, String::from_utf8_lossy(&text).into_owned()))
}

fn wait_for(child: Child) -> Result<WaitStatus> {
    let process = Process::read(child.pid());
    if let Some(living) = process.map(Living::find).transpose()?.flatten()
        && !living.wait(Some(Instant::now() + PATIENCE))?
    {
        living.signal(libc::SIGKILL)?;
    }
    child.wait().map_err(|e| Error::errno("wait for the runtime", e as i32))
}
