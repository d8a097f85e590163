//! Drivers: from a request and the facts to a plan. Pure functions; they see
//! no socket, no file and no JSON.

pub mod bridge;
mod dummy;
mod host_device;
mod interface;
mod ipvlan;
pub mod loopback;
mod macvlan;
pub mod ptp;
mod tap;
mod vlan;
mod vxlan;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::conf::{Network, Plugin, Route};
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::ipam::Leases;
use crate::kernel::ruleset::Entry;
use crate::kernel::sysctl::path_of;
use crate::meta;
use crate::names::Mark;
use crate::plan::{LinkAttr, Object, Phase, Plan, RouteAttrs, Side, Step};
use crate::request::{SysctlSetting, Wishes};

/// One attachment that somebody wants: a container, a network, an interface.
#[derive(Clone, Debug)]
pub struct Request {
    /// The network.
    pub network: Network,
    /// Container id.
    pub container: String,
    /// Name of the interface in the pod.
    pub ifname: String,
    /// Ports, addresses and MAC address that the caller asks for.
    pub wishes: Wishes,
    /// Sysctls to set in the pod: the list's and the caller's.
    pub sysctls: Vec<SysctlSetting>,
    /// Whether routes to everywhere (a default route) may be set: of several
    /// networks of one pod the first has it.
    pub default_route: bool,
    /// A runtime calls CNI plugins one by one, with the reference's rules where they aren't ours.
    pub as_plugin: bool,
    /// A bridge is taken as it is found and stays behind the last pod with all that was given to
    /// it, and what the host reaches already is the list's author's business, as with the
    /// reference's plugin.
    pub bridge_stays: bool,
    /// By which the attachment's objects are known.
    pub mark: Mark,
}

/// The whole plan of an attachment: leases, links, addresses, what opens.
pub fn plan(request: &Request, facts: &Facts, leases: &Leases) -> Result<Plan> {
    let claims = Plan::new().each(&leases.claims, |plan, lease| {
        plan.own(Phase::Close, Side::Host, Object::Lease(lease.clone()))
    });
    let mut plan = claims;
    let mut published = false;
    for plugin in &request.network.plugins {
        plan = match plugin {
            Plugin::Bridge(conf) => plan
                .and(bridge::links(request, conf, facts))
                .and(bridge::addresses(request, conf, facts, leases)?),
            Plugin::Ptp(conf) => plan.and(ptp::plan(request, conf, facts, leases)?),
            Plugin::Interface(conf) => plan.and(interface::plan(request, conf, facts, leases)?),
            Plugin::Vxlan(conf) => plan.and(vxlan::plan(request, conf, facts, leases)?),
            Plugin::Loopback => plan.and(loopback::plan()),
            Plugin::Host => plan,
            Plugin::Ipam(_) => plan, // leases are all it is about
            Plugin::Portmap(conf) => {
                published = true;
                plan.and(meta::portmap::plan(request, conf, facts, leases)?)
            }
            Plugin::Firewall(conf) => plan.and(meta::firewall::plan(conf, facts, leases)),
            Plugin::Tuning(conf) => plan.and(meta::tuning::link(request, conf, facts)?),
            Plugin::Vrf(conf) => meta::vrf::plan(plan, request, conf, facts, leases)?,
        };
    }
    if !published && !request.wishes.ports.is_empty() {
        let what = format!("publish ports on network {}", request.network.name);
        return Err(Error::input(what, "its list has no portmap plugin")
            .hint("add {\"type\": \"portmap\", \"capabilities\": {\"portMappings\": true}} to its plugins"));
    }
    Ok(told_last(plan.and(meta::tuning::plan(request, facts)?), request, leases))
}

