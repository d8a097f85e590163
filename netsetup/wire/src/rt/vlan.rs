//! VLANs of a bridge's ports. Source: linux/if_bridge.h, and what `bridge vlan` sends.

use super::{DUMP, REQUEST, ifinfo};
use crate::read::u32_of;
use crate::{Batch, Message, Msg, attrs};

/// Attributes of linux/if_bridge.h and linux/rtnetlink.h.
const IFLA_BRIDGE_FLAGS: u16 = 0;
/// The bridge itself is meant, as a port of its own.
const BRIDGE_FLAGS_SELF: u16 = 2;
const IFLA_BRIDGE_VLAN_INFO: u16 = 2;
const RTEXT_FILTER_BRVLAN: u32 = 1 << 1;
/// Flags of struct bridge_vlan_info.
const PVID: u16 = 1 << 1;
const UNTAGGED: u16 = 1 << 2;
const RANGE_BEGIN: u16 = 1 << 3;
const RANGE_END: u16 = 1 << 4;

/// VLANs that a port carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortVlan {
    /// The first, 1 to 4094.
    pub first: u16,
    /// The last; with `access` the same.
    pub last: u16,
    /// Frames go out without a tag, and what comes in without one is of this VLAN.
    pub access: bool,
}

/// Appends an RTM_SETLINK that gives a port VLANs. Where the kernel lacks
/// CONFIG_BRIDGE_VLAN_FILTERING: EOPNOTSUPP.
pub fn add_vlan(batch: &mut Batch, index: u32, vlan: &PortVlan) -> u32 {
    batch.add(libc::RTM_SETLINK, REQUEST, |m| body(m, index, vlan, false))
}

/// The same of the bridge itself: the host has a part in that VLAN, by a link of kind vlan on
/// the bridge.
pub fn add_own_vlan(batch: &mut Batch, index: u32, id: u16) -> u32 {
    batch.add(libc::RTM_SETLINK, REQUEST, |m| body(m, index, &tagged(id), true))
}

/// Undoes [`add_own_vlan`].
pub fn del_own_vlan(batch: &mut Batch, index: u32, id: u16) -> u32 {
    batch.add(libc::RTM_DELLINK, REQUEST, |m| body(m, index, &tagged(id), true))
}

fn tagged(id: u16) -> PortVlan {
    PortVlan { first: id, last: id, access: false }
}

/// Appends an RTM_DELLINK that takes VLANs from a port.
pub fn del_vlan(batch: &mut Batch, index: u32, vlan: &PortVlan) -> u32 {
    batch.add(libc::RTM_DELLINK, REQUEST, |m| body(m, index, vlan, false))
}

/// Appends a dump of all ports of bridges with their VLANs.
pub fn dump_vlans(batch: &mut Batch) -> u32 {
    batch.add(libc::RTM_GETLINK, DUMP, |m| {
        m.body(&of_bridge(0));
        m.u32(libc::IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN);
    })
}

/// A VLAN that a port carries: its number, whether frames that come without a tag are of it,
/// and whether its own go out without one.
pub type Carried = (u16, [bool; 2]);

/// Reads a port of [`dump_vlans`]: its index, and its VLANs.
pub fn read_vlans(message: &Message<'_>) -> Option<(u32, Vec<Carried>)> {
    let is_port = message.body.first() == Some(&(libc::AF_BRIDGE as u8));
    if message.kind != libc::RTM_NEWLINK || !is_port {
        return None;
    }
    let index = u32_of(message.body.get(4..)?)?;
    let spec = message.attrs(super::IFINFOMSG).find(libc::IFLA_AF_SPEC).unwrap_or(&[]);
    let infos = attrs(spec).filter(|(kind, _)| *kind == IFLA_BRIDGE_VLAN_INFO);
    let vlans = infos.filter_map(|(_, info)| {
        let [a, b, c, d] = *info.first_chunk()?;
        let flags = u16::from_ne_bytes([a, b]);
        Some((u16::from_ne_bytes([c, d]), [PVID, UNTAGGED].map(|flag| flags & flag != 0)))
    });
    Some((index, vlans.collect()))
}

fn of_bridge(index: u32) -> [u8; super::IFINFOMSG] {
    let mut body = ifinfo(index, 0, 0);
    body[0] = libc::AF_BRIDGE as u8;
    body
}

fn body(m: &mut Msg<'_>, index: u32, vlan: &PortVlan, own: bool) {
    m.body(&of_bridge(index));
    let flags = if vlan.access { PVID | UNTAGGED } else { 0 };
    let info = |m: &mut Msg<'_>, flags: u16, id: u16| {
        let ([a, b], [c, d]) = (flags.to_ne_bytes(), id.to_ne_bytes());
        m.attr(IFLA_BRIDGE_VLAN_INFO, &[a, b, c, d]);
    };
    m.nest(libc::IFLA_AF_SPEC, |m| {
        if own {
            m.attr(IFLA_BRIDGE_FLAGS, &BRIDGE_FLAGS_SELF.to_ne_bytes());
        }
        match vlan.first == vlan.last {
            true => info(m, flags, vlan.first),
            false => {
                info(m, flags | RANGE_BEGIN, vlan.first);
                info(m, flags | RANGE_END, vlan.last);
            }
        }
    });
}
