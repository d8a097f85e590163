//! Kinds of links with settings of their own: IFLA_LINKINFO. Sources: linux/if_link.h,
//! `ip link add ... type KIND` of iproute2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use linux_raw_sys::netlink as raw;

use crate::read::u32_of;
use crate::{Attrs, Msg};

/// A kind of link, with what is said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// Stands beside its parent on the same Ethernet, with a link-layer address of its own.
    Macvlan {
        /// MACVLAN_MODE_*: 1 private, 2 vepa, 4 bridge, 8 passthru.
        mode: u32,
        /// IFLA_MACVLAN_BC_QUEUE_LEN: broadcasts that may wait (Linux 5.11).
        queue: Option<u32>,
    },
    /// Shares its parent's link-layer address.
    Ipvlan {
        /// IPVLAN_MODE_*: 0 l2, 1 l3, 2 l3s.
        mode: u16,
    },
    /// Frames of its parent with one 802.1Q tag.
    Vlan {
        /// The tag: 0 to 4094.
        id: u16,
    },
    /// Takes all packets and drops them.
    Dummy,
    /// A routing domain: what is in it looks up routes in one table.
    Vrf {
        /// The table.
        table: u32,
    },
    /// Several links of one Ethernet as one.
    Bond {
        /// BOND_MODE_* of linux/if_bonding.h: 0 balance-rr, 1 active-backup, ... 6 balance-alb.
        mode: u8,
        /// Milliseconds between two looks at the ports' carriers; 0 = never.
        miimon: u32,
    },
    /// Ethernet frames in UDP.
    Vxlan(Vxlan),
    /// Ethernet or IP whose other end is a program. The kernel only tells it: a message
    /// that is to make one is refused with EOPNOTSUPP.
    Tun {
        /// The user who may use it.
        owner: Option<u32>,
        /// The group that may use it.
        group: Option<u32>,
        /// Several programs may hold it open.
        multi_queue: bool,
    },
}

/// A VXLAN tunnel end (RFC 7348).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// The network: 24 bits.
    pub id: u32,
    /// UDP port.
    pub port: u16,
    /// The address that it sends from and listens at.
    pub local: IpAddr,
    /// Whether it learns from what it hears which host has an address.
    pub learning: bool,
}

const MACVLAN_MODE: u16 = raw::IFLA_MACVLAN_MODE as u16;
const MACVLAN_QUEUE: u16 = raw::IFLA_MACVLAN_BC_QUEUE_LEN as u16;
const IPVLAN_MODE: u16 = raw::IFLA_IPVLAN_MODE as u16;
const VLAN_ID: u16 = raw::IFLA_VLAN_ID as u16;
const BOND_MODE: u16 = raw::IFLA_BOND_MODE as u16;
const BOND_MIIMON: u16 = raw::IFLA_BOND_MIIMON as u16;
const VRF_TABLE: u16 = raw::IFLA_VRF_TABLE as u16;
const VXLAN_ID: u16 = raw::IFLA_VXLAN_ID as u16;
const VXLAN_LOCAL: u16 = raw::IFLA_VXLAN_LOCAL as u16;
const VXLAN_LEARNING: u16 = raw::IFLA_VXLAN_LEARNING as u16;
const VXLAN_PORT: u16 = raw::IFLA_VXLAN_PORT as u16;
const VXLAN_LOCAL6: u16 = raw::IFLA_VXLAN_LOCAL6 as u16;
/// linux/if_link.h: IFLA_TUN_OWNER, IFLA_TUN_GROUP, IFLA_TUN_MULTI_QUEUE.
const TUN_OWNER: u16 = 1;
const TUN_GROUP: u16 = 2;
const TUN_MULTI_QUEUE: u16 = 7;

