//! Results as other plugins write them, in every version of the specification:
//! `prevResult`, and the answer of an address manager.

use ipnet::IpNet;
use serde_json::Value;

use super::{
    Dns,
    ipam::read_route,
    json::{Fault, Node, Object, Parsed},
};
use crate::{
    error::{Error, Result},
    result::{CniResult, Interface, Ip},
};

/// Reads a result, whose form says what version it is of; `what` is who gave it.
pub fn result(value: &Value, what: &str) -> Result<CniResult> {
    read(&Node::root(value))
        .map_err(|fault| Error::new(fault.kind, format!("read {what}"), fault.why))
}

pub(super) fn read(node: &Node) -> Parsed<CniResult> {
    let result = node.object()?;
    let dns = result.object("dns")?.map(|dns| read_dns(&dns)).transpose()?.unwrap_or_default();
    if result.get("ip4").is_some() || result.get("ip6").is_some() {
        return read_020(&result, dns);
    }
    let interfaces = result
        .array("interfaces")?
        .iter()
        .map(|i| read_interface(&i.object()?))
        .collect::<Parsed<Vec<_>>>()?;
    let ips: Vec<Ip> =
        result.array("ips")?.iter().map(|ip| read_ip(&ip.object()?)).collect::<Parsed<_>>()?;
    let routes =
        result.array("routes")?.iter().map(|r| read_route(&r.object()?)).collect::<Parsed<_>>()?;
    Ok(CniResult { interfaces, ips, routes, dns })
}

/// Before 0.3.0: one address a family, with its routes.
fn read_020(result: &Object, dns: Dns) -> Parsed<CniResult> {
    let mut read = CniResult { dns, ..CniResult::default() };
    for key in ["ip4", "ip6"] {
        let Some(family) = result.object(key)? else { continue };
        let Some(node) = family.get("ip") else {
            return Err(Fault::input(&family.at("ip"), "is missing"));
        };
        let address = node.parse::<IpNet>("an address with a prefix length")?;
        let gateway = family.get("gateway").map(|node| node.parse("an address")).transpose()?;
        read.ips.push(Ip { interface: None, address, gateway });
        for route in family.array("routes")? {
            read.routes.push(read_route(&route.object()?)?);
        }
    }
    Ok(read)
}

fn read_interface(interface: &Object) -> Parsed<Interface> {
    let text = |key: &str| Ok(interface.string(key)?.unwrap_or_default().to_owned());
    Ok(Interface {
        name: text("name")?,
        mac: text("mac")?,
        sandbox: text("sandbox")?,
        mtu: interface.number("mtu")?.filter(|mtu| *mtu != 0),
        socket_path: interface.text("socketPath")?.map(str::to_owned),
        pci_id: interface.text("pciID")?.map(str::to_owned),
    })
}

fn read_ip(ip: &Object) -> Parsed<Ip> {
    let Some(node) = ip.get("address") else {
        return Err(Fault::input(&ip.at("address"), "is missing"));
    };
    Ok(Ip {
        interface: ip.number("interface")?.map(|index| index as usize),
        address: node.parse("an address with a prefix length")?,
        gateway: ip.get("gateway").map(|node| node.parse("an address")).transpose()?,
    })
}

fn read_dns(dns: &Object) -> Parsed<Dns> {
    Ok(Dns {
        nameservers: dns.strings("nameservers")?,
        domain: dns.text("domain")?.map(str::to_owned),
        search: dns.strings("search")?,
        options: dns.strings("options")?,
    })
}
