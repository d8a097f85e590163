//! make, of a bridge and of what its ports carry.

use podkeel_wire::Batch;
use podkeel_wire::rt::{self, Link};

use super::World;
use super::object::Bridge;
use crate::error::{Error, Kind, Result};
use crate::request::Vlan;

/// A bridge is made under a hashed name and gets its own name and its mark in
/// one message: killed in between, it is known by the hash.
pub fn make_bridge(world: &mut World, bridge: &Bridge) -> Result<()> {
    let unnamed = world.mark.unnamed();
    let shared = world.mark.shared();
    let what = || format!("add bridge {}", bridge.name);
    let mut batch = world.host.socket.batch();
    let link = Link {
        name: Some(&unnamed),
        mac: Some(bridge.mac.0),
        kind: rt::Kind::Bridge,
        vlan_filtering: bridge.vlan_filtering,
        // Nobody queries on it, so the kernel floods multicast either way; but with every port
        // that goes up it would set the timers of all ports anew.
        no_snooping: true,
        ..Link::default()
    };
    rt::new_link(&mut batch, rt::CREATE, &link);
    rt::get_link(&mut batch, &unnamed);
    let mut made = None;
    let refused =
        world.host.socket.exchange(batch, |m| made = made.take().or(rt::LinkInfo::read(m)))?;
    if let Some(refusal) = refused.first() {
        let error = refusal.error(what());
        return Err(match bridge.vlan_filtering && error.is(libc::EOPNOTSUPP) {
            true => error.hint("the kernel lacks CONFIG_BRIDGE_VLAN_FILTERING"),
            false => error,
        });
    }
    let made = made.ok_or_else(|| Error::new(Kind::Failed, what(), "it vanished"))?;
    let mut batch = world.host.socket.batch();
    let link = Link {
        index: made.index,
        name: Some(&bridge.name),
        alias: Some(&shared),
        promisc: bridge.promisc.then_some(true),
        // Given when a bridge is made, or given again, an mtu doesn't stick: it
        // would follow the ports' from then on (br_mtu_auto_adjust).
        mtu: bridge.mtu,
        ..Link::default()
    };
    rt::new_link(&mut batch, rt::REQUEST, &link);
    if let Some(refusal) = world.host.socket.exchange(batch, |_| {})?.first() {
        return Err(refusal.error(what()));
    }
    world.host.learn(&bridge.name, made.index);
    Ok(())
}

/// The VLANs of a port; without `default` not the one that the kernel gives it.
pub(super) fn write_vlans(batch: &mut Batch, port: u32, tags: &[Vlan], default: bool) {
    if !default {
        rt::del_vlan(batch, port, &rt::PortVlan { first: 1, last: 1, access: false });
    }
    for Vlan { first, last, access } in tags.iter().copied() {
        rt::add_vlan(batch, port, &rt::PortVlan { first, last, access });
    }
}
