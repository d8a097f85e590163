//! make, for a veth.

use std::os::fd::{AsFd, AsRawFd};

use podkeel_wire::Batch;
use podkeel_wire::rt::{self, Link};

use super::World;
use super::object::{Object, Veth};
use crate::error::{Error, Kind, Result};
use crate::kernel::sysctl::ProcSys;

/// A veth uses one queue each way unless ethtool(8) says otherwise. Where the number isn't said,
/// the kernel makes one for each CPU and takes all but one away again, with a wait for each end.
const ONE_QUEUE: Option<u32> = Some(1);

/// Both ends get their final names, addresses and namespaces in one message.
/// The alias comes in a second one, because the kernel drops it in the first;
/// until then the name, a hash, is the mark.
///
/// It goes up last: each change of a link that is up, and be it a new alias, has the kernel
/// go through all IPv6 routes of the namespace. Of those a port with a link-local address,
/// which nobody could reach, would have three; see also [`without_ipv6`].
pub(super) fn write(world: &mut World, batch: &mut Batch, veth: &Veth) -> Result<()> {
    let master = match veth.master.as_str() {
        "" => None,
        master => Some(world.host.index(master)?),
    };
    let pod = world.pod.as_ref().ok_or_else(|| {
        Error::new(Kind::Missing, "make a veth", "there is no pod to put its peer in")
    })?;
    let peer = Link {
        name: Some(&veth.peer),
        mac: Some(veth.peer_mac.0),
        mtu: veth.mtu,
        queues: ONE_QUEUE,
        netns: Some(pod.netns.as_fd().as_raw_fd()),
        ..Link::default()
    };
    let outer = Link {
        name: Some(&veth.name),
        mac: Some(veth.mac.0),
        mtu: veth.mtu,
        queues: ONE_QUEUE,
        master,
        kind: rt::Kind::Veth(&peer),
        ..Link::default()
    };
    rt::new_link(batch, rt::CREATE, &outer);
    // Behind the port, whose coming gives a bridge its id.
    if let Some(mac) = veth.master_mac {
        let keeps = Link { name: Some(&veth.master), mac: Some(mac.0), ..Link::default() };
        rt::new_link(batch, rt::REQUEST, &keeps);
    }
    let alias = world.mark.to_string();
    let port =
        rt::Port { hairpin: veth.hairpin.then_some(true), isolated: veth.isolated.then_some(true) };
    let port = (port != rt::Port::default()).then_some(port);
    let settled = Link {
        name: Some(&veth.name),
        alias: Some(&alias),
        port,
        no_link_local: veth.no_link_local,
        ..Link::default()
    };
    rt::new_link(batch, rt::REQUEST, &settled);
    // The answer tells the id that the host's namespace has given the pod's.
    rt::get_link(batch, &veth.name);
    let up = Link { name: Some(&veth.name), up: Some(true), ..Link::default() };
    rt::new_link(batch, rt::REQUEST, &up);
    Ok(())
}

/// Turns IPv6 off on a bridge's port, before it has a carrier. Nobody could reach an address of
/// its there, but once it carries frames the kernel would give it a route to ff00::/8, and find
/// its place among those of all other ports. Where that can't be done, nothing hangs on it.
pub(super) fn without_ipv6(what: &Object) {
    let Object::Veth(Veth { name, no_link_local: true, .. }) = what else { return };
    let path = ["net", "ipv6", "conf", name, "disable_ipv6"].map(str::to_owned);
    let _ = ProcSys::open().and_then(|proc| proc.write(&path, "1"));
}
