//! The bridge driver: a veth from the pod to a bridge of the host.

use ipnet::IpNet;

use super::interface::asked_mac;
use super::{
    Request, announced, asks_around, conf_sysctl, families, forward, guard_v6, has_ipv6,
    masquerade, pod_routes, settled,
};
use crate::conf;
use crate::error::{Error, Kind, Result};
use crate::facts::{BridgeFacts, Facts};
use crate::ipam::Leases;
use crate::names;
use crate::plan::{Bridge, Device, DeviceKind, LinkAttr, Object, Parent, Phase, Plan, Side, Veth};
use crate::request::Mac;

/// Bridge and veth.
pub fn links(request: &Request, conf: &conf::Bridge, facts: &Facts) -> Plan {
    let there = facts.bridge.as_ref();
    // A pod must not be able to give the host a route by router advertisement
    // (CVE-2020-13401). Somebody else's bridge is left as it is.
    let guard = has_ipv6(facts, mtu(request, conf, facts)) && there.is_none_or(|b| b.ours);
    let stays = there.filter(|_| request.bridge_stays);
    let promisc =
        Object::LinkAttr { link: conf.bridge.clone(), attr: LinkAttr::Promisc, value: "1".into() };
    let plan = common(request, Plan::new(), Object::Bridge(bridge(request, conf, facts)))
        .when(guard, |plan| {
            common(request, plan, conf_sysctl("ipv6", &conf.bridge, "accept_ra", "0"))
        })
        .when(conf.promisc_mode && stays.is_some(), |plan| plan.ensure(Side::Host, promisc));
    let plan = common(request, plan, Object::Up { link: conf.bridge.clone() })
        .each(conf.gateway_vlan(), |plan, id| gateway(plan, conf, id, guard));
    let veth = veth(request, conf, facts);
    // The guard is there before the pod can send anything.
    let sender = Object::Sender { link: veth.name.clone(), mac: veth.peer_mac };
    let vlans = Object::Vlans {
        link: veth.name.clone(),
        tags: conf.vlans.clone(),
        default: conf.preserve_default_vlan,
    };
    plan.when(conf.mac_spoof_check, |plan| {
        plan.share(Phase::Close, Object::Guard).own(Phase::Close, Side::Host, sender)
    })
    .own(Phase::Build, Side::Host, Object::Veth(veth))
    .when(!conf.vlans.is_empty(), |plan| plan.own(Phase::Build, Side::Host, vlans))
}

/// The host's part in the VLAN that pods and gateway are in: a link on the bridge, which goes
/// with the last of them.
fn gateway(plan: Plan, conf: &conf::Bridge, id: u16, guard: bool) -> Plan {
    let name = conf.gateway_link();
    let on = Parent { name: conf.bridge.clone(), at: Side::Host, mac: None };
    let kind = DeviceKind::Vlan { id };
    let device = Device { name: name.clone(), mac: None, mtu: None, parent: Some(on), kind };
    let accept_ra = conf_sysctl("ipv6", &name, "accept_ra", "0");
    plan.share(Phase::Build, Object::OwnVlan { link: conf.bridge.clone(), id })
        .share(Phase::Build, Object::Device(device))
        .when(guard, |plan| plan.share(Phase::Build, accept_ra))
        .share(Phase::Build, Object::Up { link: name })
}

/// What pods share: it goes with the last of them, unless the reference would leave it.
fn common(request: &Request, plan: Plan, what: Object) -> Plan {
    match request.bridge_stays {
        true => plan.ensure(Side::Host, what),
        false => plan.share(Phase::Build, what),
    }
}

/// Bytes that bridge and veth take; `None` = what the kernel gives them.
fn mtu(request: &Request, conf: &conf::Bridge, facts: &Facts) -> Option<u32> {
    match request.bridge_stays {
        true => conf.mtu,
        false => conf.mtu.or(facts.bridge.as_ref().map(|b| b.mtu)).or(facts.uplink_mtu),
    }
}

fn bridge(request: &Request, conf: &conf::Bridge, facts: &Facts) -> Bridge {
    let name = conf.bridge.clone();
    let vlan_filtering = !conf.vlans.is_empty();
    // What is there already keeps what it has.
    match facts.bridge.as_ref().filter(|b| request.bridge_stays || !b.ours) {
        Some(BridgeFacts { mac: Some(mac), .. }) => {
            let mac = kept_mac(request, conf, facts).unwrap_or(*mac);
            Bridge { name, mac, mtu: None, promisc: false, vlan_filtering }
        }
        _ => Bridge {
            mac: names::bridge_mac(&name, &facts.machine),
            name,
            mtu: mtu(request, conf, facts),
            promisc: conf.promisc_mode,
            vlan_filtering,
        },
    }
}

/// The link-layer address that somebody else's bridge is to keep as a gateway, for pods
/// remember it. Without a port it may have none; then it gets what ours would have.
fn kept_mac(request: &Request, conf: &conf::Bridge, facts: &Facts) -> Option<Mac> {
    let keeps = request.bridge_stays && conf.is_gateway;
    let others = facts.bridge.as_ref().filter(|bridge| keeps && !bridge.ours)?;
    let mac = others.mac.filter(|mac| *mac != Mac([0; 6]));
    Some(mac.unwrap_or_else(|| names::bridge_mac(&conf.bridge, &facts.machine)))
}

