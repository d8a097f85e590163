//! make, of links by themselves and of links that are lent.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use podkeel_wire::rt::{self, Link, LinkInfo};

use super::device::{Device, DeviceKind, Lent};
use super::object::{Object, Side};
use super::{Step, World};
use crate::conf::Tap;
use crate::error::{Error, Kind, Result};
use crate::kernel::Rtnl;
use crate::kernel::announce::Announcement;
use crate::kernel::tap::{self, Settings};
use crate::pins::Pin;

/// A link is born under a hashed name, which is nobody else's in either namespace: the
/// kernel compares the new name with those of the namespace that is asked. It gets its own
/// name and its mark in one message; killed in between, it is known by the hash.
pub(super) fn make_device(world: &mut World, step: &Step, device: &Device) -> Result<()> {
    let what = || format!("add {step}");
    match &device.kind {
        DeviceKind::Tap(tap) => make_tap(world, device, tap)?,
        _ => bear(world, step, device, &what)?,
    }
    name(world, step, device, &what)
}

/// Where no message but one makes it, of the namespace that its parent is in.
fn bear(world: &mut World, step: &Step, device: &Device, what: &dyn Fn() -> String) -> Result<()> {
    let home = device.parent.as_ref().map_or(step.at, |parent| parent.at);
    let away = (home != step.at).then(|| pod_fd(world)).transpose()?;
    let unnamed = world.mark.unnamed();
    let rtnl = world.rtnl(home)?;
    let link = device.parent.as_ref().map(|parent| rtnl.index(&parent.name)).transpose()?;
    let kind = device.wire().map_or(rt::Kind::Existing, rt::Kind::Device);
    let mut batch = rtnl.socket.batch();
    let born = Link {
        name: Some(&unnamed),
        mac: device.mac.map(|mac| mac.0),
        mtu: device.mtu,
        netns: away,
        link,
        kind,
        ..Link::default()
    };
    rt::new_link(&mut batch, rt::CREATE, &born);
    match rtnl.socket.exchange(batch, |_| {})?.first() {
        None => Ok(()),
        Some(refusal) => Err(in_our_words(refusal.error(what()), device)),
    }
}

fn in_our_words(error: Error, device: &Device) -> Error {
    let kind = device.kind.name();
    let (why, hint) = match (error.errno, &device.kind) {
        (Some(libc::EOPNOTSUPP | libc::ENODEV), _) if error.extack.is_some() => return error,
        (Some(libc::EOPNOTSUPP), _) => (
            format!("this kernel has no links of kind {kind}"),
            format!("it may need the module: modprobe rtnl-link-{kind}"),
        ),
        (Some(libc::EBUSY | libc::EINVAL), DeviceKind::Macvlan { .. }) => (
            "the master is used in another way: by a bridge, or in mode passthru".to_owned(),
            "a link is a port of a bridge, or has macvlans, or one macvlan in mode passthru".into(),
        ),
        (Some(libc::EEXIST), DeviceKind::Vxlan { id, port, .. }) => (
            format!("there is a vxlan with id {id} and port {port} already"),
            "choose another id".to_owned(),
        ),
        (Some(libc::EEXIST), DeviceKind::Bond { .. }) => (
            format!("there is a link {} by now", device.name),
            "the kernel's module makes a bond0 when it is loaded, unless max_bonds is 0: \
             `ip link del bond0`, and try again"
                .to_owned(),
        ),
        _ => return error,
    };
    let class = match error.errno {
        Some(libc::EOPNOTSUPP) => Kind::Unsupported,
        _ => Kind::Taken,
    };
    Error { why, ..error }.kind(class).hint(hint)
}

/// Its own name, its mark, and what it couldn't be born with.
fn name(world: &mut World, step: &Step, device: &Device, what: &dyn Fn() -> String) -> Result<()> {
    let unnamed = world.mark.unnamed();
    let alias = if step.is_held() { world.mark.shared() } else { world.mark.to_string() };
    let rtnl = world.rtnl(step.at)?;
    let master = match &device.kind {
        DeviceKind::Tap(Tap { bridge: Some(bridge), .. }) => Some(rtnl.index(bridge)?),
        _ => None,
    };
    let gone = || Error::new(Kind::Failed, what(), "it vanished");
    let born: LinkInfo = rtnl.link(&unnamed)?.ok_or_else(gone)?;
    takes_its_queue(device, &born, what)?;
    let is_tap = matches!(device.kind, DeviceKind::Tap(_));
    let mut batch = rtnl.socket.batch();
    let named = Link {
        index: born.index,
        name: Some(&device.name),
        alias: Some(&alias),
        mac: device.mac.filter(|_| is_tap).map(|mac| mac.0),
        mtu: device.mtu.filter(|_| is_tap),
        master,
        ..Link::default()
    };
    rt::new_link(&mut batch, rt::REQUEST, &named);
    if let Some(refusal) = rtnl.socket.exchange(batch, |_| {})?.first() {
        return Err(in_our_words(refusal.error(what()), device));
    }
    rtnl.learn(&device.name, born.index);
    Ok(())
}

