//! The bridge driver: a veth from the pod to a bridge of the host.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Request;
use crate::conf;
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::ipam::Leases;
use crate::kernel::ruleset::Entry;
use crate::kernel::sysctl::path_of;
use crate::names;
use crate::plan::{Bridge, Object, Phase, Plan, Side, Veth};

/// Bridge and veth.
pub fn links(request: &Request, conf: &conf::Bridge, facts: &Facts) -> Plan {
    let mark = &request.mark;
    let mtu = conf.mtu.or(facts.bridge.as_ref().map(|b| b.mtu)).or(facts.uplink_mtu);
    let bridge = Bridge {
        name: conf.bridge.clone(),
        mac: names::bridge_mac(&conf.bridge, &facts.machine),
        mtu,
        promisc: conf.promisc_mode,
    };
    let veth = Veth {
        name: mark.veth(),
        mac: mark.outer_mac(&facts.machine),
        mtu,
        master: conf.bridge.clone(),
        // Where netfilter sees bridged frames, a pod's frame to its own published
        // port is translated on the bridge and must leave by the port it came by.
        // A promiscuous bridge needs none, and takes none.
        hairpin: conf.hairpin_mode || (!request.wishes.ports.is_empty() && !conf.promisc_mode),
        isolated: conf.port_isolation,
        peer: request.ifname.clone(),
        peer_mac: request
            .wishes
            .mac
            .or(conf.mac)
            .unwrap_or_else(|| mark.mac("inner", &facts.machine)),
    };
    // A pod must not be able to give the host a route by router advertisement
    // (CVE-2020-13401). Somebody else's bridge is left as it is.
    let guard = facts.ipv6 && facts.bridge.as_ref().is_none_or(|b| b.ours);
    Plan::new()
        .share(Phase::Build, Object::Bridge(bridge))
        .when(guard, |plan| {
            plan.share(Phase::Build, conf_sysctl("ipv6", &conf.bridge, "accept_ra", "0"))
        })
        .share(Phase::Build, Object::Up { link: conf.bridge.clone() })
        .own(Phase::Build, Side::Host, Object::Veth(veth))
}