fn veth(request: &Request, conf: &conf::Bridge, facts: &Facts) -> Veth {
    let mark = &request.mark;
    Veth {
        name: mark.veth(),
        mac: mark.outer_mac(&facts.machine),
        mtu: mtu(request, conf, facts),
        peer_mtu: None,
        master: conf.bridge.clone(),
        master_mac: kept_mac(request, conf, facts),
        // Where netfilter sees bridged frames, a pod's frame to its own published
        // port is translated on the bridge and must leave by the port it came by.
        // A promiscuous bridge needs none, and takes none.
        hairpin: conf.hairpin_mode || (!request.wishes.ports.is_empty() && !conf.promisc_mode),
        isolated: conf.port_isolation,
        no_link_local: has_ipv6(facts, mtu(request, conf, facts)),
        peer: request.ifname.clone(),
        peer_mac: asked_mac(request, conf.mac).unwrap_or_else(|| mark.mac("inner", &facts.machine)),
    }
}

/// Addresses, routes, forwarding and masquerade.
pub fn addresses(
    request: &Request,
    conf: &conf::Bridge,
    facts: &Facts,
    leases: &Leases,
) -> Result<Plan> {
    let link = || request.ifname.clone();
    let (v4, v6) = families(request, facts, leases)?;
    let gateways = gateways(request, conf, facts, leases)?;
    let forwards = conf.is_gateway && !leases.addrs.is_empty();
    let plan = Plan::new().each(gateways, |plan, address| {
        let gone = in_the_way(conf, facts, &address).filter(|_| request.bridge_stays);
        let plan = plan.each(gone, |plan, address| {
            plan.ensure(Side::Host, Object::NoAddr { link: conf.gateway_link(), address })
        });
        let gateway = Object::Addr { link: conf.gateway_link(), address, route: true, dad: false };
        // What somebody else gave his bridge isn't ours to count and to take away.
        match facts.bridge.as_ref().is_some_and(|b| b.foreign.contains(&address)) {
            true => plan.ensure(Side::Host, gateway),
            false => common(request, plan, gateway),
        }
    });
    let plan = forward(plan, facts, forwards && v4, forwards && v6);
    let plan = guard_v6(plan, request, has_ipv6(facts, mtu(request, conf, facts)), leases, v6);
    let plan = plan
        .when(conf.enable_dad && v6, |plan| asks_around(plan, request))
        .each(&leases.addrs, |plan, a| {
            let dad = conf.enable_dad;
            let address = Object::Addr { link: link(), address: a.address, route: true, dad };
            plan.own(Phase::Build, Side::Pod, address)
        })
        .when(!conf.disable_container_interface, |plan| {
            plan.ensure(Side::Pod, Object::Up { link: "lo".into() }).own(
                Phase::Build,
                Side::Pod,
                Object::Up { link: link() },
            )
        })
        .each(pod_routes(request, facts, leases), |plan, route| {
            plan.own(Phase::Build, Side::Pod, route)
        });
    Ok(plan
        .when(conf.enable_dad && v6, |plan| settled(plan, request))
        .when(!conf.disable_container_interface, |plan| announced(plan, request, leases))
        .when(conf.ip_masq, |plan| plan.each(&leases.addrs, |plan, a| masquerade(plan, a.address))))
}

/// The gateway addresses of the bridge. They must not be at odds with what it has.
fn gateways(
    request: &Request,
    conf: &conf::Bridge,
    facts: &Facts,
    leases: &Leases,
) -> Result<Vec<IpNet>> {
    if !conf.is_gateway {
        return Ok(Vec::new());
    }
    let mut wanted = Vec::new();
    for lease in &leases.addrs {
        let Some(gateway) = lease.gateway else { continue };
        let address = IpNet::new(gateway, lease.address.prefix_len()).unwrap_or(lease.address);
        let there = facts.bridge.as_ref().map_or(&[][..], |b| &b.addrs);
        if let (Some(other), false) = (in_the_way(conf, facts, &address), conf.force_address) {
            let what = format!("use bridge {} as the gateway {address}", conf.gateway_link());
            return Err(Error::new(
                Kind::Taken,
                what,
                format!("it already has the address {other}"),
            )
            .hint("choose another bridge or subnet, or set forceAddress"));
        }
        if !there.contains(&address) && !request.bridge_stays {
            no_clash(conf, facts, address)?;
        }
        wanted.push(address);
    }
    Ok(wanted)
}

/// An address that the bridge has and that can't be beside this one: any other of IPv4,
/// of IPv6 one whose subnet overlaps.
fn in_the_way(conf: &conf::Bridge, facts: &Facts, address: &IpNet) -> Option<IpNet> {
    debug_assert!(conf.is_gateway);
    let there = facts.bridge.as_ref().map_or(&[][..], |b| &b.addrs);
    if there.contains(address) {
        return None;
    }
    let clashes = |other: &&IpNet| match (other, address) {
        (IpNet::V4(_), IpNet::V4(_)) => true,
        (IpNet::V6(a), IpNet::V6(b)) => a.contains(&b.addr()) || b.contains(&a.addr()),
        _ => false,
    };
    there.iter().find(clashes).copied()
}

/// A new subnet must not hide anything that the host reaches already.
fn no_clash(conf: &conf::Bridge, facts: &Facts, address: IpNet) -> Result<()> {
    let ours = address.trunc();
    let overlaps = |net: &IpNet| net.contains(&ours) || ours.contains(net);
    match facts.routed.iter().find(|(net, dev)| overlaps(net) && *dev != conf.gateway_link()) {
        None => Ok(()),
        Some((net, dev)) => Err(Error::new(
            Kind::Taken,
            format!("give subnet {ours} to bridge {}", conf.gateway_link()),
            format!("the host has a route to {net} over {dev}"),
        )
        .hint("choose another subnet in the network's list")),
    }
}