impl Device {
    /// IFLA_INFO_KIND: its name in `ip link`.
    pub fn name(&self) -> &'static str {
        match self {
            Device::Macvlan { .. } => "macvlan",
            Device::Ipvlan { .. } => "ipvlan",
            Device::Vlan { .. } => "vlan",
            Device::Dummy => "dummy",
            Device::Vrf { .. } => "vrf",
            Device::Bond { .. } => "bond",
            Device::Vxlan(_) => "vxlan",
            Device::Tun { .. } => "tun",
        }
    }

    pub(super) fn write(&self, m: &mut Msg<'_>) {
        m.attr(libc::IFLA_INFO_KIND, self.name().as_bytes());
        if *self != Device::Dummy {
            m.nest(libc::IFLA_INFO_DATA, |m| self.write_data(m));
        }
    }

    fn write_data(&self, m: &mut Msg<'_>) {
        match *self {
            Device::Macvlan { mode, queue } => {
                m.u32(MACVLAN_MODE, mode);
                if let Some(length) = queue {
                    m.u32(MACVLAN_QUEUE, length);
                }
            }
            Device::Ipvlan { mode } => m.attr(IPVLAN_MODE, &mode.to_ne_bytes()),
            Device::Vlan { id } => m.attr(VLAN_ID, &id.to_ne_bytes()),
            Device::Dummy | Device::Tun { .. } => {}
            Device::Vrf { table } => m.u32(VRF_TABLE, table),
            Device::Bond { mode, miimon } => {
                m.u8(BOND_MODE, mode);
                m.u32(BOND_MIIMON, miimon);
            }
            Device::Vxlan(vxlan) => {
                m.u32(VXLAN_ID, vxlan.id);
                match vxlan.local {
                    IpAddr::V4(ip) => m.attr(VXLAN_LOCAL, &ip.octets()),
                    IpAddr::V6(ip) => m.attr(VXLAN_LOCAL6, &ip.octets()),
                }
                m.u8(VXLAN_LEARNING, vxlan.learning.into());
                m.attr(VXLAN_PORT, &vxlan.port.to_be_bytes());
            }
        }
    }

    /// Reads IFLA_INFO_DATA of a link of this kind; `None` for kinds that aren't known here.
    pub(super) fn read(kind: &str, data: &Attrs<'_>) -> Option<Device> {
        let u16_of = |b: &[u8]| b.first_chunk().map(|b| u16::from_ne_bytes(*b));
        Some(match kind {
            "macvlan" => Device::Macvlan {
                mode: data.find(MACVLAN_MODE).and_then(u32_of)?,
                queue: data.find(MACVLAN_QUEUE).and_then(u32_of),
            },
            "ipvlan" => Device::Ipvlan { mode: data.find(IPVLAN_MODE).and_then(u16_of)? },
            "vlan" => Device::Vlan { id: data.find(VLAN_ID).and_then(u16_of)? },
            "dummy" => Device::Dummy,
            "vrf" => Device::Vrf { table: data.find(VRF_TABLE).and_then(u32_of)? },
            "bond" => Device::Bond {
                mode: *data.find(BOND_MODE)?.first()?,
                miimon: data.find(BOND_MIIMON).and_then(u32_of)?,
            },
            "vxlan" => {
                let v4 = || Some(Ipv4Addr::from(*data.find(VXLAN_LOCAL)?.first_chunk::<4>()?));
                let v6 = || Some(Ipv6Addr::from(*data.find(VXLAN_LOCAL6)?.first_chunk::<16>()?));
                let port: [u8; 2] = *data.find(VXLAN_PORT)?.first_chunk()?;
                Device::Vxlan(Vxlan {
                    id: data.find(VXLAN_ID).and_then(u32_of)?,
                    port: u16::from_be_bytes(port),
                    local: v4().map(IpAddr::from).or_else(|| v6().map(IpAddr::from))?,
                    learning: data.find(VXLAN_LEARNING).and_then(|b| b.first()) == Some(&1),
                })
            }
            "tun" => Device::Tun {
                owner: data.find(TUN_OWNER).and_then(u32_of),
                group: data.find(TUN_GROUP).and_then(u32_of),
                multi_queue: data.find(TUN_MULTI_QUEUE).and_then(|b| b.first()) == Some(&1),
            },
            _ => return None,
        })
    }
}
