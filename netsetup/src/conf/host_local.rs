//! The `host-local` address manager: leases from ranges, kept on this host.

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::{Fault, Node, Object, Parsed};
use crate::ipam::{Range, RangeSet};

/// Where a pod's addresses come from, and the routes that go with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLocal {
    /// A pod gets one address of each set. Never empty, and no set is; the
    /// ranges of a set are of one family, and no two ranges overlap.
    pub sets: Vec<RangeSet>,
    /// Routes in the pod.
    pub routes: Vec<Route>,
    /// Where leases are kept, instead of the root that all networks share. Absolute.
    pub data_dir: Option<PathBuf>,
}

/// A route in the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The destination, without host bits.
    pub dst: IpNet,
    /// The next hop; `None` = the gateway of the pod's address of that family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
    /// The route's mtu, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The largest segment that TCP announces on it, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// The route's priority (metric); a lower one wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
}

/// Reads `ipam` of a plugin. Absent or without anything in it = no addresses.
pub(super) fn read(plugin: &Object, cni_version: &str) -> Parsed<Option<HostLocal>> {
    let Some(ipam) = plugin.object("ipam")? else { return Ok(None) };
    match ipam.text("type")? {
        Some("host-local") => {}
        Some(kind) => {
            let why = format!("{kind:?} is not an address manager that podkeel has: host-local");
            return Err(Fault::unsupported(&ipam.at("type"), why));
        }
        None if ipam.is_empty() || ipam.string("type")?.is_some() => return Ok(None),
        None => return Err(Fault::input(&ipam.at("type"), "is missing")),
    }
    ipam.refuse("resolvConf", Value::Null)?;
    let sets = read_sets(&ipam, cni_version)?;
    let mut routes: Vec<Route> = Vec::new();
    for node in ipam.array("routes")? {
        let route = read_route(&node.object()?)?;
        if routes.iter().any(|r| r.dst == route.dst) {
            return Err(node.fault(format_args!("a second route to {}", route.dst)));
        }
        routes.push(route);
    }
    let data_dir = ipam.text("dataDir")?.map(PathBuf::from);
    if let Some(dir) = data_dir.as_ref().filter(|dir| !dir.is_absolute()) {
        return Err(Fault::input(
            &ipam.at("dataDir"),
            format_args!("{dir:?} is not an absolute path"),
        ));
    }
    Ok(Some(HostLocal { sets, routes, data_dir }))
}

/// A range, and where it stands in the text.
type Placed = (String, Range);

fn read_sets(ipam: &Object, cni_version: &str) -> Parsed<Vec<RangeSet>> {
    let mut sets: Vec<Vec<Placed>> = Vec::new();
    // The older form, one range flat in `ipam`, comes before `ranges`.
    if ipam.get("subnet").is_some() {
        sets.push(vec![(ipam.at("subnet"), read_range(ipam)?)]);
    } else if let Some(stray) =
        ["rangeStart", "rangeEnd", "gateway"].iter().find_map(|key| ipam.get(key))
    {
        return Err(stray.fault("stands without a subnet"));
    }
    for set in ipam.array("ranges")? {
        sets.push(read_set(&set)?);
    }
    if sets.is_empty() {
        return Err(Fault::input(&ipam.at("ranges"), "is missing: host-local needs a subnet"));
    }
    refuse_overlaps(&sets)?;
    // One address a family is all that a result could say before 0.3.0.
    let v6 = sets.iter().filter(|set| set[0].1.subnet.addr().is_ipv6()).count();
    if matches!(cni_version, "0.1.0" | "0.2.0") && (v6 > 1 || sets.len() - v6 > 1) {
        let why = format!(
            "cniVersion {cni_version} has room for one address of a family; write \"1.0.0\""
        );
        return Err(Fault::input(&ipam.at("ranges"), why));
    }
    Ok(sets.into_iter().map(|set| set.into_iter().map(|(_, range)| range).collect()).collect())
}

fn read_set(node: &Node) -> Parsed<Vec<Placed>> {
    let mut set: Vec<Placed> = Vec::new();
    for item in node.array()? {
        let range = read_range(&item.object()?)?;
        if let Some((first, other)) = set.first()
            && other.subnet.addr().is_ipv4() != range.subnet.addr().is_ipv4()
        {
            return Err(item.fault(format_args!(
                "{} is not of the family of {first}, {}",
                range.subnet, other.subnet
            )));
        }
        set.push((item.path.clone(), range));
    }
    if set.is_empty() {
        return Err(node.fault("is empty: a set needs a range"));
    }
    Ok(set)
}

fn refuse_overlaps(sets: &[Vec<Placed>]) -> Parsed<()> {
    let all: Vec<&Placed> = sets.iter().flatten().collect();
    for (i, (path, range)) in all.iter().enumerate() {
        for (earlier, other) in &all[..i] {
            // IpAddr orders every IPv4 address before every IPv6 one, so two
            // families can never overlap here.
            if range.start <= other.end && other.start <= range.end {
                let why = format!(
                    "{}-{} overlaps {earlier}, {}-{}",
                    range.start, range.end, other.start, other.end
                );
                return Err(Fault::input(path, why));
            }
        }
    }
    Ok(())
}

