//! The kinds of objects that a plan is made of. Each says what it is; how it
//! is found, made, compared and dropped is one file each beside this one.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use podkeel_wire::rt::LinkInfo;
use serde::{Deserialize, Serialize};

use super::device::{Device, Lent};
use crate::ipam::Lease;
use crate::kernel::forward;
use crate::kernel::ruleset::{Entry, Terms};
use crate::kernel::sysctl::dotted;
use crate::request::{Mac, Vlan};

/// A kernel object (or a file, for a lease), by name. Never an index: names
/// are what a record can carry over a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Object {
    /// An address of a range, claimed by a file.
    Lease(Lease),
    /// A bridge.
    Bridge(Bridge),
    /// Both ends of a pair of Ethernet devices.
    Veth(Veth),
    /// A link by itself.
    Device(Device),
    /// A link of the host's, in the pod.
    Lent(Lent),
    /// A mount that keeps the pod's namespace after its last process: what is lent to the
    /// pod would die with it.
    Pin {
        /// The directory of pins.
        dir: PathBuf,
        /// Its name there.
        name: String,
    },
    /// A link in its master: a port of a bridge, a member of a routing domain.
    Member {
        /// The link.
        link: String,
        /// Its master.
        master: String,
    },
    /// Who has an address, on a link where nobody is asked.
    Neigh {
        /// The link.
        link: String,
        /// The address: a neighbour's, or for `fdb` the host's that frames are sent to.
        ip: IpAddr,
        /// Its link-layer address.
        mac: Mac,
        /// Whether it is of the link's forwarding table.
        fdb: bool,
    },
    /// Neighbours are told that the addresses of a link are there now.
    Announced {
        /// The link.
        link: String,
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
    /// What a bridge's port carries, of all VLANs.
    Vlans {
        /// The port.
        link: String,
        /// The VLANs.
        tags: Vec<Vlan>,
        /// Whether VLAN 1, which the kernel gives every port, stays.
        default: bool,
    },
    /// A VLAN of a bridge that the host has a part in.
    OwnVlan {
        /// The bridge.
        link: String,
        /// The VLAN.
        id: u16,
    },
    /// A link that is up.
    Up {
        /// The link.
        link: String,
    },
    /// An address on a link.
    Addr {
        /// The link.
        link: String,
        /// The address with its subnet's prefix length.
        address: IpNet,
        /// Whether the kernel makes the subnet's route with it.
        #[serde(default = "yes")]
        route: bool,
        /// IPv6: whether the kernel asks around before the address is used.
        #[serde(default)]
        dad: bool,
    },
    /// IPv6 addresses of a link that nobody else has, after the kernel has asked around.
    Settled {
        /// The link.
        link: String,
    },
    /// An address that a link must not have.
    NoAddr {
        /// The link.
        link: String,
        /// The address.
        address: IpNet,
    },
    /// A route.
    Route {
        /// The link that it leads over.
        link: String,
        /// Destination.
        dst: IpNet,
        /// Next hop; `None` = on the link.
        via: Option<IpAddr>,
        /// What else is said of it.
        #[serde(default, skip_serializing_if = "RouteAttrs::is_empty")]
        attrs: RouteAttrs,
    },
    /// A setting of a link.
    LinkAttr {
        /// The link.
        link: String,
        /// Which.
        attr: LinkAttr,
        /// Its value.
        value: String,
    },
    /// A sysctl.
    Sysctl {
        /// Its path below /proc/sys.
        path: Vec<String>,
        /// The value.
        value: String,
    },
    /// A link on which packets of 127.0.0.0/8 are let through: route_localnet. Only ever
    /// with [`Object::Ruleset`], whose first chain drops what comes from elsewhere.
    Localnet {
        /// The link.
        link: String,
    },
    /// The chains of iptables' filter table that accepts go into, and the jump to them.
    Forward {
        /// Of ip6tables.
        v6: bool,
        /// Name of the chain of the administrator's own rules.
        admin: String,
    },
    /// What an address sends, and what answers it, is let through iptables' FORWARD.
    Accepted(IpAddr),
    /// Our nftables table of what bridges forward.
    Guard,
    /// A port of a bridge from which frames with this source address alone go on.
    Sender {
        /// The port.
        link: String,
        /// The address.
        mac: Mac,
    },
    /// Our nftables table with its chains, sets and rules.
    Ruleset,
    /// The table's chains and maps of ports that are published on terms.
    Terms(Terms),
    /// An element of one of the table's sets or maps.
    Entry(Entry),
}

fn yes() -> bool {
    true
}

