//! Links by themselves: made in the pod, made on the host for many pods, or lent by the
//! host to one pod.

use std::fmt;
use std::net::IpAddr;

use podkeel_wire::rt;
use serde::{Deserialize, Serialize};

use super::object::Side;
use crate::conf::{BondMode, IpvlanMode, MacvlanMode, Tap};
use crate::request::Mac;

/// A link by itself, as we make it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its link-layer address, unless it takes its parent's or the kernel's choice.
    pub mac: Option<Mac>,
    /// Bytes; `None` = the kernel's choice, which is mostly the parent's.
    pub mtu: Option<u32>,
    /// The link that it stands on.
    pub parent: Option<Parent>,
    /// What it is.
    pub kind: DeviceKind,
}

/// The link that another stands on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub at: Side,
    /// Its link-layer address, which some kinds take over.
    pub mac: Option<Mac>,
}

/// Kinds of links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// See `ip-link(8)`, as for the others.
    Macvlan {
        /// Whom it reaches.
        mode: MacvlanMode,
        /// Broadcasts that may wait.
        queue: Option<u32>,
    },
    /// Shares its parent's address.
    Ipvlan {
        /// On which layer.
        mode: IpvlanMode,
    },
    /// Frames with one tag.
    Vlan {
        /// The tag.
        id: u16,
    },
    /// Leads nowhere.
    Dummy,
    /// Leads to a program.
    Tap(Tap),
    /// A routing domain.
    Vrf {
        /// Its table.
        table: u32,
        /// The cookie of the pod's namespace: it is shared in there, by name. An inode number
        /// would be a later pod's, too, whose domain those of the dead one then held.
        netns: u64,
    },
    /// Several links of one Ethernet as one.
    Bond {
        /// How frames are spread over them.
        mode: BondMode,
        /// Milliseconds between two looks at their carriers.
        miimon: u32,
    },
    /// A tunnel end.
    Vxlan {
        /// The network.
        id: u32,
        /// UDP port.
        port: u16,
        /// The host's own address.
        local: IpAddr,
        /// It learns who is where.
        learning: bool,
    },
}

/// A link of the host's own that is in the pod for as long as the attachment lives.
///
/// Its mark is on it in the pod alone: what wears a mark on the host is ours to delete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lent {
    /// Its name on the host.
    pub from: String,
    /// Its name in the pod.
    pub to: String,
    /// Its link-layer address on the host.
    pub mac: Option<Mac>,
    /// Its alias on the host.
    pub alias: Option<String>,
    /// Whether it was up there.
    pub up: bool,
}

impl Device {
    /// The name by which its holders count themselves.
    pub(super) fn key(&self) -> String {
        match self.kind {
            DeviceKind::Vrf { netns, .. } => format!("vrf:{netns}:{}", self.name),
            _ => Device::shared_key(&self.name),
        }
    }

    /// The same of a link of the host's.
    pub fn shared_key(name: &str) -> String {
        format!("link:{name}")
    }

    /// The link-layer address that it has, where that is known beforehand.
    pub fn address(&self) -> Option<Mac> {
        self.mac.or_else(|| self.parent.as_ref().and_then(|parent| parent.mac))
    }

    /// What the kernel is told of its kind; `None` for a tap, which no message can make.
    pub(super) fn wire(&self) -> Option<rt::Device> {
        Some(match self.kind {
            DeviceKind::Macvlan { mode, queue } => {
                rt::Device::Macvlan { mode: mode.number(), queue }
            }
            DeviceKind::Ipvlan { mode } => rt::Device::Ipvlan { mode: mode.number() },
            DeviceKind::Vlan { id } => rt::Device::Vlan { id },
            DeviceKind::Dummy => rt::Device::Dummy,
            DeviceKind::Vrf { table, .. } => rt::Device::Vrf { table },
            DeviceKind::Bond { mode, miimon } => rt::Device::Bond { mode: mode.number(), miimon },
            DeviceKind::Vxlan { id, port, local, learning } => {
                rt::Device::Vxlan(rt::Vxlan { id, port, local, learning })
            }
            DeviceKind::Tap(_) => return None,
        })
    }

    /// How a link that is there differs from it in what its kind says.
    pub(super) fn differs(&self, link: &rt::LinkInfo) -> Option<String> {
        let kind = link.kind.as_deref().unwrap_or("device of its own kind");
        if kind != self.kind.name() {
            return Some(format!("it is a {kind}, not a {}", self.kind.name()));
        }
        let is = link.device?;
        let same = match (&self.kind, is) {
            (DeviceKind::Macvlan { mode, queue }, rt::Device::Macvlan { mode: is, queue: has }) => {
                mode.number() == is && (queue.is_none() || *queue == has)
            }
            (DeviceKind::Tap(tap), rt::Device::Tun { owner, group, multi_queue }) => {
                (tap.owner, tap.group, tap.multi_queue) == (owner, group, multi_queue)
            }
            _ => self.wire() == Some(is),
        };
        (!same).then(|| "its settings are others".to_owned())
    }
}

impl DeviceKind {
    /// The kernel's name for it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            DeviceKind::Macvlan { .. } => "macvlan",
            DeviceKind::Ipvlan { .. } => "ipvlan",
            DeviceKind::Vlan { .. } => "vlan",
            DeviceKind::Dummy => "dummy",
            DeviceKind::Tap(_) => "tun",
            DeviceKind::Vrf { .. } => "vrf",
            DeviceKind::Bond { .. } => "bond",
            DeviceKind::Vxlan { .. } => "vxlan",
        }
    }

    /// What people call it.
    pub fn shown(&self) -> &'static str {
        match self {
            DeviceKind::Tap(_) => "tap",
            kind => kind.name(),
        }
    }

    /// Its settings as `ip link` says them; empty where it has none.
    pub fn settings(&self) -> String {
        match self {
            DeviceKind::Macvlan { mode, .. } => format!("mode {}", mode.name()),
            DeviceKind::Ipvlan { mode } => format!("mode {}", mode.name()),
            DeviceKind::Vlan { id } => format!("id {id}"),
            DeviceKind::Vrf { table, .. } => format!("table {table}"),
            DeviceKind::Bond { mode, .. } => format!("mode {}", mode.name()),
            DeviceKind::Vxlan { id, port, local, .. } => {
                format!("id {id} local {local} dstport {port}")
            }
            DeviceKind::Tap(Tap { bridge: Some(bridge), .. }) => format!("on {bridge}"),
            DeviceKind::Dummy | DeviceKind::Tap(_) => String::new(),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.shown(), self.name)?;
        match self.kind.settings().as_str() {
            "" => {}
            settings => write!(f, " {settings}")?,
        }
        match &self.parent {
            Some(parent) => write!(f, " on {} of the {}", parent.name, parent.at),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {} of the host as {}", self.from, self.to)
    }
}
