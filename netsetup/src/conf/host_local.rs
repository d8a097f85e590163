//! The `host-local` address manager: leases from ranges, kept on this host.

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;

use super::{
    ipam::{Route, read_address, read_net, read_routes},
    json::{Fault, Node, Object, Parsed},
};
use crate::ipam::{Range, RangeSet};

/// Where a pod's addresses come from, and the routes that go with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostLocal {
    /// A pod gets one address of each set. Of what was read never empty, and no set is; the
    /// ranges of a set are of one family, and no two ranges overlap.
    pub sets: Vec<RangeSet>,
    /// Routes in the pod.
    pub routes: Vec<Route>,
    /// Where leases are kept, instead of the root that all networks share. Absolute.
    pub data_dir: Option<PathBuf>,
    /// A resolv.conf whose settings the result hands on.
    pub resolv_conf: Option<PathBuf>,
    /// Addresses that are asked for, whatever the pod.
    pub ips: Vec<IpAddr>,
}

/// Reads `ipam` of a plugin, whose type is host-local.
pub(super) fn read(plugin: &Object, ipam: &Object, cni_version: &str) -> Parsed<HostLocal> {
    let sets = read_sets(plugin, ipam, cni_version)?;
    let data_dir = ipam.text("dataDir")?.map(PathBuf::from);
    if let Some(dir) = data_dir.as_ref().filter(|dir| !dir.is_absolute()) {
        return Err(Fault::input(
            &ipam.at("dataDir"),
            format_args!("{dir:?} is not an absolute path"),
        ));
    }
    Ok(HostLocal {
        sets,
        routes: read_routes(ipam)?,
        data_dir,
        resolv_conf: ipam.text("resolvConf")?.map(PathBuf::from),
        ips: read_wanted(plugin)?,
    })
}

/// The addresses that a caller asks for, with or without a prefix length: `args.cni.ips`
/// of the file, then `runtimeConfig.ips`.
fn read_wanted(plugin: &Object) -> Parsed<Vec<IpAddr>> {
    let mut ips = Vec::new();
    for node in super::ipam::asked(plugin, "ips")? {
        let text = node.string()?;
        let ip = text.split_once('/').map_or(text, |(ip, _)| ip).parse::<IpAddr>();
        let ip = ip.map_err(|_| node.fault(format_args!("{text:?} is not an address")))?;
        ips.push(ip.to_canonical());
    }
    Ok(ips)
}

/// A range, and where it stands in the text.
type Placed = (String, Range);

fn read_sets(plugin: &Object, ipam: &Object, cni_version: &str) -> Parsed<Vec<RangeSet>> {
    let mut sets: Vec<Vec<Placed>> = Vec::new();
    // Those that a runtime asks for come first of all.
    if let Some(asked) = plugin.object("runtimeConfig")? {
        for set in asked.array("ipRanges")? {
            sets.push(read_set(&set)?);
        }
    }
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