/// What may be said of a route beside where it leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteAttrs {
    /// Bytes.
    pub mtu: Option<u32>,
    /// Bytes.
    pub advmss: Option<u32>,
    /// Metric.
    pub priority: Option<u32>,
    /// The table; `None` = main.
    pub table: Option<u32>,
    /// RT_SCOPE_*; `None` = by whether there is a next hop.
    pub scope: Option<u32>,
    /// The next hop is on the link, whatever the link's addresses say.
    pub onlink: bool,
}

impl RouteAttrs {
    fn is_empty(&self) -> bool {
        *self == RouteAttrs::default()
    }
}

/// A setting of a link that can be changed and put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkAttr {
    /// The link-layer address.
    Mac,
    /// Bytes.
    Mtu,
    /// IFF_PROMISC, 0 or 1.
    Promisc,
    /// IFF_ALLMULTI, 0 or 1.
    Allmulti,
    /// Length of the transmit queue, packets.
    Txqlen,
}

impl LinkAttr {
    /// What it is on a link now.
    pub fn of(self, link: &LinkInfo) -> String {
        let flag = |bit: i32| u8::from(link.flags & bit as u32 != 0).to_string();
        match self {
            LinkAttr::Mac => link.mac.map(|mac| Mac(mac).to_string()).unwrap_or_default(),
            LinkAttr::Mtu => link.mtu.to_string(),
            LinkAttr::Promisc => flag(libc::IFF_PROMISC),
            LinkAttr::Allmulti => flag(libc::IFF_ALLMULTI),
            LinkAttr::Txqlen => link.txqlen.to_string(),
        }
    }

    /// Its name in `ip link`.
    pub fn name(self) -> &'static str {
        match self {
            LinkAttr::Mac => "address",
            LinkAttr::Mtu => "mtu",
            LinkAttr::Promisc => "promisc",
            LinkAttr::Allmulti => "allmulticast",
            LinkAttr::Txqlen => "txqueuelen",
        }
    }
}

/// A bridge, as we make it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// Set, so that it stays when ports come and go.
    pub mac: Mac,
    /// Bytes.
    pub mtu: Option<u32>,
    /// IFF_PROMISC.
    pub promisc: bool,
    /// Its ports carry the VLANs alone that they are given.
    #[serde(default)]
    pub vlan_filtering: bool,
}

/// A pair of Ethernet devices: one end here, the other in the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veth {
    /// Name of the end on the host.
    pub name: String,
    /// Its link-layer address.
    pub mac: Mac,
    /// Bytes, of both ends.
    pub mtu: Option<u32>,
    /// That of the pod's end, where it is to be found with another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_mtu: Option<u32>,
    /// The bridge that the host's end is a port of; empty = of none.
    pub master: String,
    /// The bridge's link-layer address, where somebody else's is to keep the one that it has
    /// by chance: its lowest port's would go with that port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_mac: Option<Mac>,
    /// IFLA_BRPORT_MODE.
    pub hairpin: bool,
    /// IFLA_BRPORT_ISOLATED.
    pub isolated: bool,
    /// The host's end has no link-local address, and no IPv6 as long as nobody turns it on: of a
    /// port, nobody could use it.
    #[serde(default)]
    pub no_link_local: bool,
    /// Name of the end in the pod.
    pub peer: String,
    /// Its link-layer address.
    pub peer_mac: Mac,
}

/// Which namespace an object is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Where netsetup runs.
    Host,
    /// The container's.
    Pod,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Host => "host",
            Side::Pod => "pod",
        })
    }
}

impl Object {
    /// The name by which holders of a shared object count themselves.
    pub fn key(&self) -> String {
        match self {
            Object::Bridge(bridge) => format!("bridge:{}", bridge.name),
            Object::Device(device) => device.key(),
            Object::Ruleset => "ruleset".into(),
            Object::Guard => "guard".into(),
            Object::Forward { v6, .. } => Object::forward_key(*v6),
            Object::Localnet { link } => format!("localnet:{link}"),
            Object::Terms(terms) => terms.key(),
            Object::Addr { link, address, .. } => format!("addr:{link}:{address}"),
            Object::Entry(Entry::Own(net)) => format!("own:{net}"),
            Object::Entry(Entry::Across { from, to }) => format!("own:{from}:{to}"),
            other => other.to_string(),
        }
    }

    /// The key of a family's [`Object::Forward`].
    pub fn forward_key(v6: bool) -> String {
        format!("forward:{}", forward::command(v6))
    }

