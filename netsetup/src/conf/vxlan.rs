//! The `vxlan` plugin: a bridge of pods on each of several hosts, and a tunnel end that
//! knows beforehand who is behind which host.
//!
//! ```text
//! {"type": "vxlan", "id": 42, "bridge": "pk42",
//!  "remotes": [{"host": "192.0.2.1", "subnets": ["10.42.1.0/24"]},
//!              {"host": "192.0.2.2", "subnets": ["10.42.2.0/24"]}], ...}
//! ```

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    bridge::{self, Bridge},
    interface::read_ifname,
    ipam::read_net,
    json::{Fault, Node, Object, Parsed},
};
use crate::request::Mac;

/// What the vxlan plugin was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// The bridge that this host's pods are on: the bridge plugin's keys.
    pub bridge: Bridge,
    /// The tunnel end's name on the host: `vxlan` and the id.
    pub device: String,
    /// The network's number, 1 to 2^24 - 1 (VNI, RFC 7348).
    pub id: u32,
    /// UDP port of all hosts.
    pub port: u16,
    /// This host's own address; `None` = the one of `remotes` that it has.
    pub local: Option<IpAddr>,
    /// The hosts. One may be this one: the same list serves all of them.
    pub remotes: Vec<Remote>,
    /// The tunnel end believes its list alone.
    pub nolearning: bool,
}

/// A host of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its address, which frames are sent to.
    pub host: IpAddr,
    /// What its pods have.
    pub subnets: Vec<IpNet>,
    /// The link-layer address of its tunnel end; `None` = the one that podkeel gives it.
    pub mac: Option<Mac>,
}

/// IANA's port for VXLAN.
const PORT: u16 = 4789;
/// 24 bits.
const ID_MAX: u32 = (1 << 24) - 1;

pub(super) fn read(plugin: &Object, version: &str) -> Parsed<Vxlan> {
    let id = match plugin.number("id")? {
        Some(id) if (1..=ID_MAX).contains(&id) => id,
        Some(id) => {
            let why = format!("{id} is not from 1 to {ID_MAX}");
            return Err(Fault::input(&plugin.at("id"), why));
        }
        None => return Err(Fault::input(&plugin.at("id"), "is missing: the network's number")),
    };
    let port = match plugin.number("port")? {
        None => PORT,
        Some(port) => u16::try_from(port).ok().filter(|port| *port != 0).ok_or_else(|| {
            Fault::input(&plugin.at("port"), format_args!("{port} is not from 1 to 65535"))
        })?,
    };
    let local = plugin.get("local").map(|node| read_host(&node)).transpose()?;
    let remotes: Vec<Remote> =
        plugin.array("remotes")?.iter().map(read_remote).collect::<Parsed<_>>()?;
    check_remotes(plugin, local, &remotes)?;
    let mut bridge = bridge::read(plugin, version)?;
    if plugin.get("bridge").is_none() {
        bridge.bridge = format!("pkvx{id}");
    }
    // The host is the way to the other hosts' pods.
    bridge.is_gateway = true;
    let device = read_ifname(plugin, "vxlan")?.unwrap_or_else(|| format!("vxlan{id}"));
    let nolearning = plugin.flag("nolearning", true)?;
    Ok(Vxlan { bridge, device, id, port, local, remotes, nolearning })
}

fn read_host(node: &Node) -> Parsed<IpAddr> {
    let ip = node.parse::<IpAddr>("an address")?.to_canonical();
    if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() {
        return Err(node.fault(format_args!("{ip} is not a host's address")));
    }
    Ok(ip)
}

fn read_remote(node: &Node) -> Parsed<Remote> {
    let remote = node.object()?;
    let Some(host) = remote.get("host") else {
        return Err(Fault::input(&remote.at("host"), "is missing"));
    };
    let subnets: Vec<IpNet> =
        remote.array("subnets")?.iter().map(read_net).collect::<Parsed<_>>()?;
    if subnets.is_empty() {
        return Err(Fault::input(&remote.at("subnets"), "is missing: what its pods have"));
    }
    let mac = remote.text("mac")?.map(|text| {
        let mac: Result<Mac, String> = text.parse().and_then(Mac::unicast);
        mac.map_err(|why| Fault::input(&remote.at("mac"), format_args!("{text:?}: {why}")))
    });
    Ok(Remote { host: read_host(&host)?, subnets, mac: mac.transpose()? })
}

/// One tunnel end has one family, and a packet one way.
fn check_remotes(plugin: &Object, local: Option<IpAddr>, remotes: &[Remote]) -> Parsed<()> {
    let path = plugin.at("remotes");
    if remotes.is_empty() {
        return Err(Fault::input(&path, "is missing: the hosts of the network"));
    }
    let family = local.unwrap_or(remotes[0].host).is_ipv4();
    for (i, remote) in remotes.iter().enumerate() {
        let host = remote.host;
        if host.is_ipv4() != family {
            return Err(Fault::input(&path, format_args!("{host} is of the other family")));
        }
        if remotes[..i].iter().any(|other| other.host == host) {
            return Err(Fault::input(&path, format_args!("{host} is named twice")));
        }
        let overlaps = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
        for net in &remote.subnets {
            let other = |r: &Remote| r.subnets.iter().any(|other| overlaps(other, net));
            if let Some(other) = remotes[..i].iter().find(|r| other(r)) {
                let why = format!("{net} of {host} overlaps a subnet of {}", other.host);
                return Err(Fault::input(&path, why));
            }
        }
    }
    Ok(())
}
