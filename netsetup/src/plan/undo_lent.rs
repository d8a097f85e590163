//! drop, of links that are lent: whatever became of one in the pod, it goes home.
//!
//! Who is root in a pod may rename a link and change its alias and its address, and a namespace
//! that dies takes virtual links with it. So a link is looked for by its mark under any name, then
//! by its address; and where none has either, the pin stays, and a person is asked.

use std::os::fd::{AsFd, AsRawFd};

use podkeel_wire::rt::{self, LinkInfo};

use super::device::Lent;
use super::make_device::owner;
use super::object::{Object, Side};
use super::{Plan, World};
use crate::error::{Error, Kind, Result};
use crate::kernel::{Netns, Rtnl};
use crate::names;
use crate::pins::Pin;

/// Brings a link home under its old name, with its old alias, up if it was up: in one
/// message. Where the pod's namespace is gone the kernel has done what it does: a device
/// is in the first namespace of the machine, a virtual link is no more.
pub(super) fn bring_home(world: &mut World, plan: &Plan, lent: &Lent) -> Result<()> {
    if world.pod.is_none() {
        return Ok(());
    }
    let link = match find(world, lent)? {
        Place::Home => return Ok(()),
        Place::Pod(link) => link,
        Place::Unknown(links) => return unknown(world, plan, lent, &links),
    };
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
    let moved = rt::Link {
        index: link.index,
        name: Some(&lent.from),
        alias: Some(lent.alias.as_deref().unwrap_or("")),
        up: Some(lent.up),
        netns: Some(home.as_fd().as_raw_fd()),
        ..rt::Link::default()
    };
    rt::new_link(&mut batch, rt::REQUEST, &moved);
    let refused = pod.socket.exchange(batch, |_| {})?;
    pod.forget(&link.name);
    let what = || format!("bring link {} of the pod home as {}", link.name, lent.from);
    refused.first().map_or(Ok(()), |refusal| Err(refusal.error(what())))
}

/// Where a lent link is.
enum Place {
    /// It was never moved, or is back.
    Home,
    /// In the pod.
    Pod(LinkInfo),
    /// These links of the pod are nobody's that we know; it may be one of them.
    Unknown(Vec<LinkInfo>),
}

/// A move that was cut off or refused half-way has left it under its old name, without a mark.
fn find(world: &mut World, lent: &Lent) -> Result<Place> {
    let mark = world.mark.clone();
    let mut links = world.rtnl(Side::Pod)?.links()?;
    links.retain(|link| link.family == 0 && link.flags & libc::IFF_LOOPBACK as u32 == 0);
    if let Some(at) = links.iter().position(|link| mark.is(link.alias.as_deref())) {
        return Ok(Place::Pod(links.swap_remove(at)));
    }
    links.retain(|link| !link.alias.as_deref().is_some_and(names::is_mark));
    let has_its_mac = |link: &LinkInfo| link.mac == lent.mac.map(|mac| mac.0);
    let home = world.host.link(&lent.from)?;
    if home.as_ref().is_some_and(|home| has_its_mac(home) || links.is_empty()) {
        return Ok(Place::Home);
    }
    let named = |link: &LinkInfo| [&lent.to, &lent.from].contains(&&link.name);
    let its: Vec<&LinkInfo> = links.iter().filter(|link| has_its_mac(link)).collect();
    let link = match its.iter().find(|link| named(link)) {
        Some(link) => Some(*link),
        // What stands on a link may have its address. Not every kind of link has one.
        None => match &its.iter().filter(|link| !stands_on_another(link)).collect::<Vec<_>>()[..] {
            [one] if lent.mac.is_some() => Some(**one),
            _ => None,
        },
    };
    Ok(match link.cloned() {
        Some(link) => Place::Pod(link),
        None => Place::Unknown(links),
    })
}

fn stands_on_another(link: &LinkInfo) -> bool {
    link.link.is_some() && link.peer_netns.is_none()
}

/// One of these may be the link as long as the pin is there; whoever knows better takes the pin
/// away. Where there is none, it is nowhere that it could be brought home from.
fn unknown(world: &World, plan: &Plan, lent: &Lent, links: &[LinkInfo]) -> Result<()> {
    if links.is_empty() {
        return Ok(());
    }
    let pin = plan.steps.iter().find_map(|step| match &step.what {
        Object::Pin { dir, name } => Some(dir.join(name)),
        _ => None,
    });
    let Some(pin) = pin.filter(|pin| Netns::open(pin).is_ok()) else { return Ok(()) };
    let what = format!("bring link {} of the host home", lent.from);
    let gone = format!("if it is gone for good: umount {}", pin.display());
    let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
    let why = format!(
        "none of the pod's links has its mark or its address any more; it may be one of {}",
        names.join(", ")
    );
    Err(Error::new(Kind::Missing, what, why).hint(format!(
        "if it is: nsenter --net={} ip link set NAME alias '{}'; {gone}; and try again",
        pin.display(),
        world.mark
    )))
}

/// The pod's namespace may go.
pub(super) fn unpin(world: &World, pin: &Object) -> Result<()> {
    let Object::Pin { dir, name } = pin else { return Ok(()) };
    Pin::new(dir, name, &owner(world))?.remove(None).map(|_| ())
}