/// Neighbours are told when all else is there: a plugin behind the one that made the
/// interface may have given it another link-layer address.
fn told_last(plan: Plan, request: &Request, leases: &Leases) -> Plan {
    let is_mac = |step: &Step| matches!(step.what, Object::LinkAttr { attr: LinkAttr::Mac, .. });
    let changes = plan.steps.iter().any(is_mac);
    let mut plan = plan.when(changes, |plan| announced(plan, request, leases));
    plan.steps.sort_by_key(|step| matches!(step.what, Object::Announced { .. }));
    plan
}

/// Neighbours may remember who had the pod's addresses before: they are told. A ptp's only
/// neighbour needs no telling: its end of the link is as new as the pod's.
fn announced(plan: Plan, request: &Request, leases: &Leases) -> Plan {
    let addresses: Vec<_> = leases.addrs.iter().map(|a| a.address.addr()).collect();
    let link = request.ifname.clone();
    plan.when(!addresses.is_empty(), |plan| {
        plan.at_last(Side::Pod, Object::Announced { link, addresses })
    })
}

/// The routes of the list, and those of the default gateway, as a result states them:
/// whether or not the pod has others already.
pub fn wanted_routes(request: &Request, leases: &Leases) -> Vec<Route> {
    let mut routes = leases.routes.clone();
    if request.network.bridge().is_some_and(|conf| conf.is_default_gateway) {
        for lease in &leases.addrs {
            let Some(dst) = everywhere(lease.address.addr()) else { continue };
            if !routes.iter().any(|route| route.dst == dst && route.gw.is_some()) {
                routes.push(Route { gw: lease.gateway, ..Route::to(dst) });
            }
        }
    }
    routes
}

/// The pod's routes: of each destination the first, a default route where there is none
/// of the family. A pod has one default route a family: its first network's.
fn pod_routes(request: &Request, facts: &Facts, leases: &Leases) -> Vec<Object> {
    let taken = |dst: &IpNet| {
        if dst.addr().is_ipv4() { facts.pod_default_v4 } else { facts.pod_default_v6 }
    };
    let mut wanted = wanted_routes(request, leases);
    // A gateway that is said counts before one that is worked out.
    wanted.sort_by_key(|route| route.dst.prefix_len() == 0 && route.gw.is_none());
    let mut routes: Vec<Route> = Vec::new();
    for route in wanted {
        let has_family =
            leases.addrs.iter().any(|a| a.address.addr().is_ipv4() == route.dst.addr().is_ipv4());
        let is_second = |r: &Route| r.dst == route.dst && r.table == route.table;
        let may = route.dst.prefix_len() > 0
            || route.table.is_some()
            || (request.default_route && !taken(&route.dst));
        if has_family && may && !routes.iter().any(is_second) {
            routes.push(route);
        }
    }
    routes.iter().map(|wanted| route(request, leases, wanted)).collect()
}

/// A route as a plan has it: one without a next hop leads to its family's gateway.
pub(super) fn route(request: &Request, leases: &Leases, route: &Route) -> Object {
    let is_v4 = route.dst.addr().is_ipv4();
    let gateway = leases.addrs.iter().find(|a| a.address.addr().is_ipv4() == is_v4);
    let gateway = gateway.and_then(|a| a.gateway);
    Object::Route {
        link: request.ifname.clone(),
        dst: route.dst,
        // A route of the link's own scope leads to no next hop.
        via: route.gw.or_else(|| gateway.filter(|_| !on_link(route))),
        attrs: RouteAttrs {
            mtu: route.mtu,
            advmss: route.advmss,
            priority: route.priority,
            table: route.table,
            scope: route.scope,
            onlink: false,
        },
    }
}

fn on_link(route: &Route) -> bool {
    route.scope == Some(u32::from(LINK_SCOPE))
}

/// RT_SCOPE_LINK of linux/rtnetlink.h.
const LINK_SCOPE: u8 = 253;

fn everywhere(ip: IpAddr) -> Option<IpNet> {
    if ip.is_ipv4() { "0.0.0.0/0" } else { "::/0" }.parse().ok()
}