/// Addresses, routes, forwarding and masquerade.
pub fn addresses(
    request: &Request,
    conf: &conf::Bridge,
    facts: &Facts,
    leases: &Leases,
) -> Result<Plan> {
    let link = || request.ifname.clone();
    let v6 = leases.addrs.iter().any(|a| a.address.addr().is_ipv6());
    let v4 = leases.addrs.iter().any(|a| a.address.addr().is_ipv4());
    if v6 && !facts.ipv6 {
        let what = format!("attach to network {}", request.network.name);
        return Err(Error::new(
            Kind::Unsupported,
            what,
            "it has IPv6 addresses, and this kernel runs without IPv6",
        ));
    }
    let gateways = gateways(conf, facts, leases)?;
    let forwards = conf.is_gateway && !leases.addrs.is_empty();
    let plan = Plan::new()
        .each(gateways, |plan, address| {
            let gateway = Object::Addr { link: conf.bridge.clone(), address };
            // What somebody else gave his bridge isn't ours to count and to take away.
            match facts.bridge.as_ref().is_some_and(|b| b.foreign.contains(&address)) {
                true => plan.ensure(Side::Host, gateway),
                false => plan.share(Phase::Build, gateway),
            }
        })
        .when(forwards && v4, |plan| plan.ensure(Side::Host, sysctl("net.ipv4.ip_forward", "1")))
        .when(forwards && v6, |plan| forward_v6(plan, facts))
        // An interface without an IPv6 address of ours has none at all (CVE-2024-32473).
        .when(facts.ipv6 && !v6 && !leases.addrs.is_empty(), |plan| {
            plan.own(
                Phase::Build,
                Side::Pod,
                conf_sysctl("ipv6", &request.ifname, "disable_ipv6", "1"),
            )
        })
        // A neighbour on the bridge must not give the pod a route either.
        .when(facts.ipv6 && v6, |plan| {
            plan.own(
                Phase::Build,
                Side::Pod,
                conf_sysctl("ipv6", &request.ifname, "accept_ra", "0"),
            )
        })
        .ensure(Side::Pod, Object::Up { link: "lo".into() })
        .own(Phase::Build, Side::Pod, Object::Up { link: link() })
        .each(&leases.addrs, |plan, a| {
            plan.own(Phase::Build, Side::Pod, Object::Addr { link: link(), address: a.address })
        })
        .each(routes(request, conf, facts, leases), |plan, (dst, via)| {
            plan.own(Phase::Build, Side::Pod, Object::Route { link: link(), dst, via })
        });
    Ok(plan
        .when(conf.ip_masq, |plan| plan.each(&leases.addrs, |plan, a| masquerade(plan, a.address))))
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

/// The gateway addresses of the bridge. They must not be at odds with what it has.
fn gateways(conf: &conf::Bridge, facts: &Facts, leases: &Leases) -> Result<Vec<IpNet>> {
    if !conf.is_gateway {
        return Ok(Vec::new());
    }
    let mut wanted = Vec::new();
    for lease in &leases.addrs {
        let Some(gateway) = lease.gateway else { continue };
        let address = IpNet::new(gateway, lease.address.prefix_len()).unwrap_or(lease.address);
        let there = facts.bridge.as_ref().map_or(&[][..], |b| &b.addrs);
        let other = |a: &&IpNet| a.addr().is_ipv4() && address.addr().is_ipv4() && **a != address;
        if let (Some(other), false) = (there.iter().find(other), conf.force_address) {
            let what = format!("use bridge {} as the gateway {address}", conf.bridge);
            return Err(Error::new(
                Kind::Taken,
                what,
                format!("it already has the address {other}"),
            )
            .hint("choose another bridge or subnet, or set forceAddress"));
        }
        if !there.contains(&address) {
            no_clash(conf, facts, address)?;
        }
        wanted.push(address);
    }
    Ok(wanted)
}

/// A new subnet must not hide anything that the host reaches already.
fn no_clash(conf: &conf::Bridge, facts: &Facts, address: IpNet) -> Result<()> {
    let ours = address.trunc();
    let overlaps = |net: &IpNet| net.contains(&ours) || ours.contains(net);
    match facts.routed.iter().find(|(net, dev)| overlaps(net) && *dev != conf.bridge) {
        None => Ok(()),
        Some((net, dev)) => Err(Error::new(
            Kind::Taken,
            format!("give subnet {ours} to bridge {}", conf.bridge),
            format!("the host has a route to {net} over {dev}"),
        )
        .hint("choose another subnet in the network's list")),
    }
}

/// The pod's routes: those of the list, and a default route where the bridge
/// is the default gateway. A pod has one default route a family: its first network's.
fn routes(
    request: &Request,
    conf: &conf::Bridge,
    facts: &Facts,
    leases: &Leases,
) -> Vec<(IpNet, Option<IpAddr>)> {
    let gateway_of = |dst: &IpNet| {
        leases
            .addrs
            .iter()
            .find(|a| a.address.addr().is_ipv4() == dst.addr().is_ipv4())
            .and_then(|a| a.gateway)
    };
    let mut routes: Vec<_> = Vec::new();
    if conf.is_default_gateway {
        for lease in &leases.addrs {
            let any = if lease.address.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            routes.extend(any.parse().ok().map(|dst: IpNet| (dst, lease.gateway)));
        }
    }
    for route in &leases.routes {
        let via = route.gw.or_else(|| gateway_of(&route.dst));
        let has_family =
            leases.addrs.iter().any(|a| a.address.addr().is_ipv4() == route.dst.addr().is_ipv4());
        if has_family && !routes.iter().any(|(dst, _)| *dst == route.dst) {
            routes.push((route.dst, via));
        }
    }
    let taken = |dst: &IpNet| {
        if dst.addr().is_ipv4() { facts.pod_default_v4 } else { facts.pod_default_v6 }
    };
    routes.retain(|(dst, _)| dst.prefix_len() > 0 || (request.default_route && !taken(dst)));
    routes
}

/// With forwarding on, a host stops listening to router advertisements unless
/// accept_ra is 2, and loses its own default route.
fn forward_v6(plan: Plan, facts: &Facts) -> Plan {
    plan.each(&facts.ra_uplinks, |plan, link| {
        plan.ensure(Side::Host, conf_sysctl("ipv6", link, "accept_ra", "2"))
    })
    .ensure(Side::Host, sysctl("net.ipv6.conf.all.forwarding", "1"))
}

fn sysctl(key: &str, value: &str) -> Object {
    Object::Sysctl { path: path_of(key), value: value.into() }
}

/// `net.FAMILY.conf.LINK.KEY`; a link's name may have dots.
fn conf_sysctl(family: &str, link: &str, key: &str, value: &str) -> Object {
    let path = ["net", family, "conf", link, key].map(str::to_owned).to_vec();
    Object::Sysctl { path, value: value.into() }
}