/// Before Linux 5.11 the kernel passes over what it is told of a macvlan's queue.
fn takes_its_queue(device: &Device, born: &LinkInfo, what: &dyn Fn() -> String) -> Result<()> {
    let asked = matches!(device.kind, DeviceKind::Macvlan { queue: Some(_), .. });
    match born.device {
        Some(rt::Device::Macvlan { queue: None, .. }) if asked => {
            let why = "this kernel can't set how many broadcasts wait for a macvlan";
            let hint = "leave bcqueuelen out: it takes Linux 5.11";
            Err(Error::new(Kind::Unsupported, what(), why).hint(hint))
        }
        _ => Ok(()),
    }
}

fn make_tap(world: &mut World, device: &Device, tap: &Tap) -> Result<()> {
    debug_assert!(device.parent.is_none());
    let unnamed = world.mark.unnamed();
    let settings = Settings {
        owner: tap.owner,
        group: tap.group,
        multi_queue: tap.multi_queue,
        selinux: tap.selinux.as_deref(),
    };
    match &world.pod {
        Some(pod) => pod.netns.visit(|| tap::make(&unnamed, settings)),
        None => Err(no_pod(&format!("make tap {}", device.name))),
    }
}

/// The open pod's namespace, as a message names it.
fn pod_fd(world: &World) -> Result<i32> {
    let pod = world.pod.as_ref().ok_or_else(|| no_pod("put a link into the pod"))?;
    Ok(pod.netns.as_fd().as_raw_fd())
}

fn no_pod(what: &str) -> Error {
    Error::new(Kind::Missing, what, "there is no pod")
}

/// One message moves it, names it and marks it.
pub(super) fn lend(world: &mut World, step: &Step, lent: &Lent) -> Result<()> {
    let what = || format!("add {step}");
    let netns = pod_fd(world)?;
    let alias = world.mark.to_string();
    let index = world.host.index(&lent.from)?;
    let mut batch = world.host.socket.batch();
    let moved = Link {
        index,
        name: Some(&lent.to),
        alias: Some(&alias),
        netns: Some(netns),
        ..Link::default()
    };
    rt::new_link(&mut batch, rt::REQUEST, &moved);
    let refused = world.host.socket.exchange(batch, |_| {})?;
    world.host.forget(&lent.from);
    match refused.first() {
        None => Ok(()),
        Some(refusal) if refusal.errno == libc::EINVAL => Err(refusal
            .error(what())
            .hint("the kernel lets no link go that is tied to its namespace, as lo or a bridge's")),
        Some(refusal) => Err(refusal.error(what())),
    }
}

/// Mounts the pod's namespace, so that it outlives its last process.
pub(super) fn pin(world: &World, pin: &Object) -> Result<()> {
    let Object::Pin { dir, name } = pin else { return Ok(()) };
    let pod = world.pod.as_ref().ok_or_else(|| no_pod("pin the pod's namespace"))?;
    Pin::new(dir, name, &owner(world))?.claim()?.mount(&pod.netns)
}

/// Whose a pin is.
pub(super) fn owner(world: &World) -> String {
    format!("netsetup {}", world.mark.id())
}

/// Has the neighbours told once all is made. That nobody can be told is no reason to fail: they
/// will ask.
pub(super) fn announce(world: &mut World, step: &Step) -> Result<()> {
    let Object::Announced { link, addresses } = &step.what else { return Ok(()) };
    let Some(info) = world.rtnl(step.at)?.link(link)? else { return Ok(()) };
    let Some(mac) = info.mac.filter(|_| info.flags & libc::IFF_NOARP as u32 == 0) else {
        return Ok(());
    };
    if info.kind.as_deref() == Some("veth")
        && let Some(outer) = info.link
    {
        wait_for_port(&mut world.host, outer)?;
    }
    if step.at == Side::Pod {
        world.told.push(Announcement { index: info.index, mac, addresses: addresses.clone() });
    }
    Ok(())
}

/// How long the kernel may take until it lets a pair or a bridge's port carry frames. From Linux 6.8
/// on the question itself makes it do so; before, it does as soon as it comes to it. With
/// the spanning tree protocol it takes half a minute, for which nobody waits.
const CARRIER_TRIES: u32 = 100;

/// Asks until a link carries frames.
fn wait(mut carries: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..CARRIER_TRIES {
        if carries()? {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Waits until the host's end of a pair that is no bridge's port carries frames: it went up
/// before the pod's, and what it sends is lost until the kernel has seen to its carrier. Then
/// the pod's first question for its gateway would have no answer, and the next comes a second
/// later.
pub(super) fn wait_for_pair(host: &mut Rtnl, outer: &str) -> Result<()> {
    wait(|| Ok(host.link(outer)?.is_none_or(|end| end.operates)))
}

/// Waits until a bridge passes on what comes from the pod: else the frames would be lost,
/// and so would the pod's own first ones.
///
/// The bridge is asked for, too: with its first port it gets a carrier, and sends nothing
/// of the host's own before the kernel has seen to that, which can be a second later.
fn wait_for_port(host: &mut Rtnl, outer: u32) -> Result<()> {
    wait(|| {
        let Some(port) = host.link_at(outer)? else { return Ok(true) };
        if let (Some(true), Some(bridge)) = (port.forwards, port.master) {
            host.link_at(bridge)?;
        }
        Ok(port.forwards != Some(false))
    })
}
