//! Which addresses an attachment gets: one of each set of ranges.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::{Lease, Range, host_local, resolv_conf};
use crate::conf::{Dns, HostLocal, Ipam, Network, Route};
use crate::error::{Error, Kind, Result};
use crate::roots::Roots;

/// What IPAM gives an attachment.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    /// The files that claim the addresses; made with the plan.
    pub claims: Vec<Lease>,
    /// The addresses.
    pub addrs: Vec<Assigned>,
    /// The routes that the network's list gives the pod.
    pub routes: Vec<Route>,
    /// What the address manager says about name resolution.
    pub dns: Option<Dns>,
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

    /// An address without a gateway gets its subnet's first address as one.
    pub fn know_gateways(&mut self) {
        for addr in &mut self.addrs {
            addr.gateway = addr.gateway.or_else(|| first_of(addr.address));
        }
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

/// The address behind that of the subnet itself.
fn first_of(net: IpNet) -> Option<IpAddr> {
    match net.network() {
        IpAddr::V4(ip) => Some(std::net::Ipv4Addr::from_bits(ip.to_bits().checked_add(1)?).into()),
        IpAddr::V6(ip) => Some(std::net::Ipv6Addr::from_bits(ip.to_bits().checked_add(1)?).into()),
    }
}

/// Whose addresses are to be chosen, and which of them are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The network.
    pub network: &'a Network,
    /// Container id.
    pub container: &'a str,
    /// Name of the interface in the pod.
    pub ifname: &'a str,
    /// Addresses that the caller asks for; the network's list may ask for more.
    pub ips: &'a [IpAddr],
}

/// Chooses addresses that are free now. Nothing is claimed yet.
///
/// # Errors
/// [`Kind::Taken`] where a set is exhausted or a wanted address isn't free;
/// [`Kind::Input`] for a wanted address that no set has.
pub fn lease(asked: Asked, roots: &Roots) -> Result<Leases> {
    let mut leases = match asked.network.ipam() {
        Some(Ipam::HostLocal(ipam)) => lease_local(asked, ipam, roots)?,
        Some(Ipam::Static(ipam)) => {
            no_more(asked, asked.ips, &Leases::default())?;
            let (addrs, routes) = (ipam.addrs.clone(), ipam.routes.clone());
            Leases { addrs, routes, dns: ipam.dns.clone(), ..Leases::default() }
        }
        Some(Ipam::Foreign(kind)) => {
            let why = format!("only {kind} can do that, and it wasn't asked");
            let what = format!("lease addresses of network {}", asked.network.name);
            return Err(Error::new(Kind::Unsupported, what, why));
        }
        None => {
            no_more(asked, asked.ips, &Leases::default())?;
            Leases::default()
        }
    };
    if asked.network.has_gateway() {
        leases.know_gateways();
    }
    Ok(leases)
}

/// Where a network's leases lie.
pub fn lease_dir(network: &str, ipam: &HostLocal, roots: &Roots) -> PathBuf {
    ipam.data_dir.as_ref().unwrap_or(&roots.leases).join(network)
}

fn lease_local(asked: Asked, ipam: &HostLocal, roots: &Roots) -> Result<Leases> {
    let mut leases = Leases { routes: ipam.routes.clone(), ..Leases::default() };
    let mut left: Vec<IpAddr> = asked.ips.iter().chain(&ipam.ips).copied().collect();
    let dir = lease_dir(&asked.network.name, ipam, roots);
    for (index, set) in ipam.sets.iter().enumerate() {
        let wanted = take_from(&mut left, set);
        let found = host_local::candidate(
            &dir,
            index,
            set,
            asked.container,
            asked.ifname,
            wanted,
            &|_| false,
        )?;
        leases.addrs.push(Assigned { address: found.address, gateway: found.gateway });
        leases.claims.push(found.lease);
    }
    if let Some(path) = &ipam.resolv_conf {
        leases.dns = Some(resolv_conf::read(path)?);
    }
    no_more(asked, &left, &leases)?;
    Ok(leases)
}

fn take_from(left: &mut Vec<IpAddr>, set: &[Range]) -> Option<IpAddr> {
    let at = left.iter().position(|ip| set.iter().any(|range| range.subnet.contains(ip)))?;
    Some(left.remove(at))
}

/// No address that was asked for may be passed over.
fn no_more(asked: Asked, left: &[IpAddr], leases: &Leases) -> Result<()> {
    let Some(ip) = left.first() else { return Ok(()) };
    let nets: Vec<String> = leases.addrs.iter().map(|a| a.address.trunc().to_string()).collect();
    let why = if nets.is_empty() {
        "it leases no addresses".to_owned()
    } else {
        format!("it leases addresses of {}, one of each", nets.join(", "))
    };
    let what = format!("give {ip} to a pod on network {}", asked.network.name);
    Err(Error::new(Kind::Input, what, why))
}
