//! rtnetlink: links, addresses and routes. Sources: rtnetlink(7), linux/if_link.h.

use std::net::IpAddr;

use linux_raw_sys::netlink as raw;
use linux_raw_sys::netlink::ifinfomsg;

use crate::read::{text_of, u32_of};
use crate::{Attrs, Batch, Message, Msg, attrs};

mod addr;
mod conf;
mod device;
mod gone;
mod neigh;
mod nsid;
mod route;
mod vlan;

pub use addr::{Addr, AddrInfo, del_addr, dump_addrs, new_addr};
pub use conf::{Switches, get_forwarding, read_forwarding};
pub use device::{Device, Vxlan};
pub use gone::{GROUP_LINK, del_group, del_link, read_gone};
pub use neigh::{Neigh, dump_neighs, new_neigh};
pub use nsid::{dump_nsids, get_nsid, new_nsid, read_nsid};
pub use route::{Route, RouteInfo, del_route, dump_routes, new_route};
pub use vlan::{
    Carried, PortVlan, add_own_vlan, add_vlan, del_own_vlan, del_vlan, dump_vlans, read_vlans,
};

/// The protocol number that our routes and addresses carry (RTA rtm_protocol,
/// IFA_PROTO), so that they are told from everybody else's. linux/rtnetlink.h
/// leaves the numbers above RTPROT_STATIC to user space; this one has no taker
/// in iproute2's rt_protos.
pub const PROTOCOL: u8 = 112;

/// Whose routes come from router advertisements: RTPROT_RA.
pub const PROTOCOL_RA: u8 = raw::RTPROT_RA as u8;

const IFINFOMSG: usize = size_of::<ifinfomsg>();

/// Flags of a request that makes something new and fails with EEXIST where it is already.
pub const CREATE: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
/// Flags of a request that changes, deletes or gets.
pub const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
/// Flags of a request for all objects of a kind.
pub const DUMP: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;

/// What an RTM_NEWLINK says of a link. What is `None` is not said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link<'a> {
    /// The link to change; 0 = by name, or a new one.
    pub index: u32,
    /// Its name; with an index: its new name.
    pub name: Option<&'a str>,
    /// Link-layer address.
    pub mac: Option<[u8; 6]>,
    /// Bytes.
    pub mtu: Option<u32>,
    /// Index of the bridge (or other master) that it becomes a port of.
    pub master: Option<u32>,
    /// Index of the link that it stands on (IFLA_LINK), in the namespace of the request.
    pub link: Option<u32>,
    /// IFLA_IFALIAS. Silently dropped by the kernel in the message that creates a link.
    pub alias: Option<&'a str>,
    /// IFLA_GROUP: a number by which several links are meant at once; 0 is that of all others.
    pub group: Option<u32>,
    /// IFF_UP. In a veth's peer while it is created: ENOTCONN.
    pub up: Option<bool>,
    /// IFF_PROMISC.
    pub promisc: Option<bool>,
    /// IFF_ALLMULTI.
    pub allmulti: Option<bool>,
    /// IFLA_TXQLEN: packets.
    pub txqlen: Option<u32>,
    /// IFLA_NUM_TX_QUEUES and IFLA_NUM_RX_QUEUES, of a link that is made.
    pub queues: Option<u32>,
    /// The namespace it is born in or moved to: an open file descriptor.
    pub netns: Option<i32>,
    /// What kind of device it is, when it is made.
    pub kind: Kind<'a>,
    /// What it is as a bridge's port.
    pub port: Option<Port>,
    /// IFLA_INET6_ADDR_GEN_MODE none: no link-local address of IPv6 when it goes up. Refused by
    /// a kernel without IPv6 (EAFNOSUPPORT); ignored in the message that creates a link.
    pub no_link_local: bool,
    /// IFLA_BR_VLAN_FILTERING, of a bridge that is made: ports carry the VLANs that they
    /// are given, and no others.
    pub vlan_filtering: bool,
    /// IFLA_BR_MCAST_SNOOPING 0, of a bridge that is made: multicast is flooded to all ports.
    /// Ignored by a kernel without CONFIG_BRIDGE_IGMP_SNOOPING.
    pub no_snooping: bool,
}

