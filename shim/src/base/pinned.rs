//! What outlives a base's processes: its namespaces, pinned, and its /dev/shm.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use podkeel_keep as keep;
use podkeel_netsetup::error::{Context as _, Error, Kind, Result};
use podkeel_netsetup::kernel::{Ns, NsId, NsKind};
use podkeel_netsetup::pins::{self, Pin};

use crate::Shim;
use crate::record::{self, Container, Held, Space};

fn owner(container: &Container) -> String {
    format!("shim {}", container.id)
}

pub(super) fn pin_path(shim: &Shim, container: &Container, kind: NsKind) -> PathBuf {
    match kind {
        NsKind::Net => shim.context.roots.netns.join(&container.name),
        kind => container.ns_dir(&shim.context.roots).join(kind.name()),
    }
}

/// The pod's /dev/shm.
pub fn shm_path(shim: &Shim, container: &Container) -> PathBuf {
    container.ns_dir(&shim.context.roots).join("shm")
}

/// The pin of a path that is on record.
fn pin_at(container: &Container, path: &Path) -> Result<Pin> {
    let (dir, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
    Pin::new(dir, &name.to_string_lossy(), &owner(container))
}

/// Takes a pin away. Where somebody else has the name there is none of ours.
pub(super) fn unpin(container: &Container, path: &Path, identity: Option<&NsId>) -> Result<()> {
    match pin_at(container, path)?.remove(identity) {
        Err(error) if error.kind != Kind::Taken => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn pin_all(shim: &Shim, held: &Held, pid: i32) -> Result<()> {
    for (kind, space) in &held.container.namespaces {
        let Some(path) = &space.pin else { continue };
        pin(shim, &held.container, *kind, path, pid)?;
    }
    Ok(())
}

/// Pins a namespace of a process that can't end meanwhile.
fn pin(shim: &Shim, container: &Container, kind: NsKind, path: &Path, pid: i32) -> Result<()> {
    if kind == NsKind::Net {
        pins::share(&shim.context.roots.netns)?;
    }
    let claim = pin_at(container, path)?.claim()?;
    claim.mount(Ns::of_process(pid, kind)?)
}

/// Opens a pinned namespace; it must be the one that is on record.
pub fn pinned(space: &Space, path: &Path) -> Result<Ns> {
    let ns = Ns::open(path)?;
    match space.identity {
        Some(id) if !ns.id().is(&id) => {
            let what = format!("enter {}", path.display());
            Err(Error::new(Kind::Missing, what, format!("it was {id} and is {ns} by now")))
        }
        _ => Ok(ns),
    }
}

/// Pins the network namespace under another name, too: it is about to be the container's.
pub fn pin_also(shim: &Shim, held: &mut Held, name: &str) -> Result<()> {
    let path = shim.context.roots.netns.join(name);
    let Some(space) = held.container.namespaces.get_mut(&NsKind::Net) else { return Ok(()) };
    let Some(pin) = space.pin.clone() else { return Ok(()) };
    let ns = pinned(space, &pin)?;
    space.also = Some(path.clone());
    held.write()?;
    let done = pin_at(&held.container, &path)?.claim().and_then(|claim| claim.mount(ns));
    if done.is_err() {
        // Nothing of ours is there. What is somebody else's stays.
        if let Some(space) = held.container.namespaces.get_mut(&NsKind::Net) {
            space.also = None;
        }
        held.write()?;
    }
    done
}

/// After a rename, also one that failed or was cut off: of two pins the one that is called
/// as the container is now stays.
pub fn settle_pins(shim: &Shim, held: &mut Held) -> Result<()> {
    let stays = shim.context.roots.netns.join(&held.container.name);
    let Some(space) = held.container.namespaces.get_mut(&NsKind::Net) else { return Ok(()) };
    let Some(also) = space.also.clone() else { return Ok(()) };
    let identity = space.identity;
    let goes = if also == stays { space.pin.replace(also) } else { Some(also) };
    space.also.clone_from(&goes);
    held.write()?;
    if let Some(path) = goes {
        unpin(&held.container, &path, identity.as_ref())?;
    }
    if let Some(space) = held.container.namespaces.get_mut(&NsKind::Net) {
        space.also = None;
    }
    held.write()
}

/// The directory of its pins, with /dev/shm in it.
pub(super) fn prepare_dir(
    shim: &Shim,
    container: &Container,
    shm_size: Option<&str>,
) -> Result<()> {
    let shm = shm_path(shim, container);
    let what = || format!("make {}", shm.display());
    make_dir(&container.ns_dir(&shim.context.roots)).ctx(what)?;
    let Some(size) = shm_size else { return Ok(()) };
    std::fs::create_dir(&shm).ctx(what)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let data = format!("mode=1777,size={size}");
    mount(Some("shm"), &shm, Some("tmpfs"), flags, Some(data.as_str())).map_err(|errno| {
        Error::errno(format!("mount {} with size={size}", shm.display()), errno as i32)
    })
}

/// Others remove what they find empty, between two of its parts.
fn make_dir(dir: &Path) -> std::io::Result<()> {
    let mut made = std::fs::create_dir_all(dir);
    for _ in 0..100 {
        match made {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                made = std::fs::create_dir_all(dir)
            }
            other => return other,
        }
    }
    made
}

pub(super) fn remove_dir(shim: &Shim, container: &Container) -> Result<()> {
    let (dir, shm) = (container.ns_dir(&shim.context.roots), shm_path(shim, container));
    // EINVAL: nothing is mounted there.
    if let Err(errno) = umount2(&shm, MntFlags::MNT_DETACH)
        && !matches!(errno, nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT)
    {
        return Err(Error::errno(format!("unmount {}", shm.display()), errno as i32));
    }
    for path in [shm.as_path(), dir.as_path()] {
        match std::fs::remove_dir(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(format!("remove {}", path.display()), &e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes the directory of a container that has no record, which one who was killed may
/// have left, and those that all containers share; each if nothing is in it.
pub fn tidy(shim: &Shim, name: &str) {
    let roots = &shim.context.roots;
    let pods = record::pods(roots);
    for dir in [pods.join(name), roots.run.join("ns"), pods, roots.run.clone()] {
        // Locking one that is missing would make it; one that is locked is in use.
        if dir.exists()
            && let Ok(lock) = keep::Lock::exclusive(&dir, keep::Wait::No)
        {
            lock.tidy();
        }
    }
}
