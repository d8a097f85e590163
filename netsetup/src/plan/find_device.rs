//! find, of links by themselves and of links that are lent.

use podkeel_wire::rt::{LinkInfo, Neigh};

use super::device::{Device, DeviceKind, Lent};
use super::find::{Found, of_list};
use super::object::{Object, Side};
use super::{Step, World};
use crate::conf::Tap;
use crate::error::Result;
use crate::kernel::Netns;

pub(super) fn find_device(world: &mut World, step: &Step, device: &Device) -> Result<Found> {
    let Some(link) = world.rtnl(step.at)?.link(&device.name)? else { return Ok(Found::Absent) };
    let shared = step.is_held();
    let ours = match shared {
        true => link.alias == Some(world.mark.shared()),
        false => world.mark.is(link.alias.as_deref()),
    };
    // What somebody else has made under the name of something shared is taken as it is,
    // if it is what is wanted.
    let mut wrong: Vec<String> = device.differs(&link).into_iter().collect();
    if shared && !ours {
        return Ok(of_list(wrong));
    }
    if !ours {
        wrong.push(format!("its alias isn't {:?}", world.mark.to_string()));
    }
    if let Some(mac) = device.mac.filter(|mac| link.mac != Some(mac.0)) {
        wrong.push(format!("its MAC address isn't {mac}"));
    }
    if device.mtu.is_some_and(|mtu| mtu != link.mtu) {
        wrong.push(format!("its mtu is {}", link.mtu));
    }
    if let Some(parent) = &device.parent {
        let index = world.rtnl(parent.at)?.link(&parent.name)?.map(|parent| parent.index);
        if index.is_none() || link.link != index {
            wrong.push(format!("it isn't on {} of the {}", parent.name, parent.at));
        }
    }
    if let DeviceKind::Tap(Tap { bridge: Some(bridge), .. }) = &device.kind {
        let index = world.rtnl(step.at)?.link(bridge)?.map(|bridge| bridge.index);
        if index.is_none() || link.master != index {
            wrong.push(format!("it isn't a port of {bridge}"));
        }
    }
    Ok(of_list(wrong))
}

pub(super) fn find_lent(world: &mut World, lent: &Lent) -> Result<Found> {
    let mark = world.mark.clone();
    let pod = world.rtnl(Side::Pod)?;
    let Some(link) = pod.link(&lent.to)? else {
        let renamed = pod.links()?.into_iter().find(|link| mark.is(link.alias.as_deref()));
        let called = |link: LinkInfo| Found::Differs(format!("it is called {} there", link.name));
        return Ok(renamed.map_or(Found::Absent, called));
    };
    let mut wrong = Vec::new();
    if !mark.is(link.alias.as_deref()) {
        wrong.push(format!("its alias isn't {:?}", mark.to_string()));
    }
    if let Some(mac) = lent.mac.filter(|mac| link.mac != Some(mac.0)) {
        wrong.push(format!("its MAC address isn't {mac}"));
    }
    Ok(of_list(wrong))
}

pub(super) fn find_pin(world: &World, pin: &Object) -> Result<Found> {
    let Object::Pin { dir, name } = pin else { return Ok(Found::Absent) };
    let there = match Netns::open(&dir.join(name)) {
        Ok(there) => there,
        Err(e) if e.errno == Some(libc::ENOENT) => return Ok(Found::Absent),
        Err(e) => return Ok(Found::Differs(e.why)),
    };
    Ok(match &world.pod {
        Some(pod) if pod.netns.same(&there) => Found::Same,
        _ => Found::Differs("it is another namespace".into()),
    })
}

pub(super) fn find_member(world: &mut World, step: &Step) -> Result<Found> {
    let Object::Member { link, master } = &step.what else { return Ok(Found::Absent) };
    let rtnl = world.rtnl(step.at)?;
    let Some(info) = rtnl.link(link)? else { return Ok(Found::Absent) };
    let wanted = rtnl.link(master)?.map(|master| master.index);
    Ok(match info.master {
        None => Found::Absent,
        is if is == wanted => Found::Same,
        Some(_) => Found::Differs("it is in another".into()),
    })
}

pub(super) fn find_neigh(world: &mut World, step: &Step) -> Result<Found> {
    let Object::Neigh { link, ip, mac, fdb } = &step.what else { return Ok(Found::Absent) };
    let rtnl = world.rtnl(step.at)?;
    let Some(info) = rtnl.link(link)? else { return Ok(Found::Absent) };
    let family = match (fdb, ip.is_ipv4()) {
        (true, _) => libc::AF_BRIDGE,
        (false, true) => libc::AF_INET,
        (false, false) => libc::AF_INET6,
    };
    // Of a forwarding table the link-layer address is the key, of neighbours the address.
    let known = |n: &Neigh| if *fdb { n.mac == mac.0 } else { n.ip == *ip };
    let all = rtnl.neighs(family)?;
    Ok(match all.iter().find(|n| n.index == info.index && known(n)) {
        None => Found::Absent,
        Some(n) if n.mac == mac.0 && n.ip == *ip => Found::Same,
        Some(n) if *fdb => Found::Differs(format!("it is at {}", n.ip)),
        Some(n) => Found::Differs(format!("it has {}", crate::request::Mac(n.mac))),
    })
}
