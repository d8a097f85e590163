//! Where the namespaces of others are for a runtime, and the /dev/shm that goes with them.

use std::path::PathBuf;

use podkeel_netsetup::error::{Context as _, Error, Kind, Result};
use podkeel_netsetup::kernel::{Ns, NsKind};
use podkeel_netsetup::record::Process;

use crate::alive::Living;
use crate::ns::Mode;
use crate::record::{self, Container};
use crate::{Shim, base};

/// Where a chosen namespace is for the runtime.
#[derive(Debug)]
pub(super) enum Place {
    /// The host's: no entry.
    Hosts,
    /// A new one.
    Own,
    /// A pin, or a path of the user's.
    At(PathBuf),
    /// One that is held open, and has no path of its own.
    Open(Ns),
}

/// Finds a chosen namespace for the runtime.
pub(super) fn place(shim: &Shim, kind: NsKind, mode: &Mode) -> Result<Place> {
    match mode {
        Mode::Host => Ok(Place::Hosts),
        Mode::Private | Mode::None | Mode::Network(_) => Ok(Place::Own),
        Mode::Path(path) => {
            let path = std::path::absolute(path);
            path.map(Place::At).ctx(|| "find the working directory".into())
        }
        Mode::Container(name) => match name.strip_prefix("pid:").map(str::parse) {
            Some(Ok(pid)) => of_process(kind, name, Process::read(pid)),
            _ => of_container(shim, kind, name),
        },
    }
}

fn of_container(shim: &Shim, kind: NsKind, name: &str) -> Result<Place> {
    let container = record::find(&shim.context.roots, name)?;
    let what = || format!("join the {kind} namespace of {name}");
    let space = container.namespaces.get(&kind);
    let Some(space) = space.filter(|space| space.how != "host") else {
        return Err(Error::input(what(), "it has none of its own, but the host's")
            .hint(format!("--{kind} host, if that is meant")));
    };
    // A pin stays where it is when pause ends; a member's is that of its base.
    let base = match &space.of {
        Some(id) => record::by_id(&shim.context.roots, id)?,
        None => None,
    };
    let of_base = base.as_ref().and_then(|base| base.namespaces.get(&kind));
    if let Some((space, pin)) =
        [Some(space), of_base].into_iter().flatten().find_map(|s| Some((s, s.pin.as_ref()?)))
    {
        base::pinned(space, pin)?;
        return Ok(Place::At(pin.clone()));
    }
    of_process(kind, name, container.process.filter(|_| container.boot == shim.boot))
}

/// The namespace of a process. It is opened while the process is known to be the one that
/// is meant, and is given to the runtime open: its pid may be another's by then.
fn of_process(kind: NsKind, name: &str, process: Option<Process>) -> Result<Place> {
    let what = || format!("join the {kind} namespace of {name}");
    let gone = || Error::new(Kind::Missing, what(), "its process has ended");
    let living = process.map(Living::find).transpose()?.flatten().ok_or_else(gone)?;
    let ns = Ns::of_process(living.process.pid, kind)?;
    match living.process.lives() {
        true => Ok(Place::Open(ns)),
        false => Err(gone()),
    }
}

/// What becomes of a container's /dev/shm.
pub(super) enum Shared {
    /// It stays: so does its ipc namespace.
    Own,
    /// It is the one at a path of the host.
    At(PathBuf),
    /// Whose it would be is known, but not where it is.
    Unknown,
}

pub(super) fn shared_shm(shim: &Shim, mode: &Mode) -> Result<Shared> {
    let roots = &shim.context.roots;
    let name = match mode {
        Mode::Host => return Ok(Shared::At("/dev/shm".into())),
        Mode::Container(name) if !name.starts_with("pid:") => name,
        Mode::Container(_) | Mode::Path(_) => return Ok(Shared::Unknown),
        Mode::Private | Mode::None | Mode::Network(_) => return Ok(Shared::Own),
    };
    let container = record::find(roots, name)?;
    let of = container.namespaces.get(&NsKind::Ipc).and_then(|space| space.of.clone());
    let base = match of {
        Some(id) => record::by_id(roots, &id)?,
        None => Some(container),
    };
    let path = base.filter(Container::is_base).map(|base| base::shm_path(shim, &base));
    Ok(path.filter(|path| path.is_dir()).map_or(Shared::Unknown, Shared::At))
}