/// Reads one range and fills in what it leaves out, as the reference does: from
/// network + 1 to the last address (of IPv4 the last before the broadcast
/// address), gateway network + 1.
///
/// Unlike the reference, the network's own address and IPv4's broadcast address
/// are taken out of a range that names them: podman writes ranges that end with
/// the broadcast address, and a pod that leased it would be deaf. A gateway
/// outside of the subnet is accepted, as it is there.
fn read_range(range: &Object) -> Parsed<Range> {
    let Some(node) = range.get("subnet") else {
        return Err(Fault::input(&range.at("subnet"), "is missing"));
    };
    let subnet = read_subnet(&node)?;
    let (first, last) = match bounds(&subnet) {
        Some(bounds) => bounds,
        None => return Err(node.fault(format_args!("{subnet} is too small to lease from"))),
    };
    let start = read_address(range, "rangeStart", &subnet, true)?.unwrap_or(first);
    let end = read_address(range, "rangeEnd", &subnet, true)?.unwrap_or(last);
    if end < start {
        let why = format!("{end} is before the range's start, {start}");
        return Err(Fault::input(&range.at("rangeEnd"), why));
    }
    let (start, end) = (start.max(first), end.min(last));
    if end < start {
        return Err(Fault::input(
            &range.at("rangeStart"),
            format_args!("no address of {subnet} is left to lease"),
        ));
    }
    let gateway = read_address(range, "gateway", &subnet, false)?.unwrap_or(first);
    Ok(Range { subnet, start, end, gateway: Some(gateway) })
}

/// A subnet that pods can be in.
fn read_subnet(node: &Node) -> Parsed<IpNet> {
    let subnet = read_net(node)?;
    let network = subnet.network();
    if network.is_multicast() || network.is_loopback() || network.is_unspecified() {
        return Err(node.fault(format_args!("{subnet} cannot be a subnet of pods")));
    }
    Ok(subnet)
}

/// An address with a prefix length that has no bits behind the prefix.
fn read_net(node: &Node) -> Parsed<IpNet> {
    let net: IpNet = node.parse("a subnet")?;
    if net.addr().to_canonical() != net.addr() {
        return Err(
            node.fault(format_args!("{net} is an IPv4 subnet in IPv6's clothes; write it as IPv4"))
        );
    }
    if net.addr() != net.network() {
        return Err(
            node.fault(format_args!("{net} has host bits set: the network is {}", net.trunc()))
        );
    }
    Ok(net)
}

/// The first and the last address that can be leased, unless there are fewer
/// than four addresses in all: network, gateway, one pod, broadcast.
fn bounds(subnet: &IpNet) -> Option<(IpAddr, IpAddr)> {
    if subnet.max_prefix_len() - subnet.prefix_len() < 2 {
        return None;
    }
    Some(match subnet {
        IpNet::V4(net) => {
            let (low, high) = (u32::from(net.network()), u32::from(net.broadcast()));
            (IpAddr::V4((low + 1).into()), IpAddr::V4((high - 1).into()))
        }
        IpNet::V6(net) => {
            // The network's own address is that of all its routers (RFC 4291,
            // 2.6.1); there is no broadcast address.
            (IpAddr::V6((u128::from(net.network()) + 1).into()), IpAddr::V6(net.broadcast()))
        }
    })
}

/// An address that belongs to `subnet`: by family, and where asked by value.
fn read_address(range: &Object, key: &str, subnet: &IpNet, inside: bool) -> Parsed<Option<IpAddr>> {
    let Some(node) = range.get(key) else { return Ok(None) };
    let address = node.parse::<IpAddr>("an address")?.to_canonical();
    if address.is_ipv4() != subnet.addr().is_ipv4() {
        return Err(node.fault(format_args!("{address} is not of the family of {subnet}")));
    }
    if inside && !subnet.contains(&address) {
        return Err(node.fault(format_args!("{address} is not in {subnet}")));
    }
    if !inside && (address.is_unspecified() || address.is_multicast()) {
        return Err(node.fault(format_args!("{address} cannot be a gateway")));
    }
    Ok(Some(address))
}

fn read_route(route: &Object) -> Parsed<Route> {
    let Some(node) = route.get("dst") else {
        return Err(Fault::input(&route.at("dst"), "is missing"));
    };
    let dst = read_net(&node)?;
    route.refuse("table", Value::Null)?;
    route.refuse("scope", Value::Null)?;
    // 0 is the reference's "not given" in all three.
    for key in ["mtu", "advmss", "priority"] {
        route.refuse(key, Value::from(0))?;
    }
    let gw = read_address(route, "gw", &dst, false)?;
    Ok(Route { gw, dst, mtu: None, advmss: None, priority: None })
}
