//! Whether an attachment is still in use, and how that is known.
//!
//! It is not when its add or del was cut off (its record says so, and nobody has it
//! locked), when it is from an earlier boot, or when its network namespace is
//! gone. That a namespace is gone is the kernel's word before anybody else's:
//!
//! 1. its veth is there, or another's of the same namespace: it lives, for the kernel
//!    removes a veth with either namespace;
//! 2. the host's namespace has no id for it any more (RTM_GETNSID): it is gone;
//! 3. that id belongs to another attachment by now, one whose veth is there: it is gone;
//! 4. else processes and mounts are searched, and what can't be seen is unknown, never gone.

use std::path::Path;

use crate::error::Result;
use crate::kernel::{Netns, Rtnl};
use crate::plan::{Object, Pod};
use crate::record::Attachment;

/// Whether an attachment is in use, and the evidence.
pub(super) enum Use {
    /// It is.
    Alive(String),
    /// It may be.
    Unknown(String),
    /// It isn't.
    Orphan(String),
}

/// Judges a record that nobody else is at work on.
pub(super) fn in_use(attachment: &Attachment, boot: &str, others: &[Attachment]) -> Result<Use> {
    if attachment.boot != boot {
        return Ok(Use::Orphan(
            "it is from an earlier boot, which no network namespace survives".into(),
        ));
    }
    if let Some(how) = attachment.state.cut_off() {
        return Ok(Use::Orphan(format!("{how}: so says its record, and nobody is at work on it")));
    }
    let path = attachment.netns.path.display();
    if is_at(&attachment.netns.path, attachment) {
        return Ok(Use::Alive(format!("its network namespace is at {path}")));
    }
    let mut host = Rtnl::open()?;
    if let Some((veth, peer)) = veth_of(&mut host, attachment)? {
        return Ok(Use::Alive(format!("{veth} still has its peer {peer}, so its namespace lives")));
    }
    // A part of a chain has no veth; that of another part in the same namespace counts.
    for other in others.iter().filter(|o| o.netns.is(&attachment.netns)) {
        if let Some((veth, _)) = veth_of(&mut host, other)? {
            let who = &other.id;
            return Ok(Use::Alive(format!("{veth} of {who} is there, so its namespace lives")));
        }
    }
    if let Some(evidence) = kernel_says_gone(&mut host, attachment, others)? {
        return Ok(Use::Orphan(evidence));
    }
    let veth = attachment.plan.steps.iter().any(|step| matches!(step.what, Object::Veth(_)));
    let gone = if veth { "its veth is gone" } else { "the host has no link of it" };
    let vanished = if veth { "its veth vanished, and " } else { "and " };
    Ok(match search(attachment) {
        Search::At(place) => Use::Alive(format!("its network namespace is held by {place}")),
        Search::Blind(why) => {
            Use::Unknown(format!("{gone}, but who holds its namespace can't be seen: {why}"))
        }
        Search::Nowhere(looked) => Use::Orphan(format!(
            "its network namespace is gone: {path} isn't net:[{}], {vanished}none of {looked} holds it",
            attachment.netns.inode
        )),
    })
}

/// Its veth and the peer's name, if the veth is there and wears its mark.
fn veth_of(host: &mut Rtnl, attachment: &Attachment) -> Result<Option<(String, String)>> {
    for step in &attachment.plan.steps {
        let Object::Veth(veth) = &step.what else { continue };
        if host.link(&veth.name)?.is_some_and(|link| attachment.mark.is(link.alias.as_deref())) {
            return Ok(Some((veth.name.clone(), veth.peer.clone())));
        }
    }
    Ok(None)
}

fn kernel_says_gone(
    host: &mut Rtnl,
    attachment: &Attachment,
    others: &[Attachment],
) -> Result<Option<String>> {
    let Some(nsid) = attachment.nsid else { return Ok(None) };
    if !host.nsids()?.contains(&nsid) {
        return Ok(Some(format!(
            "its network namespace is gone: its veth vanished, and the kernel has no namespace with id {nsid} any more"
        )));
    }
    for other in others.iter().filter(|o| o.nsid == Some(nsid) && !o.netns.is(&attachment.netns)) {
        if veth_of(host, other)?.is_some() {
            let who = &other.id;
            return Ok(Some(format!(
                "its network namespace is gone: its veth vanished, and id {nsid} is that of {who}'s namespace by now"
            )));
        }
    }
    Ok(None)
}

/// Whether the container of an attachment still has its namespace: its path
/// leads there, or its first process lives. The veth is no evidence: a namespace
/// that nobody holds any more is taken apart a little later.
pub(super) fn has_its_namespace(attachment: &Attachment) -> bool {
    is_at(&attachment.netns.path, attachment) || attachment.process.is_some_and(|p| p.lives())
}

/// Whether the attachment's namespace is at this path.
pub(super) fn is_at(path: &Path, attachment: &Attachment) -> bool {
    let Ok(netns) = Netns::open(path) else { return false };
    if netns.inode != attachment.netns.inode {
        return false;
    }
    // What was written down without a cookie may be this one.
    let id = || Pod::open(netns)?.id();
    attachment.netns.cookie.is_none() || id().is_ok_and(|id| attachment.netns.is(&id))
}

enum Search {
    At(String),
    Blind(String),
    Nowhere(String),
}

/// Looks for a namespace in every process and every mount that can be seen.
fn search(attachment: &Attachment) -> Search {
    let wanted = format!("net:[{}]", attachment.netns.inode);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for line in mounts.lines().filter(|line| line.contains(&wanted)) {
        let at = line.split(' ').nth(4).unwrap_or_default();
        // Our own pin keeps it for us alone.
        if !attachment.pins().any(|pin| pin == Path::new(at)) && is_at(Path::new(at), attachment) {
            return Search::At(format!("the mount {at}"));
        }
    }
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Search::Blind("/proc can't be read".into());
    };
    let (mut processes, mut hidden) = (0, None);
    for entry in entries.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let path = entry.path().join("ns/net");
        match std::fs::read_link(&path) {
            Ok(link) if link.to_string_lossy() == wanted && is_at(&path, attachment) => {
                return Search::At(format!("process {pid}"));
            }
            Ok(_) => processes += 1,
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => hidden = Some(pid),
            Err(_) => {} // it ended, or it is a zombie, which holds no namespace
        }
    }
    match hidden {
        Some(pid) => Search::Blind(format!("process {pid} may not be looked at")),
        None => {
            Search::Nowhere(format!("{processes} processes and {} mounts", mounts.lines().count()))
        }
    }
}