/// An address's masquerade; its own network stays as it is.
fn masquerade(plan: Plan, address: IpNet) -> Plan {
    own_network(plan, address).own(
        Phase::Open,
        Side::Host,
        Object::Entry(Entry::Masqueraded(address.addr())),
    )
}

/// The table, and in it the network whose members see each other's true addresses.
pub fn own_network(plan: Plan, address: IpNet) -> Plan {
    plan.share(Phase::Close, Object::Ruleset)
        .share(Phase::Close, Object::Entry(Entry::Own(address.trunc())))
}

/// Forwarding of the families that there are.
fn forward(plan: Plan, facts: &Facts, v4: bool, v6: bool) -> Plan {
    plan.when(v4, |plan| plan.ensure(Side::Host, sysctl("net.ipv4.ip_forward", "1")))
        .when(v6, |plan| forward_v6(plan, facts))
}

/// With forwarding on, a host stops listening to router advertisements unless
/// accept_ra is 2, and loses its own default route.
fn forward_v6(plan: Plan, facts: &Facts) -> Plan {
    plan.each(&facts.ra_uplinks, |plan, link| {
        plan.ensure(Side::Host, conf_sysctl("ipv6", link, "accept_ra", "2"))
    })
    .ensure(Side::Host, sysctl("net.ipv6.conf.all.forwarding", "1"))
}

/// Whether the kernel gives an interface of this mtu IPv6, and its sysctls: not below 1280
/// (RFC 8200, section 5).
fn has_ipv6(facts: &Facts, mtu: Option<u32>) -> bool {
    facts.ipv6 && mtu.is_none_or(|mtu| mtu >= 1280)
}

/// What a pod's interface must not do in IPv6: take a route from a neighbour; and
/// without an address of ours, have one at all (CVE-2024-32473).
fn guard_v6(plan: Plan, request: &Request, has_ipv6: bool, leases: &Leases, v6: bool) -> Plan {
    let of_pod = |plan: Plan, key| {
        plan.own(Phase::Build, Side::Pod, conf_sysctl("ipv6", &request.ifname, key, on(key)))
    };
    plan.when(has_ipv6 && !v6 && !leases.addrs.is_empty(), |plan| of_pod(plan, "disable_ipv6"))
        .when(has_ipv6 && v6, |plan| of_pod(plan, "accept_ra"))
}

/// Duplicate address detection, whatever the host's default for new links is. [`settled`]
/// waits for it.
fn asks_around(plan: Plan, request: &Request) -> Plan {
    plan.own(Phase::Build, Side::Pod, conf_sysctl("ipv6", &request.ifname, "accept_dad", "1"))
}

/// Nobody else has the pod's IPv6 addresses.
fn settled(plan: Plan, request: &Request) -> Plan {
    plan.ensure(Side::Pod, Object::Settled { link: request.ifname.clone() })
}

fn on(key: &str) -> &'static str {
    if key == "disable_ipv6" { "1" } else { "0" }
}

/// The families of the addresses: IPv4, IPv6. A kernel without IPv6 can't have the second.
fn families(request: &Request, facts: &Facts, leases: &Leases) -> Result<(bool, bool)> {
    let v6 = leases.addrs.iter().any(|a| a.address.addr().is_ipv6());
    let v4 = leases.addrs.iter().any(|a| a.address.addr().is_ipv4());
    if v6 && !facts.ipv6 {
        let what = format!("attach to network {}", request.network.name);
        let why = "it has IPv6 addresses, and this kernel runs without IPv6";
        return Err(Error::new(Kind::Unsupported, what, why));
    }
    Ok((v4, v6))
}

fn sysctl(key: &str, value: &str) -> Object {
    Object::Sysctl { path: path_of(key), value: value.into() }
}

/// `net.FAMILY.conf.LINK.KEY`; a link's name may have dots.
fn conf_sysctl(family: &str, link: &str, key: &str, value: &str) -> Object {
    let path = ["net", family, "conf", link, key].map(str::to_owned).to_vec();
    Object::Sysctl { path, value: value.into() }
}
