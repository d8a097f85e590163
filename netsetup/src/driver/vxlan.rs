//! The vxlan driver: a bridge of pods on each host, and between the hosts a tunnel whose
//! ends know beforehand who is where. Nothing is asked, nothing is flooded.
//!
//! ```text
//!  pod 10.42.1.5 ── bridge 10.42.1.1      bridge 10.42.2.1 ── pod 10.42.2.7
//!                      │ host 192.0.2.1        │ host 192.0.2.2
//!  route 10.42.2.0/24 via 192.0.2.2 dev vxlan42 onlink
//!  neigh 192.0.2.2 lladdr M dev vxlan42          fdb M dst 192.0.2.2 dev vxlan42
//! ```
//!
//! The next hop is a name for the other end on the tunnel alone, and M is the address of
//! the tunnel's end there: a hash of the network's number and the host's address, which
//! every host can work out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Request, bridge, conf_sysctl};
use crate::conf::{Bridge, Remote, Vxlan};
use crate::error::{Error, Kind, Result};
use crate::facts::{Facts, TunnelFacts};
use crate::ipam::Leases;
use crate::kernel::ruleset::Entry;
use crate::names;
use crate::plan::{Device, DeviceKind, Object, Phase, Plan, RouteAttrs};
use crate::request::Mac;

/// The whole of it.
pub(super) fn plan(
    request: &Request,
    conf: &Vxlan,
    facts: &Facts,
    leases: &Leases,
) -> Result<Plan> {
    let Some(tunnel) = &facts.tunnel else {
        let why = "nobody has looked for this host's address";
        return Err(Error::new(Kind::Missing, format!("make vxlan {}", conf.id), why));
    };
    let bridge = Bridge { mtu: Some(mtu(conf, tunnel)?), ..conf.bridge.clone() };
    // No reference leaves one: the bridge goes with the tunnel, whoever calls.
    let request = &Request { bridge_stays: false, ..request.clone() };
    let link = || conf.device.clone();
    let deaf = conf_sysctl("ipv6", &conf.device, "accept_ra", "0");
    let plan = Plan::new()
        .share(Phase::Build, Object::Device(end(conf, tunnel, bridge.mtu)))
        .when(facts.ipv6, |plan| plan.share(Phase::Build, deaf))
        .share(Phase::Build, Object::Up { link: link() });
    let others = conf.remotes.iter().enumerate().filter(|(_, r)| r.host != tunnel.local);
    let plan = others.fold(plan, |plan, (i, remote)| to(plan, conf, i, remote));
    let plan = plan
        .and(bridge::links(request, &bridge, facts))
        .and(bridge::addresses(request, &bridge, facts, leases)?);
    Ok(plan.when(bridge.ip_masq, |plan| {
        plan.each(&leases.addrs, |plan, a| true_to(plan, conf, a.address))
    }))
}

/// Outer Ethernet, IP, UDP and VXLAN headers, bytes: RFC 7348, section 5.
fn overhead(local: IpAddr) -> u32 {
    14 + if local.is_ipv4() { 20 } else { 40 } + 8 + 8
}

/// What fits into a frame of the link below.
fn mtu(conf: &Vxlan, tunnel: &TunnelFacts) -> Result<u32> {
    let most = tunnel.mtu.saturating_sub(overhead(tunnel.local));
    match conf.bridge.mtu {
        Some(mtu) if mtu > most => {
            let why = format!(
                "mtu {mtu} is too large: the link of {} carries {}, the tunnel needs {} of it",
                tunnel.local,
                tunnel.mtu,
                overhead(tunnel.local)
            );
            Err(Error::input(format!("make vxlan {}", conf.id), why))
        }
        mtu => Ok(mtu.unwrap_or(most)),
    }
}

fn end(conf: &Vxlan, tunnel: &TunnelFacts, mtu: Option<u32>) -> Device {
    let own = conf.remotes.iter().find(|remote| remote.host == tunnel.local);
    let mac = own.and_then(|remote| remote.mac);
    let (id, port, local) = (conf.id, conf.port, tunnel.local);
    Device {
        name: conf.device.clone(),
        mac: Some(mac.unwrap_or_else(|| names::tunnel_mac(id, local))),
        mtu,
        parent: None,
        kind: DeviceKind::Vxlan { id, port, local, learning: !conf.nolearning },
    }
}

/// The way to another host's pods.
fn to(plan: Plan, conf: &Vxlan, number: usize, remote: &Remote) -> Plan {
    let link = || conf.device.clone();
    let mac = remote.mac.unwrap_or_else(|| names::tunnel_mac(conf.id, remote.host));
    let share = |plan: Plan, what| plan.share(Phase::Build, what);
    let fdb = Object::Neigh { link: link(), ip: remote.host, mac, fdb: true };
    share(plan, fdb).each(&remote.subnets, |plan, net| {
        let hop = next_hop(number, remote.host, mac, net.addr().is_ipv4());
        let plan = share(plan, Object::Neigh { link: link(), ip: hop, mac, fdb: false });
        let attrs = RouteAttrs { onlink: hop.is_ipv4(), ..RouteAttrs::default() };
        share(plan, Object::Route { link: link(), dst: *net, via: Some(hop), attrs })
    })
}

/// A name for another tunnel end, of the family of what is routed there: its host's own
/// address, or a link-local one. IPv6 takes no next hop that is on another link, too.
fn next_hop(number: usize, host: IpAddr, mac: Mac, v4: bool) -> IpAddr {
    match (v4, host) {
        (true, IpAddr::V4(_)) => host,
        (true, IpAddr::V6(_)) => {
            let [high, low] = (number as u16).wrapping_add(1).to_be_bytes();
            Ipv4Addr::new(169, 254, high, low).into()
        }
        (false, _) => {
            let Mac([a, b, c, d, e, f]) = mac;
            let word = |high, low| u16::from_be_bytes([high, low]);
            let id = [word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f)];
            Ipv6Addr::new(0xfe80, 0, 0, 0, id[0], id[1], id[2], id[3]).into()
        }
    }
}

/// Pods of all hosts see each other's true addresses.
fn true_to(plan: Plan, conf: &Vxlan, address: IpNet) -> Plan {
    let from = address.trunc();
    let nets = conf.remotes.iter().flat_map(|remote| &remote.subnets);
    let others = nets.filter(|net| {
        net.addr().is_ipv4() == from.addr().is_ipv4()
            && !net.contains(&from)
            && !from.contains(*net)
    });
    others.fold(plan, |plan, net| {
        plan.share(Phase::Close, Object::Entry(Entry::Across { from, to: *net }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_has_a_name_of_each_family() {
        let mac = Mac([0x02, 0x11, 0x22, 0x33, 0x44, 0x55]);
        let hop = |host: &str, v4| next_hop(0, host.parse().unwrap(), mac, v4).to_string();
        assert_eq!(hop("192.0.2.2", true), "192.0.2.2");
        assert_eq!(hop("2001:db8::2", true), "169.254.0.1");
        assert_eq!(hop("192.0.2.2", false), "fe80::11:22ff:fe33:4455");
        assert_eq!(overhead(IpAddr::from([192, 0, 2, 1])), 50);
        assert_eq!(overhead(Ipv6Addr::LOCALHOST.into()), 70);
    }
}