    /// The sysctl of an [`Object::Localnet`].
    pub fn localnet(link: &str) -> Vec<String> {
        ["net", "ipv4", "conf", link, "route_localnet"].map(str::to_owned).to_vec()
    }

    /// Whether it is something that is set, not something that is made.
    pub fn is_switch(&self) -> bool {
        matches!(
            self,
            Object::Up { .. }
                | Object::Sysctl { .. }
                | Object::LinkAttr { .. }
                | Object::NoAddr { .. }
                | Object::Localnet { .. }
        )
    }

    /// The link that it is on, and so the link that it dies with.
    pub fn link(&self) -> Option<&str> {
        match self {
            Object::Up { link }
            | Object::Vlans { link, .. }
            | Object::OwnVlan { link, .. }
            | Object::Addr { link, .. }
            | Object::Settled { link }
            | Object::NoAddr { link, .. }
            | Object::Route { link, .. }
            | Object::Member { link, .. }
            | Object::Neigh { link, .. }
            | Object::Announced { link, .. }
            | Object::Localnet { link }
            | Object::LinkAttr { link, .. } => Some(link),
            // net.ipv4.conf.eth0.forwarding
            Object::Sysctl { path, .. } if path.len() == 5 && path[2] == "conf" => Some(&path[3]),
            _ => None,
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Object::Lease(lease) => {
                write!(f, "lease {} for {}/{}", lease.ip, lease.id, lease.ifname)
            }
            Object::Bridge(bridge) => write!(f, "bridge {}", bridge.name),
            Object::Veth(veth) if veth.master.is_empty() => {
                write!(f, "veth {} with peer {} in the pod", veth.name, veth.peer)
            }
            Object::Veth(veth) => write!(
                f,
                "veth {} on {} with peer {} in the pod",
                veth.name, veth.master, veth.peer
            ),
            Object::Device(device) => write!(f, "{device}"),
            Object::Lent(lent) => write!(f, "{lent}"),
            Object::Pin { dir, name } => {
                write!(f, "pin of the pod's namespace at {}", dir.join(name).display())
            }
            Object::Member { link, master } => write!(f, "link {link} in {master}"),
            Object::Neigh { link, ip, mac, fdb: false } => {
                write!(f, "neighbour {ip} lladdr {mac} dev {link}")
            }
            Object::Neigh { link, ip, mac, fdb: true } => {
                write!(f, "fdb {mac} dst {ip} dev {link}")
            }
            Object::Announced { link, .. } => write!(f, "neighbours of {link} told of it"),
            Object::Vlans { link, tags, default } => {
                let tags: Vec<String> = tags.iter().map(Vlan::to_string).collect();
                let rest = if *default { "" } else { ", not the default one" };
                write!(f, "VLANs of {link}: {}{rest}", tags.join(", "))
            }
            Object::OwnVlan { link, id } => write!(f, "VLAN {id} of bridge {link} itself"),
            Object::Up { link } => write!(f, "link {link} up"),
            Object::Addr { link, address, .. } => write!(f, "address {address} dev {link}"),
            Object::Settled { link } => write!(f, "addresses of {link} that nobody else has"),
            Object::NoAddr { link, address } => write!(f, "no address {address} dev {link}"),
            Object::LinkAttr { link, attr, value } => {
                write!(f, "link {link} {} {value}", attr.name())
            }
            Object::Route { link, dst, via, attrs } => {
                let dst =
                    if dst.prefix_len() == 0 { "default".to_owned() } else { dst.to_string() };
                match via {
                    Some(via) => write!(f, "route {dst} via {via} dev {link}")?,
                    None => write!(f, "route {dst} dev {link}")?,
                }
                match attrs.table {
                    Some(table) => write!(f, " table {table}"),
                    None => Ok(()),
                }
            }
            Object::Sysctl { path, value } => write!(f, "sysctl {}={value}", dotted(path)),
            Object::Localnet { link } => write!(f, "link {link} carries 127.0.0.0/8"),
            Object::Guard => f.write_str("nftables table bridge podkeel"),
            Object::Sender { link, mac } => write!(f, "guard of {link}, which sends from {mac}"),
            Object::Forward { v6, .. } => {
                write!(f, "chains for accepts in {}' FORWARD", forward::command(*v6))
            }
            Object::Accepted(ip) => {
                write!(f, "accepts of {ip} in {}' FORWARD", forward::command(ip.is_ipv6()))
            }
            Object::Ruleset => f.write_str("nftables table inet podkeel"),
            Object::Terms(terms) => write!(f, "{terms}"),
            Object::Entry(entry) => write!(f, "{entry}"),
        }
    }
}