/// IFLA_INFO_KIND with its data.
#[derive(Clone, Copy, Debug, Default)]
pub enum Kind<'a> {
    /// Not said: an existing link.
    #[default]
    Existing,
    /// A bridge.
    Bridge,
    /// A pair of Ethernet devices; the other end is described here.
    Veth(&'a Link<'a>),
    /// One link by itself.
    Device(Device),
}

/// Settings of a bridge's port (IFLA_INFO_SLAVE_DATA).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// IFLA_BRPORT_MODE: a frame may leave by the port that it came in by.
    pub hairpin: Option<bool>,
    /// IFLA_BRPORT_ISOLATED: no frames to other isolated ports.
    pub isolated: Option<bool>,
}

/// Appends an RTM_NEWLINK: with [`CREATE`] a new link, with [`REQUEST`] a change.
pub fn new_link(batch: &mut Batch, flags: u16, link: &Link<'_>) -> u32 {
    batch.add(libc::RTM_NEWLINK, flags, |m| link_body(m, link))
}

/// Appends an RTM_GETLINK by name; the answer is one link or ENODEV.
pub fn get_link(batch: &mut Batch, name: &str) -> u32 {
    batch.add(libc::RTM_GETLINK, REQUEST, |m| {
        m.body(&ifinfo(0, 0, 0));
        m.text(libc::IFLA_IFNAME, name);
        without_counters(m);
    })
}

/// Appends an RTM_GETLINK by index; the answer is one link or ENODEV.
pub fn get_link_at(batch: &mut Batch, index: u32) -> u32 {
    batch.add(libc::RTM_GETLINK, REQUEST, |m| {
        m.body(&ifinfo(index, 0, 0));
        without_counters(m);
    })
}

/// Appends a dump of all links.
pub fn dump_links(batch: &mut Batch) -> u32 {
    batch.add(libc::RTM_GETLINK, DUMP, |m| {
        m.body(&ifinfo(0, 0, 0));
        without_counters(m);
    })
}

/// Packets and bytes, which nobody here reads, the kernel would add up over all CPUs; of IPv6
/// it has sixty.
fn without_counters(m: &mut Msg<'_>) {
    m.u32(libc::IFLA_EXT_MASK, raw::RTEXT_FILTER_SKIP_STATS);
}

