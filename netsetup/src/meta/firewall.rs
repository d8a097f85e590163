//! Accepts for a pod's addresses where the host's own rules drop what is forwarded.

use crate::conf::Firewall;
use crate::facts::Facts;
use crate::ipam::Leases;
use crate::plan::{Object, Phase, Plan, Side};

/// Chains that pods share, and each address's accepts in them. Where nothing drops,
/// nothing is needed.
pub fn plan(conf: &Firewall, facts: &Facts, leases: &Leases) -> Plan {
    let drops = |v6: bool| if v6 { facts.forward_v6 } else { facts.forward_v4 };
    let ips = leases.addrs.iter().map(|lease| lease.address.addr());
    Plan::new().each(ips.filter(|ip| drops(ip.is_ipv6())), |plan, ip| {
        let admin = conf.admin_chain.clone();
        plan.share(Phase::Close, Object::Forward { v6: ip.is_ipv6(), admin }).own(
            Phase::Open,
            Side::Host,
            Object::Accepted(ip),
        )
    })
}
