//! del: the record's plan, undone. Absent is success; errors are collected.

use std::path::PathBuf;

use podkeel_keep::{self as keep, Lock, Record, Wait};

use super::group::links_first;
use super::sweep::{self, Known};
use super::{Context, PATIENCE};
use super::{alive, chain};
use crate::error::{Error, Kind, Result};
use crate::kernel::{Netns, Rtnl};
use crate::plan::{Part, Pod, World, undo};
use crate::record::{self, Attachment, Id, Read, State, boot_id, kept};

/// What `del` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The attachment, and it is gone.
    Gone,
    /// No record, but objects that wore its mark.
    Swept,
    /// Nothing.
    Absent,
}

/// Takes an attachment away.
///
/// # Errors
/// The first thing that could not be undone; everything else was. The record
/// stays then, so that the next `del` or `gc` tries again.
pub fn del(context: &Context, id: &Id) -> Result<Deleted> {
    del_with(context, id, &[context.roots.leases.join(&id.network)])
}

/// The same, where leases may lie elsewhere: without a record they are looked for in
/// these directories.
pub fn del_with(context: &Context, id: &Id, lease_dirs: &[PathBuf]) -> Result<Deleted> {
    context.trust()?;
    let record =
        match Record::open_locked(&context.roots.net(), &id.relative(), Wait::Until(PATIENCE)) {
            Ok(record) => record,
            Err(e) if e.is_missing() => {
                let swept = sweep::owner(context, id, Known::Missing, lease_dirs)?;
                context.tidy_container(&id.container);
                return Ok(if swept { Deleted::Swept } else { Deleted::Absent });
            }
            Err(e) => return Err(kept(format!("read the record of {id}"), &e)),
        };
    match take_down(context, id, record)?.into_iter().next() {
        None => Ok(Deleted::Gone),
        Some(error) => Err(error),
    }
}

/// Takes away all that a container has, on whatever networks. With a bundle only
/// what was attached for that bundle, or by hand for a container that is gone:
/// another runtime may have a container of the same id.
pub fn del_container(context: &Context, container: &str, bundle: Option<&str>) -> Result<Vec<Id>> {
    let (ids, mut errors) = of_container(context, container, bundle)?;
    links_first(context, &ids);
    let mut gone = Vec::new();
    for id in ids {
        match del(context, &id) {
            Ok(_) => gone.push(id),
            Err(error) => errors.push(error),
        }
    }
    match errors.into_iter().next() {
        None => {
            context.tidy_container(container);
            Ok(gone)
        }
        Some(error) => Err(error),
    }
}

/// What a container has, and why that isn't all.
fn of_container(
    context: &Context,
    container: &str,
    bundle: Option<&str>,
) -> Result<(Vec<Id>, Vec<Error>)> {
    let (mut ids, mut errors) = (Vec::new(), Vec::new());
    for read in record::of_container(&context.roots, container)? {
        let attachment = match read {
            Read::Whole(attachment) if attachment.id.container == container => attachment,
            Read::Whole(_) | Read::Torn => continue, // what is torn is gc's
            Read::Unknown(_) => {
                errors.push(record::unknown(format!("detach container {container}")));
                continue;
            }
        };
        // One made by hand for a container that is gone goes with it.
        let another = match &attachment.bundle {
            Some(own) => bundle.is_some_and(|asked| asked != own),
            None => bundle.is_some() && alive::has_its_namespace(&attachment),
        };
        if !another {
            ids.push(attachment.id);
        }
    }
    Ok((ids, errors))
}

/// Undoes a record that is open and locked, and removes it. A torn one says
/// nothing but whose it was: then the marks are what is left to go by.
pub(super) fn take_down(context: &Context, id: &Id, mut record: Record) -> Result<Vec<Error>> {
    let bytes = record.read().map_err(|e| kept(format!("read the record of {id}"), &e))?;
    let mut errors = match Read::new(&bytes) {
        Read::Unknown(_) => return Err(record::unknown(format!("take away {id}"))),
        // Of an earlier boot nothing is left but files.
        Read::Whole(there) if there.mark.root() != context.root()? && there.boot == boot_id()? => {
            return Err(record::elsewhere(format!("take away {id}"), &there));
        }
        Read::Whole(mut attachment) => {
            note_deleting(&mut attachment, &mut record);
            let called = chain::undo(context, &attachment);
            if !called.is_empty() {
                return Ok(called);
            }
            let pod = reopen_pod(&attachment)?;
            let mut world = World::new(Rtnl::open()?, pod, attachment.mark.clone());
            world.accepts = attachment.accepts.clone();
            release_all(context, &mut world, &attachment, &[], None)
        }
        Read::Torn => {
            let dir = context.roots.leases.join(&id.network);
            sweep::owner(context, id, Known::Torn, &[dir]).err().into_iter().collect()
        }
    };
    if errors.is_empty() {
        errors
            .extend(record.remove().err().map(|e| kept(format!("remove the record of {id}"), &e)));
        context.tidy();
    }
    Ok(errors)
}

/// Cut off from here on, an attachment must not look complete: gc would keep it while
/// its namespace lives, and add would say that it is there. On a disk that is full the
/// note can't be made, but del must go on.
pub(super) fn note_deleting(attachment: &mut Attachment, record: &mut Record) {
    if attachment.state == State::Complete {
        attachment.state = State::Deleting;
        if let Ok(bytes) = attachment.to_bytes() {
            let _ = record.replace(&bytes);
        }
    }
}

/// The pod's namespace, if something in it is to be put back and it is still
/// the one that was recorded.
fn reopen_pod(attachment: &Attachment) -> Result<Option<Pod>> {
    if !attachment.plan.touches_pod_at_undo() || boot_id()? != attachment.boot {
        return Ok(None);
    }
    // A pin keeps it after the path has gone with its process.
    for path in std::iter::once(attachment.netns.path.clone()).chain(attachment.pins()) {
        let netns = match Netns::open(&path) {
            Ok(netns) => netns,
            Err(e) if matches!(e.kind, Kind::Missing | Kind::Input) => continue,
            Err(e) => return Err(e),
        };
        let mut pod = Pod::open(netns)?;
        if attachment.is_in(&mut pod)? {
            return Ok(Some(pod));
        }
    }
    Ok(None)
}

/// Undoes what is the attachment's own, then, under the lock, what it shared.
/// Where something of the first stays, the second stays too: it may be in use.
pub(super) fn release_all(
    context: &Context,
    world: &mut World,
    attachment: &Attachment,
    foreign: &[usize],
    lock: Option<Lock>,
) -> Vec<Error> {
    let errors = release(context, world, attachment, foreign, lock);
    if world.has_removed() {
        context.note_removal();
    }
    errors
}

fn release(
    context: &Context,
    world: &mut World,
    attachment: &Attachment,
    foreign: &[usize],
    lock: Option<Lock>,
) -> Vec<Error> {
    let mut errors = undo(world, &attachment.plan, Part::Free, foreign, &mut |_| Ok(false));
    if !errors.is_empty() {
        return errors;
    }
    let lock = lock.map_or_else(|| context.lock(), Ok);
    let (lock, held) = match lock.and_then(|lock| Ok((lock, context.held()?))) {
        Ok(both) => both,
        Err(error) => return vec![error],
    };
    let mut last = |object: &crate::plan::Object| {
        keep::release(&held, &object.key(), &attachment.holder())
            .map_err(|e| kept(format!("release {object}"), &e))
    };
    errors.extend(undo(world, &attachment.plan, Part::Locked, foreign, &mut last));
    drop(lock);
    errors
}
