//! Published ports: elements of the ruleset's maps.

use std::net::SocketAddr;

use crate::driver::Request;
use crate::driver::own_network;
use crate::error::{Error, Kind, Result};
use crate::ipam::Leases;
use crate::kernel::ruleset::Entry;
use crate::plan::{Object, Phase, Plan, Side};

/// One element a port and family. A port without a host address is published
/// on every address of each family that the pod has.
pub fn plan(request: &Request, leases: &Leases) -> Result<Plan> {
    let mut plan = Plan::new();
    for port in &request.wishes.ports {
        let mut reached = false;
        for lease in &leases.addrs {
            let ip = lease.address.addr();
            if port.host_ip.is_some_and(|host| host.is_ipv4() != ip.is_ipv4()) {
                continue;
            }
            reached = true;
            let entry = Entry::Published {
                proto: port.proto,
                // 0.0.0.0 and :: say the family, and then mean all of its addresses.
                host_ip: port.host_ip.filter(|host| !host.is_unspecified()),
                host_port: port.host_port,
                to: SocketAddr::new(ip, port.container_port),
            };
            plan =
                own_network(plan, lease.address).own(Phase::Open, Side::Host, Object::Entry(entry));
        }
        if reached && port.host_ip.is_some_and(|ip| ip.is_loopback()) {
            let what = format!("publish port {port} on network {}", request.network.name);
            return Err(Error::new(
                Kind::Unsupported,
                what,
                "ports of loopback addresses are not built yet",
            ));
        }
        if !reached {
            let family = if port.host_ip.is_some_and(|ip| ip.is_ipv6()) { "IPv6" } else { "IPv4" };
            return Err(Error::input(
                format!("publish port {} on network {}", port.host_port, request.network.name),
                format!("the pod gets no {family} address there"),
            ));
        }
    }
    Ok(plan)
}
