//! Named network namespaces, as `ip netns` keeps them: it sees ours, and we see its.

use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Kind, Result};
use crate::kernel::ns::{self, Census};
use crate::kernel::{Netns, Ns, NsId, NsKind};
use crate::pins::{self, Entry, Pin, Removed, State};

/// Who the files say has claimed them.
const OWNER: &str = "ns";

/// Makes a network namespace with a name. Its loopback is down, as after `ip netns add`.
///
/// # Errors
/// [`Kind::Taken`] if the name is.
pub fn add(dir: &Path, name: &str) -> Result<()> {
    let pin = Pin::new(dir, name, OWNER)?;
    pins::share(dir)?;
    // The name first: who doesn't get it must not make a namespace.
    let claim = pin.claim()?;
    claim.mount(Netns::make()?)
}

/// Gives a name to a network namespace that is there: a process's, or one behind a path.
///
/// # Errors
/// [`Kind::Taken`] if the name is; [`Kind::Input`] for the namespace that netsetup itself is
/// in, which others would then take for a pod's.
pub fn attach(dir: &Path, name: &str, netns: &Netns) -> Result<()> {
    let pin = Pin::new(dir, name, OWNER)?;
    if Netns::own()?.same(netns) {
        let what = format!("attach {} as {name}", netns.path.display());
        return Err(Error::input(what, "it is the host's own network namespace"));
    }
    pins::share(dir)?;
    pin.claim()?.mount(netns)
}

/// Takes a name away by whomever it was given. The namespace goes with its last name,
/// process or file descriptor.
///
/// # Errors
/// [`Kind::Missing`] if there is no such name; [`Kind::Taken`] for what is no namespace and
/// was left by none.
pub fn delete(dir: &Path, name: &str) -> Result<()> {
    match pins::delete(dir, name, NsKind::Net)? {
        Removed::Gone => Ok(()),
        Removed::Absent => Err(no_such(dir, name)),
    }
}

/// The network namespace of this name.
///
/// # Errors
/// [`Kind::Missing`]: there is no such name, or nothing is mounted on its file.
pub fn open(dir: &Path, name: &str) -> Result<Ns> {
    pins::check(name)?;
    let path = dir.join(name);
    let what = || format!("find network namespace {name} in {}", dir.display());
    match Ns::open(&path) {
        Ok(ns) if ns.kind == NsKind::Net => Ok(ns),
        Ok(ns) => Err(Error::input(what(), format!("it is {ns}"))),
        Err(e) if e.is(libc::ENOENT) => Err(no_such(dir, name)),
        Err(e) if e.errno.is_none() => Err(Error::new(Kind::Missing, what(), e.why)
            .hint(format!("netsetup ns delete {name} takes the name away"))),
        Err(e) => Err(e),
    }
}

fn no_such(dir: &Path, name: &str) -> Error {
    let what = format!("find network namespace {name} in {}", dir.display());
    Error::new(Kind::Missing, what, "no such name").hint("netsetup ns list shows what is there")
}

/// A name, what it leads to, and how many processes are in there.
#[derive(Clone, Debug, Serialize)]
pub struct Named {
    /// The name and what it leads to.
    #[serde(flatten)]
    pub entry: Entry,
    /// Processes in it; `None` where it is no namespace.
    pub processes: Option<usize>,
}

/// All names, sorted, and how many processes may not be looked at.
///
/// # Errors
/// The directory or /proc can't be read. A directory that isn't there has no names.
pub fn list(dir: &Path) -> Result<(Vec<Named>, usize)> {
    let entries = pins::list(dir)?;
    let census = if entries.is_empty() { Census::default() } else { Census::take(NsKind::Net)? };
    let count = |entry: Entry| {
        let processes = match &entry.state {
            State::Namespace(id) => Some(census.inside(id.dev, id.inode).len()),
            State::Nothing(_) => None,
        };
        Named { entry, processes }
    };
    Ok((entries.into_iter().map(count).collect(), census.hidden))
}

/// A process in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its process id.
    pub pid: i32,
    /// Its name, as in /proc/PID/comm; empty if it has ended since.
    pub command: String,
}

/// The processes in a namespace, and how many may not be looked at.
///
/// # Errors
/// /proc can't be read.
pub fn pids(ns: &Ns) -> Result<(Vec<Member>, usize)> {
    let (pids, hidden) = ns::pids(ns)?;
    let member = |pid: &i32| {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Member { pid: *pid, command: comm.trim_end_matches('\n').to_owned() }
    };
    Ok((pids.iter().map(member).collect(), hidden))
}

/// A process's network namespace, and the names that it has.
#[derive(Clone, Debug, Serialize)]
pub struct Identity {
    /// The namespace.
    pub namespace: NsId,
    /// Its names, sorted; often none.
    pub names: Vec<String>,
}

/// Names the network namespace of a process; without one, that of the caller.
///
/// # Errors
/// [`Kind::Missing`] if there is no such process.
pub fn identify(dir: &Path, pid: Option<i32>) -> Result<Identity> {
    let ns = match pid {
        Some(pid) => Ns::of_process(pid, NsKind::Net)?,
        None => Ns::own(NsKind::Net)?,
    };
    let id = ns.id();
    // All are open or mounted, so device and inode number are evidence.
    let is = |entry: &Entry| match &entry.state {
        State::Namespace(other) => (other.dev, other.inode) == (id.dev, id.inode),
        State::Nothing(_) => false,
    };
    let names = pins::list(dir)?.into_iter().filter(is).map(|entry| entry.name).collect();
    Ok(Identity { namespace: id, names })
}
