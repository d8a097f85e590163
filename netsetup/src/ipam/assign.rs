//! Which addresses an attachment gets: one of each set of ranges.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Lease, Range, host_local};
use crate::conf::{Plugin, Route};
use crate::error::{Error, Kind, Result};
use crate::roots::Roots;
use crate::verbs::Wanted;

/// What IPAM gives an attachment.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    /// The files that claim the addresses; made with the plan.
    pub claims: Vec<Lease>,
    /// The addresses.
    pub addrs: Vec<Assigned>,
    /// The routes that the network's list gives the pod.
    pub routes: Vec<Route>,
}

/// One address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The address with its subnet's prefix length.
    pub address: IpNet,
    /// The subnet's gateway.
    pub gateway: Option<IpAddr>,
}

impl Leases {
    /// Whether a default route of this family would be among the pod's routes:
    /// because the bridge is the `default_gateway`, or because the list has one.
    pub fn wants_default(&self, default_gateway: bool, v6: bool) -> bool {
        let of_family = |ip: IpAddr| ip.is_ipv6() == v6;
        let listed = |r: &Route| r.dst.prefix_len() == 0 && of_family(r.dst.addr());
        let reachable = self.addrs.iter().any(|a| of_family(a.address.addr()));
        reachable && (default_gateway || self.routes.iter().any(listed))
    }

    /// Notes the addresses as the last ones of their sets, so that an address
    /// is not given out again as soon as it is free. Best effort: it only
    /// decides where the next search begins.
    pub fn remember(&self) {
        for lease in &self.claims {
            let _ = host_local::remember(&lease.dir, lease.set, lease.ip);
        }
    }
}

/// Chooses addresses that are free now. Nothing is claimed yet.
///
/// # Errors
/// [`Kind::Taken`] where a set is exhausted or a wanted address isn't free;
/// [`Kind::Input`] for a wanted address that no set has.
pub fn lease(wanted: &Wanted, roots: &Roots) -> Result<Leases> {
    let mut leases = Leases::default();
    let mut left: Vec<IpAddr> = wanted.wishes.ips.clone();
    for plugin in &wanted.network.plugins {
        let Plugin::Bridge(conf) = plugin else { continue };
        let Some(ipam) = &conf.ipam else { continue };
        let dir = ipam
            .data_dir
            .clone()
            .unwrap_or_else(|| roots.leases.clone())
            .join(&wanted.network.name);
        for (index, set) in ipam.sets.iter().enumerate() {
            let asked = take_from(&mut left, set);
            let found = host_local::candidate(
                &dir,
                index,
                set,
                &wanted.container,
                &wanted.ifname,
                asked,
                &|_| false,
            )?;
            leases.addrs.push(Assigned { address: found.address, gateway: found.gateway });
            leases.claims.push(found.lease);
        }
        leases.routes.clone_from(&ipam.routes);
    }
    match left.first() {
        None => Ok(leases),
        Some(ip) => Err(no_such_range(wanted, *ip, &leases)),
    }
}

fn take_from(left: &mut Vec<IpAddr>, set: &[Range]) -> Option<IpAddr> {
    let at = left.iter().position(|ip| set.iter().any(|range| range.subnet.contains(ip)))?;
    Some(left.remove(at))
}

fn no_such_range(wanted: &Wanted, ip: IpAddr, leases: &Leases) -> Error {
    let nets: Vec<String> = leases.addrs.iter().map(|a| a.address.trunc().to_string()).collect();
    let why = if nets.is_empty() {
        "it leases no addresses".to_owned()
    } else {
        format!("it leases addresses of {}, one of each", nets.join(", "))
    };
    Error::new(Kind::Input, format!("give {ip} to a pod on network {}", wanted.network.name), why)
}
