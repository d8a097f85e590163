//! Which namespaces a new container gets: those of others, the caller's, or its own.

use std::collections::BTreeMap;
use std::path::Path;

use nix::sched::CloneFlags;
use podkeel_netsetup::error::{Error, Kind, Result};
use podkeel_netsetup::kernel::{Ns, NsKind};
use podkeel_netsetup::record::Process;

use crate::Shim;
use crate::alive::Living;
use crate::base;
use crate::enter::Entry;
use crate::ns::{self, Mode};
use crate::record::{self, Container, Space};
use crate::shm::{self, Shm};

/// The namespaces, found and opened.
#[derive(Debug)]
pub struct Chosen {
    /// For the start of the process.
    pub entry: Entry,
    /// For the record.
    pub spaces: BTreeMap<NsKind, Space>,
    /// The pod that it becomes a member of, by id.
    pub pod: Option<String>,
    /// Its /dev/shm.
    pub shm: Shm,
}

/// Another container, found by name.
struct Other {
    /// Its record; none for `pid:N`.
    container: Option<Container>,
    /// Its process, if it lives.
    living: Option<Living>,
    kinds: CloneFlags,
}

/// Finds and opens what was chosen; kinds that aren't named stay the caller's.
///
/// # Errors
/// A container that isn't there ([`Kind::Missing`]), or whose namespace is gone.
pub fn choose(shim: &Shim, modes: &BTreeMap<NsKind, Mode>) -> Result<Chosen> {
    let mut chosen = Chosen {
        entry: Entry { joined: Vec::new(), new: CloneFlags::empty() },
        spaces: BTreeMap::new(),
        pod: None,
        shm: Shm::Callers,
    };
    let mut others: BTreeMap<&str, Other> = BTreeMap::new();
    for kind in ns::SHARED {
        let mode = modes.get(&kind).unwrap_or(&Mode::Host);
        let mut space =
            Space { how: mode.to_string(), of: None, identity: None, pin: None, also: None };
        match mode {
            Mode::Host => {}
            Mode::Private => chosen.own(kind),
            Mode::None if kind == NsKind::Net => chosen.own(kind),
            Mode::Container(name) => {
                if !others.contains_key(name.as_str()) {
                    others.insert(name, Other::find(shim, name)?);
                }
                if let Some(other) = others.get_mut(name.as_str()) {
                    chosen.join(shim, kind, name, other, &mut space)?;
                }
            }
            Mode::Path(path) => {
                let ns = open_kind(path, kind)?;
                space.identity = Some(ns.id());
                chosen.entry.joined.push((ns.into(), ns::flag(kind)));
            }
            Mode::None | Mode::Network(_) => {
                let why = "it is private, host, container:NAME or ns:PATH";
                return Err(Error::input(format!("use --{kind} {mode}"), why));
            }
        }
        chosen.spaces.insert(kind, space);
    }
    for (_, other) in others {
        if let Some(living) = other.living.filter(|_| !other.kinds.is_empty()) {
            chosen.entry.joined.push((living.into_fd(), other.kinds));
        }
    }
    Ok(chosen)
}

impl Chosen {
    fn own(&mut self, kind: NsKind) {
        self.entry.new |= ns::flag(kind);
        if kind == NsKind::Ipc {
            self.shm = Shm::Own;
        }
    }

    fn join(
        &mut self,
        shim: &Shim,
        kind: NsKind,
        name: &str,
        other: &mut Other,
        space: &mut Space,
    ) -> Result<()> {
        let theirs = other.container.as_ref().map(|c| (c, c.namespaces.get(&kind)));
        if let Some((container, Some(their))) = theirs {
            space.of = Some(their.of.clone().unwrap_or_else(|| container.id.clone()));
            space.identity = their.identity;
            if their.how == "host" {
                return Ok(());
            }
        }
        if let Some((container, _)) = theirs {
            let pod = container.pod.clone().unwrap_or_else(|| container.id.clone());
            self.pod.get_or_insert(pod);
        }
        if kind == NsKind::Ipc {
            self.shm = other.shm(shim)?;
        }
        if other.living.is_some() {
            other.kinds |= ns::flag(kind);
            return Ok(());
        }
        match theirs {
            Some((_, Some(their))) if their.pin.is_some() => {
                let path = their.pin.as_deref().unwrap_or(Path::new(""));
                self.entry.joined.push((base::pinned(their, path)?.into(), ns::flag(kind)));
                Ok(())
            }
            _ => Err(other.gone(kind, name)),
        }
    }
}

impl Other {
    fn find(shim: &Shim, name: &str) -> Result<Other> {
        if let Some(pid) = name.strip_prefix("pid:") {
            let what = || format!("find process {pid}");
            let number = pid.parse().map_err(|_| Error::input(what(), "that is no number"))?;
            let process = Process::read(number);
            let living = process.map(Living::find).transpose()?.flatten();
            let gone = || Error::new(Kind::Missing, what(), "no such process, or it has ended");
            let living = Some(living.ok_or_else(gone)?);
            return Ok(Other { container: None, living, kinds: CloneFlags::empty() });
        }
        let container = record::find(&shim.context.roots, name)?;
        if container.phase != record::Phase::Ready {
            let state = container.state(&shim.context.roots, &shim.boot);
            let why = format!("its state is {}", state.word());
            return Err(Error::new(Kind::Missing, format!("join container {name}"), why));
        }
        let process = container.process.filter(|_| container.boot == shim.boot);
        let living = process.map(Living::find).transpose()?.flatten();
        Ok(Other { container: Some(container), living, kinds: CloneFlags::empty() })
    }

    /// The /dev/shm that goes with its ipc namespace.
    fn shm(&self, shim: &Shim) -> Result<Shm> {
        match (&self.container, &self.living) {
            (Some(base), _) if base.is_base() => shm::of_path(&base::shm_path(shim, base)),
            (_, Some(living)) => shm::of_process(living),
            _ => Ok(Shm::Callers),
        }
    }

    fn gone(&self, kind: NsKind, name: &str) -> Error {
        let what = format!("join the {kind} namespace of {name}");
        match &self.container {
            Some(base) if base.is_base() && !base.pause && kind == NsKind::Pid => {
                Error::input(what, "a pod without a pause has none of its own")
                    .hint("leave --pid away")
            }
            Some(base) if base.is_base() => {
                let why = "its pause has ended, and the namespace with it";
                Error::new(Kind::Missing, what, why).hint(format!("shim start {name}"))
            }
            _ => Error::new(Kind::Missing, what, "its process has ended"),
        }
    }
}

fn open_kind(path: &Path, kind: NsKind) -> Result<Ns> {
    let ns = Ns::open(path)?;
    if ns.kind != kind {
        let why = format!("it is a namespace of kind {}", ns.kind);
        return Err(Error::input(format!("use {} as --{kind}", path.display()), why));
    }
    Ok(ns)
}
