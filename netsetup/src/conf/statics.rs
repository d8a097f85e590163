//! The `static` address manager: addresses that are written down.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Dns,
    ipam::{Route, asked, read_routes},
    json::{Fault, Node, Object, Parsed},
    read_dns,
};
use crate::ipam::Assigned;

/// Addresses that need no lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Static {
    /// The addresses.
    pub addrs: Vec<Assigned>,
    /// Routes in the pod.
    pub routes: Vec<Route>,
    /// What the result hands on about name resolution.
    pub dns: Option<Dns>,
}

impl Static {
    /// What CNI_ARGS says: `IP` adds addresses, `GATEWAY` is for those of them whose
    /// subnet it is in; both are lists with commas. The error says what is wrong.
    pub fn take_args(&mut self, ip: Option<&str>, gateway: Option<&str>) -> Result<(), String> {
        let written = self.addrs.len();
        for text in ip.into_iter().flat_map(|list| list.split(',')) {
            let text = text.trim();
            let address = text
                .parse()
                .map_err(|_| format!("IP: {text:?} is not an address with a prefix length"))?;
            self.addrs.push(Assigned { address, gateway: None });
        }
        for text in gateway.into_iter().flat_map(|list| list.split(',')) {
            let text = text.trim();
            let gateway: IpAddr =
                text.parse().map_err(|_| format!("GATEWAY: {text:?} is not an address"))?;
            for addr in
                self.addrs[written..].iter_mut().filter(|addr| addr.address.contains(&gateway))
            {
                addr.gateway = Some(gateway);
            }
        }
        Ok(())
    }
}

pub(super) fn read(plugin: &Object, ipam: &Object) -> Parsed<Static> {
    let mut addrs = Vec::new();
    for node in ipam.array("addresses")? {
        let entry = node.object()?;
        let Some(text) = entry.get("address") else {
            return Err(Fault::input(&entry.at("address"), "is missing"));
        };
        let gateway = entry.get("gateway").map(|node| node.parse::<IpAddr>("an address"));
        addrs.push(Assigned { address: read_cidr(&text)?, gateway: gateway.transpose()? });
    }
    // What is asked for stands instead of what is written down, and not beside it.
    let wanted = asked(plugin, "ips")?;
    if !wanted.is_empty() {
        let cidr = |node| Ok(Assigned { address: read_cidr(node)?, gateway: None });
        addrs = wanted.iter().map(cidr).collect::<Parsed<_>>()?;
    }
    Ok(Static { addrs, routes: read_routes(ipam)?, dns: read_dns(ipam)? })
}

/// An address of a pod with its subnet's prefix length.
fn read_cidr(node: &Node) -> Parsed<IpNet> {
    let net: IpNet = node.parse("an address with a prefix length")?;
    if net.addr().is_unspecified() || net.addr().is_multicast() {
        return Err(node.fault(format_args!("{net} cannot be a pod's address")));
    }
    Ok(net)
}
