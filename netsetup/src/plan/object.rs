//! The kinds of objects that a plan is made of. Each says what it is; how it
//! is found, made, compared and dropped is one file each beside this one.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::ipam::Lease;
use crate::kernel::ruleset::Entry;
use crate::kernel::sysctl::dotted;
use crate::request::Mac;

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
    },
    /// A route of the main table.
    Route {
        /// The link that it leads over.
        link: String,
        /// Destination.
        dst: IpNet,
        /// Next hop; `None` = on the link.
        via: Option<IpAddr>,
    },
    /// A sysctl.
    Sysctl {
        /// Its path below /proc/sys.
        path: Vec<String>,
        /// The value.
        value: String,
    },
    /// Our nftables table with its chains, sets and rules.
    Ruleset,
    /// An element of one of the table's sets or maps.
    Entry(Entry),
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
    /// The bridge that the host's end is a port of.
    pub master: String,
    /// IFLA_BRPORT_MODE.
    pub hairpin: bool,
    /// IFLA_BRPORT_ISOLATED.
    pub isolated: bool,
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
            Object::Ruleset => "ruleset".into(),
            Object::Addr { link, address } => format!("addr:{link}:{address}"),
            Object::Entry(Entry::Own(net)) => format!("own:{net}"),
            other => other.to_string(),
        }
    }

    /// The link that it is on, and so the link that it dies with.
    pub fn link(&self) -> Option<&str> {
        match self {
            Object::Up { link } | Object::Addr { link, .. } | Object::Route { link, .. } => {
                Some(link)
            }
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
            Object::Veth(veth) => write!(
                f,
                "veth {} on {} with peer {} in the pod",
                veth.name, veth.master, veth.peer
            ),
            Object::Up { link } => write!(f, "link {link} up"),
            Object::Addr { link, address } => write!(f, "address {address} dev {link}"),
            Object::Route { link, dst, via } => {
                let dst =
                    if dst.prefix_len() == 0 { "default".to_owned() } else { dst.to_string() };
                match via {
                    Some(via) => write!(f, "route {dst} via {via} dev {link}"),
                    None => write!(f, "route {dst} dev {link}"),
                }
            }
            Object::Sysctl { path, value } => write!(f, "sysctl {}={value}", dotted(path)),
            Object::Ruleset => f.write_str("nftables table inet podkeel"),
            Object::Entry(entry) => write!(f, "{entry}"),
        }
    }
}
