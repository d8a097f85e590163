//! The ptp driver: a veth from the pod to the host, whose end has the gateway's address.
//!
//! ```text
//!   pod   eth0   10.2.0.5/24, without the subnet's route
//!                10.2.0.1 dev eth0, 10.2.0.0/24 via 10.2.0.1, default via 10.2.0.1
//!   host  veth   10.2.0.1/32
//!                10.2.0.5 dev veth
//! ```
//!
//! All that the pod sends goes to the host, also what is for its own subnet. Every pod's
//! veth has the same gateway address; an address of one host's prefix length makes no route.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Request, conf_sysctl, families, forward, guard_v6, has_ipv6, masquerade, pod_routes};
use crate::conf;
use crate::error::{Error, Result};
use crate::facts::Facts;
use crate::ipam::Leases;
use crate::plan::{Object, Phase, Plan, RouteAttrs, Side, Veth};

/// The whole of it.
pub fn plan(request: &Request, conf: &conf::Ptp, facts: &Facts, leases: &Leases) -> Result<Plan> {
    if leases.addrs.is_empty() {
        let what = format!("attach to network {}", request.network.name);
        return Err(Error::input(what, "ptp needs addresses: its list gives no ipam"));
    }
    let (v4, v6) = families(request, facts, leases)?;
    let mark = &request.mark;
    let veth = Veth {
        name: mark.veth(),
        mac: mark.outer_mac(&facts.machine),
        mtu: conf.mtu,
        peer_mtu: None,
        master: String::new(),
        master_mac: None,
        hairpin: false,
        isolated: false,
        no_link_local: false,
        peer: request.ifname.clone(),
        peer_mac: request.wishes.mac.unwrap_or_else(|| mark.mac("inner", &facts.machine)),
    };
    let outer = veth.name.clone();
    // A pod's router advertisement must not give the host a route (CVE-2020-10749).
    let deaf = conf_sysctl("ipv6", &outer, "accept_ra", "0");
    let plan = forward(Plan::new(), facts, v4, v6)
        .own(Phase::Build, Side::Host, Object::Veth(veth))
        .when(has_ipv6(facts, conf.mtu), |plan| plan.own(Phase::Build, Side::Host, deaf))
        .each(&leases.addrs, |plan, a| host_end(plan, &outer, a.address.addr(), a.gateway));
    let plan = guard_v6(plan, request, has_ipv6(facts, conf.mtu), leases, v6)
        .ensure(Side::Pod, Object::Up { link: "lo".into() })
        .own(Phase::Build, Side::Pod, Object::Up { link: request.ifname.clone() })
        .each(&leases.addrs, |plan, a| pod_end(plan, &request.ifname, a.address, a.gateway))
        .each(pod_routes(request, facts, leases), |plan, route| {
            plan.own(Phase::Build, Side::Pod, route)
        });
    Ok(plan
        .when(conf.ip_masq, |plan| plan.each(&leases.addrs, |plan, a| masquerade(plan, a.address))))
}

fn host_end(plan: Plan, veth: &str, pod: IpAddr, gateway: Option<IpAddr>) -> Plan {
    let own = |plan: Plan, object| plan.own(Phase::Build, Side::Host, object);
    let plan = match gateway {
        Some(ip) => own(
            plan,
            Object::Addr { link: veth.into(), address: IpNet::from(ip), route: true, dad: false },
        ),
        None => plan,
    };
    own(plan, to(veth, IpNet::from(pod), None))
}

fn pod_end(plan: Plan, link: &str, address: IpNet, gateway: Option<IpAddr>) -> Plan {
    let own = |plan: Plan, object| plan.own(Phase::Build, Side::Pod, object);
    let plan = own(plan, Object::Addr { link: link.into(), address, route: false, dad: false });
    match gateway {
        Some(ip) => {
            own(own(plan, to(link, IpNet::from(ip), None)), to(link, address.trunc(), Some(ip)))
        }
        None => plan,
    }
}

fn to(link: &str, dst: IpNet, via: Option<IpAddr>) -> Object {
    Object::Route { link: link.into(), dst, via, attrs: RouteAttrs::default() }
}
