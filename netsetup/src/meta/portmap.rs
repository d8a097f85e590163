//! Published ports: elements of the ruleset's maps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::conf::{MarkBy, Portmap};
use crate::driver::{Request, own_network};
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::ipam::{Assigned, Leases};
use crate::kernel::ruleset::{Entry, Marking, Terms};
use crate::plan::{Object, Phase, Plan, Side};
use crate::request::Publish;

/// One element a port and family. A port without a host address is published
/// on every address of each family that the pod has.
pub fn plan(request: &Request, conf: &Portmap, facts: &Facts, leases: &Leases) -> Result<Plan> {
    let mut plan = Plan::new();
    for port in &request.wishes.ports {
        let mut reached = false;
        for lease in &leases.addrs {
            let ip = lease.address.addr();
            if port.host_ip.is_some_and(|host| host.is_ipv4() != ip.is_ipv4()) {
                continue;
            }
            reached = true;
            plan = publish(plan, request, conf, facts, port, lease)?;
        }
        // A plugin is asked for all families at once; the reference passes over those
        // that the pod doesn't have.
        if !reached && !request.as_plugin {
            let family = if port.host_ip.is_some_and(|ip| ip.is_ipv6()) { "IPv6" } else { "IPv4" };
            return Err(Error::input(
                format!("publish port {} on network {}", port.host_port, request.network.name),
                format!("the pod gets no {family} address there"),
            ));
        }
    }
    Ok(plan)
}

fn publish(
    plan: Plan,
    request: &Request,
    conf: &Portmap,
    facts: &Facts,
    port: &Publish,
    lease: &Assigned,
) -> Result<Plan> {
    let ip = lease.address.addr();
    let to = SocketAddr::new(ip, port.container_port);
    let (proto, host_port) = (port.proto, port.host_port);
    // 0.0.0.0 and :: say the family, and then mean all of its addresses.
    let host_ip = port.host_ip.filter(|host| !host.is_unspecified());
    let loopback = port.is_loopbacks();
    // Loopback stays the host's own, unless it is named; a runtime asks for it as the reference
    // does, with every port.
    let asked = conf.snat && ip.is_ipv4() && (request.as_plugin || loopback);
    let localnet = facts.localnet.as_ref().filter(|_| asked);
    if loopback && localnet.is_none() {
        return Err(no_loopback(request, port, ip));
    }
    let open = |plan: Plan, entry| plan.own(Phase::Open, Side::Host, Object::Entry(entry));
    let terms = terms(conf, facts, ip.is_ipv6());
    let name = terms.as_ref().map(Terms::name);
    let plan = own_network(plan, lease.address);
    let plan = plan.each(terms.clone(), |plan, t| plan.share(Phase::Close, Object::Terms(t)));
    let plan = match localnet.filter(|_| host_ip.is_none() || loopback) {
        Some(localnet) => {
            let object = Object::Localnet { link: localnet.link.clone() };
            let own = localnet.link == request.mark.veth();
            let plan = match localnet.foreign {
                true => plan.ensure(Side::Host, object),
                false if own => plan.own(Phase::Build, Side::Host, object),
                false => plan.share(Phase::Build, object),
            };
            match loopback {
                true => plan,
                false => open(plan, Entry::Local { proto, host_port, to, terms: name.clone() }),
            }
        }
        None => plan,
    };
    let marked = terms.as_ref().filter(|terms| terms.mark.is_some());
    let plan = plan.each(marked.into_iter().flat_map(|_| senders(conf, lease)), |plan, from| {
        let terms = name.clone().unwrap_or_default();
        open(plan, Entry::Marked { from, host_ip, proto, host_port, terms })
    });
    let plan = open(plan, Entry::Published { proto, host_ip, host_port, to, terms: name.clone() });
    Ok(match conf.masq_all && marked.is_none() {
        // Two ports of the host may lead to one of the pod's.
        true => open(plan, Entry::Hidden { proto, to }),
        false => plan,
    })
}

/// The terms of one family's ports; `None` where all packets get there and none is marked.
fn terms(conf: &Portmap, facts: &Facts, v6: bool) -> Option<Terms> {
    let conditions = if v6 { &conf.conditions_v6 } else { &conf.conditions_v4 };
    // Without snat nothing is masqueraded, and so nothing marked.
    let mark = match conf.mark.as_ref().filter(|_| conf.snat) {
        Some(MarkBy::Bit(bit)) => {
            Some(Marking { mask: 1 << bit, value: 1 << bit, masquerade: true })
        }
        Some(MarkBy::Chain(_)) => facts.set_mark[usize::from(v6)],
        None => None,
    };
    let any = !conditions.is_empty() || mark.is_some();
    any.then(|| Terms { v6, conditions: conditions.clone(), mark })
}

/// Whose packets are to be masqueraded: those of the pod's own network, for which the answer
/// would bypass the host, and those of the host's loopback; or everybody's.
fn senders(conf: &Portmap, lease: &Assigned) -> Vec<IpNet> {
    let everybody = IpNet::new(
        match lease.address.addr() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        },
        0,
    );
    match (conf.masq_all, lease.address.addr()) {
        (true, _) => everybody.into_iter().collect(),
        (false, IpAddr::V4(_)) => {
            vec![lease.address.trunc(), IpNet::from(IpAddr::from(Ipv4Addr::LOCALHOST))]
        }
        (false, IpAddr::V6(_)) => vec![lease.address.trunc()],
    }
}

fn no_loopback(request: &Request, port: &Publish, ip: IpAddr) -> Error {
    let what = format!("publish port {port} on network {}", request.network.name);
    let why = match ip.is_ipv6() {
        true => "the kernel can't lead ::1 anywhere else",
        false => "its portmap has snat turned off, or the host has no route to the pod",
    };
    Error::new(Kind::Unsupported, what, why)
}
