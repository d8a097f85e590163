//! drop, of links by themselves and of links that are lent.

use std::os::fd::{AsFd, AsRawFd};

use podkeel_wire::rt::{self, Link, LinkInfo};

use super::device::{Device, Lent};
use super::make_device::owner;
use super::object::{Object, Side};
use super::{Step, World};
use crate::error::{Error, Kind, Result};
use crate::kernel::{Netns, Rtnl};
use crate::pins::Pin;

/// One of this attachment alone.
pub(super) fn drop_own(world: &mut World, step: &Step, device: &Device) -> Result<()> {
    if step.at == Side::Pod && world.pod.is_none() {
        return Ok(());
    }
    drop_unnamed(world, step.at)?;
    let mark = world.mark.clone();
    let rtnl = world.rtnl(step.at)?;
    match rtnl.link(&device.name)? {
        Some(link) if mark.is(link.alias.as_deref()) => rtnl.delete_link(&link).map(|_| ()),
        _ => Ok(()),
    }
}

/// One that was cut off before it got its name.
pub(super) fn drop_unnamed(world: &mut World, at: Side) -> Result<()> {
    let unnamed = world.mark.unnamed();
    let rtnl = world.rtnl(at)?;
    match rtnl.link(&unnamed)? {
        Some(link) => rtnl.delete_link(&link).map(|_| ()),
        None => Ok(()),
    }
}

/// A shared one that nobody holds any more, if it wears our mark.
pub fn drop_device(host: &mut Rtnl, name: &str, shared: &str) -> Result<()> {
    match host.link(name)? {
        Some(link) if link.alias.as_deref() == Some(shared) => host.delete_link(&link).map(|_| ()),
        _ => Ok(()),
    }
}

/// Brings a link home under its old name, with its old alias, up if it was up: in one
/// message. Where the pod's namespace is gone the kernel has done what it does: a device
/// is in the first namespace of the machine, a virtual link is no more.
pub(super) fn bring_home(world: &mut World, lent: &Lent) -> Result<()> {
    let Some(link) = find_lent(world, lent)? else { return Ok(()) };
    let what = || format!("bring link {} of the pod home as {}", link.name, lent.from);
    if world.host.link(&lent.from)?.is_some() {
        let why = format!("the host has another link {} by now", lent.from);
        return Err(Error::new(Kind::Taken, what(), why).hint("rename that one, and try again"));
    }
    send_home(world.rtnl(Side::Pod)?, &link, lent)
}

/// Moves a link from a pod into the namespace that netsetup runs in.
pub fn send_home(pod: &mut Rtnl, link: &LinkInfo, lent: &Lent) -> Result<()> {
    let home = Netns::own()?;
    let mut batch = pod.socket.batch();
    let moved = Link {
        index: link.index,
        name: Some(&lent.from),
        alias: Some(lent.alias.as_deref().unwrap_or("")),
        up: Some(lent.up),
        netns: Some(home.as_fd().as_raw_fd()),
        ..Link::default()
    };
    rt::new_link(&mut batch, rt::REQUEST, &moved);
    let refused = pod.socket.exchange(batch, |_| {})?;
    pod.forget(&link.name);
    let what = || format!("bring link {} of the pod home as {}", link.name, lent.from);
    refused.first().map_or(Ok(()), |refusal| Err(refusal.error(what())))
}

/// The link, wherever a move that was cut off has left it in the pod: under its new name
/// with our mark, or under the old one, and then the host has none.
fn find_lent(world: &mut World, lent: &Lent) -> Result<Option<LinkInfo>> {
    if world.pod.is_none() {
        return Ok(None);
    }
    let mark = world.mark.clone();
    if let Some(link) = world.rtnl(Side::Pod)?.link(&lent.to)?
        && mark.is(link.alias.as_deref())
    {
        return Ok(Some(link));
    }
    if world.host.link(&lent.from)?.is_some() {
        return Ok(None);
    }
    let link = world.rtnl(Side::Pod)?.link(&lent.from)?;
    Ok(link.filter(|link| link.mac == lent.mac.map(|mac| mac.0)))
}

/// The pod's namespace may go.
pub(super) fn unpin(world: &World, pin: &Object) -> Result<()> {
    let Object::Pin { dir, name } = pin else { return Ok(()) };
    Pin::new(dir, name, &owner(world))?.remove(None).map(|_| ())
}

/// A link leaves its master.
pub(super) fn leave(world: &mut World, step: &Step) -> Result<()> {
    let Object::Member { link, master } = &step.what else { return Ok(()) };
    if step.at == Side::Pod && world.pod.is_none() {
        return Ok(());
    }
    let rtnl = world.rtnl(step.at)?;
    let (Some(info), Some(of)) = (rtnl.link(link)?, rtnl.link(master)?) else { return Ok(()) };
    if info.master != Some(of.index) {
        return Ok(());
    }
    let mut batch = rtnl.socket.batch();
    let alone = Link { index: info.index, master: Some(0), ..Link::default() };
    rt::new_link(&mut batch, rt::REQUEST, &alone);
    match rtnl.socket.exchange(batch, |_| {})?.first() {
        Some(r) if r.errno != libc::ENODEV => Err(r.error(format!("take {link} out of {master}"))),
        _ => Ok(()),
    }
}