fn link_body(m: &mut Msg<'_>, link: &Link<'_>) {
    let mut flags = 0;
    let mut change = 0;
    for (wish, bit) in [
        (link.up, libc::IFF_UP),
        (link.promisc, libc::IFF_PROMISC),
        (link.allmulti, libc::IFF_ALLMULTI),
    ] {
        if let Some(on) = wish {
            change |= bit as u32;
            flags |= if on { bit as u32 } else { 0 };
        }
    }
    m.body(&ifinfo(link.index, flags, change));
    if let Some(name) = link.name {
        m.text(libc::IFLA_IFNAME, name);
    }
    if let Some(mac) = link.mac {
        m.attr(libc::IFLA_ADDRESS, &mac);
    }
    if let Some(mtu) = link.mtu {
        m.u32(libc::IFLA_MTU, mtu);
    }
    if let Some(index) = link.link {
        m.u32(libc::IFLA_LINK, index);
    }
    if let Some(packets) = link.txqlen {
        m.u32(libc::IFLA_TXQLEN, packets);
    }
    if let Some(queues) = link.queues {
        m.u32(libc::IFLA_NUM_TX_QUEUES, queues);
        m.u32(libc::IFLA_NUM_RX_QUEUES, queues);
    }
    if let Some(master) = link.master {
        m.u32(libc::IFLA_MASTER, master);
    }
    if let Some(group) = link.group {
        m.u32(libc::IFLA_GROUP, group);
    }
    if let Some(alias) = link.alias {
        // Without a NUL, as ip sends it: the kernel counts one in, refuses
        // then an alias of 255 bytes, and takes "" for an alias of one byte.
        m.attr(libc::IFLA_IFALIAS, alias.as_bytes());
    }
    if let Some(fd) = link.netns {
        m.u32(libc::IFLA_NET_NS_FD, fd as u32);
    }
    if link.no_link_local {
        m.nest(libc::IFLA_AF_SPEC, conf::no_link_local);
    }
    match link.kind {
        Kind::Existing => {}
        Kind::Bridge => m.nest(libc::IFLA_LINKINFO, |m| {
            m.attr(libc::IFLA_INFO_KIND, b"bridge");
            if link.vlan_filtering || link.no_snooping {
                m.nest(libc::IFLA_INFO_DATA, |m| {
                    if link.vlan_filtering {
                        m.u8(BR_VLAN_FILTERING, 1);
                    }
                    if link.no_snooping {
                        m.u8(BR_MCAST_SNOOPING, 0);
                    }
                });
            }
        }),
        Kind::Device(device) => m.nest(libc::IFLA_LINKINFO, |m| device.write(m)),
        Kind::Veth(peer) => m.nest(libc::IFLA_LINKINFO, |m| {
            m.attr(libc::IFLA_INFO_KIND, b"veth");
            m.nest(libc::IFLA_INFO_DATA, |m| m.nest(VETH_INFO_PEER, |m| link_body(m, peer)));
        }),
    }
    if let Some(port) = link.port {
        m.nest(libc::IFLA_LINKINFO, |m| {
            m.attr(libc::IFLA_INFO_SLAVE_KIND, b"bridge");
            m.nest(libc::IFLA_INFO_SLAVE_DATA, |m| {
                if let Some(on) = port.hairpin {
                    m.u8(BRPORT_MODE, on.into());
                }
                if let Some(on) = port.isolated {
                    m.u8(BRPORT_ISOLATED, on.into());
                }
            });
        });
    }
}

/// linux/veth.h: VETH_INFO_PEER. Neither libc nor linux-raw-sys has it.
pub(crate) const VETH_INFO_PEER: u16 = 1;
const BR_VLAN_FILTERING: u16 = raw::IFLA_BR_VLAN_FILTERING as u16;
const OPER_UP: u8 = linux_raw_sys::net::IF_OPER_UP as u8;
const BR_MCAST_SNOOPING: u16 = raw::IFLA_BR_MCAST_SNOOPING as u16;
const BRPORT_STATE: u16 = raw::IFLA_BRPORT_STATE as u16;
const BRPORT_MODE: u16 = raw::IFLA_BRPORT_MODE as u16;
/// linux/if_bridge.h.
const BR_STATE_FORWARDING: u8 = 3;
const BRPORT_ISOLATED: u16 = raw::IFLA_BRPORT_ISOLATED as u16;

fn ifinfo(index: u32, flags: u32, change: u32) -> [u8; IFINFOMSG] {
    let mut body = [0; IFINFOMSG];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..16].copy_from_slice(&change.to_ne_bytes());
    body
}

fn ip_attr(m: &mut Msg<'_>, kind: u16, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => m.attr(kind, &ip.octets()),
        IpAddr::V6(ip) => m.attr(kind, &ip.octets()),
    }
}

