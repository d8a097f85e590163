//! Where a plugin's addresses come from: `ipam`, and the routes that go with them.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    host_local::{self, HostLocal},
    json::{Fault, Node, Object, Parsed},
    statics::{self, Static},
};

/// The address managers that podkeel has itself.
const MANAGERS: &str = "host-local, static";

/// Where a pod's addresses come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ipam {
    /// Leases from ranges.
    HostLocal(HostLocal),
    /// Addresses that are written down.
    Static(Static),
    /// Another plugin, by its name: a runtime's call executes it.
    Foreign(String),
}

impl Ipam {
    /// host-local's part, if it is that.
    pub fn host_local(&self) -> Option<&HostLocal> {
        match self {
            Ipam::HostLocal(ipam) => Some(ipam),
            _ => None,
        }
    }

    /// The subnets that its addresses are of, as far as the file says.
    pub fn subnets(&self) -> Vec<IpNet> {
        match self {
            Ipam::HostLocal(ipam) => ipam.sets.iter().flatten().map(|range| range.subnet).collect(),
            Ipam::Static(ipam) => ipam.addrs.iter().map(|addr| addr.address).collect(),
            Ipam::Foreign(_) => Vec::new(),
        }
    }
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
    /// The routing table; `None` = main.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// The route's scope, as a number of linux/rtnetlink.h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u32>,
}

impl Route {
    /// A route of which only the destination is said.
    pub fn to(dst: IpNet) -> Route {
        Route { dst, gw: None, mtu: None, advmss: None, priority: None, table: None, scope: None }
    }
}

/// Reads `ipam` of a plugin. Absent or without anything in it = no addresses. A type that
/// podkeel doesn't have is [`Ipam::Foreign`].
pub(super) fn read(plugin: &Object, cni_version: &str) -> Parsed<Option<Ipam>> {
    let Some(ipam) = plugin.object("ipam")? else { return Ok(None) };
    match ipam.text("type")? {
        Some(kind) => read_as(kind, plugin, &ipam, cni_version).map(Some),
        None if ipam.is_empty() || ipam.string("type")?.is_some() => Ok(None),
        None => Err(Fault::input(&ipam.at("type"), "is missing")),
    }
}

/// Reads `ipam` as that of one manager, whatever type it says.
pub(super) fn read_as(
    kind: &str,
    plugin: &Object,
    ipam: &Object,
    cni_version: &str,
) -> Parsed<Ipam> {
    Ok(match kind {
        "host-local" => Ipam::HostLocal(host_local::read(plugin, ipam, cni_version)?),
        "static" => Ipam::Static(statics::read(plugin, ipam)?),
        other => Ipam::Foreign(other.to_owned()),
    })
}

/// The fault of a manager that would have to be executed, where nothing is.
pub(super) fn not_ours(plugin: &Object, kind: &str) -> Fault {
    let why = format!("{kind:?} is not an address manager that podkeel has: {MANAGERS}");
    Fault::unsupported(&format!("{}.type", plugin.at("ipam")), why)
}

/// What is asked for under one key: `args.cni` of the file, then `runtimeConfig`.
pub(super) fn asked<'a>(plugin: &Object<'a>, key: &str) -> Parsed<Vec<Node<'a>>> {
    let mut found = Vec::new();
    if let Some(args) = plugin.object("args")?
        && let Some(cni) = args.object("cni")?
    {
        found.extend(cni.array(key)?);
    }
    if let Some(runtime) = plugin.object("runtimeConfig")? {
        found.extend(runtime.array(key)?);
    }
    Ok(found)
}

/// Whether the kernel could have only one of the two.
fn same_place(a: &Route, b: &Route) -> bool {
    (a.dst, a.table, a.priority) == (b.dst, b.table, b.priority)
}

/// `routes` of an address manager.
pub(super) fn read_routes(ipam: &Object) -> Parsed<Vec<Route>> {
    let mut routes: Vec<Route> = Vec::new();
    for node in ipam.array("routes")? {
        let route = read_route(&node.object()?)?;
        if routes.iter().any(|r| same_place(r, &route)) {
            return Err(node.fault(format_args!("a second route to {}", route.dst)));
        }
        routes.push(route);
    }
    Ok(routes)
}

/// An address with a prefix length that has no bits behind the prefix.
pub(super) fn read_net(node: &Node) -> Parsed<IpNet> {
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

/// An address that belongs to `subnet`: by family, and where asked by value.
pub(super) fn read_address(
    range: &Object,
    key: &str,
    subnet: &IpNet,
    inside: bool,
) -> Parsed<Option<IpAddr>> {
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

pub(super) fn read_route(route: &Object) -> Parsed<Route> {
    let Some(node) = route.get("dst") else {
        return Err(Fault::input(&route.at("dst"), "is missing"));
    };
    let dst = read_net(&node)?;
    // 0 is the reference's "not given" in these three.
    let given = |key: &str| Ok(route.number(key)?.filter(|n| *n != 0));
    Ok(Route {
        dst,
        gw: read_address(route, "gw", &dst, false)?,
        mtu: given("mtu")?,
        advmss: given("advmss")?,
        priority: given("priority")?,
        table: route.number("table")?,
        scope: route.number("scope")?,
    })
}