fn family(ip: IpAddr) -> u8 {
    (if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

/// What an RTM_NEWLINK of the kernel says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkInfo {
    /// AF_UNSPEC for a link, AF_BRIDGE for a bridge's view of a port.
    pub family: u8,
    /// Index.
    pub index: u32,
    /// IFF_UP and the like.
    pub flags: u32,
    /// Name.
    pub name: String,
    /// Link-layer address, where it has six bytes.
    pub mac: Option<[u8; 6]>,
    /// Bytes.
    pub mtu: u32,
    /// IFLA_TXQLEN: packets.
    pub txqlen: u32,
    /// Index of its master.
    pub master: Option<u32>,
    /// Index of a veth's other end, or of the link below; in the namespace `peer_netns`.
    pub link: Option<u32>,
    /// IFLA_LINK_NETNSID: the id of the namespace that `link` counts in.
    pub peer_netns: Option<u32>,
    /// IFLA_IFALIAS.
    pub alias: Option<String>,
    /// IFLA_INFO_KIND.
    pub kind: Option<String>,
    /// What its kind says of it, where that kind is known here.
    pub device: Option<Device>,
    /// What it is as a bridge's port.
    pub port: Port,
    /// Whether the bridge passes on what comes in by it; `None` for what is no port.
    pub forwards: Option<bool>,
    /// IFLA_OPERSTATE is UP: the kernel has heard of its carrier, and what is sent isn't dropped
    /// any more.
    pub operates: bool,
    /// Of a bridge: whether its ports carry the VLANs alone that they are given.
    pub vlan_filtering: bool,
    /// Some of its sysctls.
    pub switches: Switches,
}

impl LinkInfo {
    /// Reads a message, if it is an RTM_NEWLINK.
    pub fn read(message: &Message<'_>) -> Option<LinkInfo> {
        if message.kind != libc::RTM_NEWLINK {
            return None;
        }
        let body = message.body;
        let mut info = LinkInfo {
            family: *body.first()?,
            index: u32_of(body.get(4..)?)?,
            flags: u32_of(body.get(8..)?)?,
            ..LinkInfo::default()
        };
        for (kind, payload) in message.attrs(IFINFOMSG) {
            match kind {
                libc::IFLA_IFNAME => info.name = text_of(payload),
                libc::IFLA_ADDRESS => info.mac = payload.try_into().ok(),
                libc::IFLA_MTU => info.mtu = u32_of(payload).unwrap_or(0),
                libc::IFLA_TXQLEN => info.txqlen = u32_of(payload).unwrap_or(0),
                libc::IFLA_MASTER => info.master = u32_of(payload),
                libc::IFLA_LINK => info.link = u32_of(payload),
                libc::IFLA_LINK_NETNSID => info.peer_netns = u32_of(payload),
                libc::IFLA_OPERSTATE => info.operates = payload.first() == Some(&OPER_UP),
                libc::IFLA_IFALIAS => info.alias = Some(text_of(payload)),
                libc::IFLA_LINKINFO => info.read_kind(attrs(payload)),
                // A bridge's view of a port has VLANs there.
                libc::IFLA_AF_SPEC if info.family == libc::AF_UNSPEC as u8 => {
                    info.switches = Switches::read(&attrs(payload));
                }
                _ => {}
            }
        }
        Some(info)
    }

    fn read_kind(&mut self, info: Attrs<'_>) {
        self.kind = info.find(libc::IFLA_INFO_KIND).map(text_of);
        let data = attrs(info.find(libc::IFLA_INFO_DATA).unwrap_or(&[]));
        self.device = self.kind.as_deref().and_then(|kind| Device::read(kind, &data));
        self.vlan_filtering = self.kind.as_deref() == Some("bridge")
            && data.find(BR_VLAN_FILTERING).is_some_and(|on| on.first() == Some(&1));
        if info.find(libc::IFLA_INFO_SLAVE_KIND).is_some_and(|k| text_of(k) == "bridge") {
            let data = attrs(info.find(libc::IFLA_INFO_SLAVE_DATA).unwrap_or(&[]));
            let bit = |kind| data.find(kind).and_then(|b| b.first()).map(|b| *b != 0);
            self.forwards =
                data.find(BRPORT_STATE).map(|state| state.first() == Some(&BR_STATE_FORWARDING));
            self.port = Port { hairpin: bit(BRPORT_MODE), isolated: bit(BRPORT_ISOLATED) };
        }
    }

    /// Whether it is administratively up.
    pub fn up(&self) -> bool {
        self.flags & libc::IFF_UP as u32 != 0
    }
}
