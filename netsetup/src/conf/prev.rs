//! Results as other plugins write them, in every version of the specification:
//! `prevResult`, and the answer of an address manager.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::{
    Dns, Route,
    ipam::read_route,
    json::{Fault, Node, Object, Parsed},
};
use crate::{
    error::{Error, Result},
    result::{CniResult, Interface, Ip},
};

/// Reads a result that podkeel itself is to do as it says; `what` is who gave it.
pub fn result(value: &Value, what: &str) -> Result<CniResult> {
    read_as(&Node::root(value), read_own_route)
        .map_err(|fault| Error::new(fault.kind, format!("read {what}"), fault.why))
}

/// Reads a result that tells what others have done.
pub fn told(value: &Value, what: &str) -> Result<CniResult> {
    read(&Node::root(value))
        .map_err(|fault| Error::new(fault.kind, format!("read {what}"), fault.why))
}

/// What others have done: a route that could not be made by us is no reason to fail.
pub(super) fn read(node: &Node) -> Parsed<CniResult> {
    read_as(node, read_their_route)
}

type ReadRoute = fn(&Object) -> Parsed<Option<Route>>;

/// The form says what version it is of.
fn read_as(node: &Node, route: ReadRoute) -> Parsed<CniResult> {
    let result = node.object()?;
    let dns = result.object("dns")?.map(|dns| read_dns(&dns)).transpose()?.unwrap_or_default();
    if result.get("ip4").is_some() || result.get("ip6").is_some() {
        return read_020(&result, dns, route);
    }
    let interfaces = result
        .array("interfaces")?
        .iter()
        .map(|i| read_interface(&i.object()?))
        .collect::<Parsed<Vec<_>>>()?;
    let ips: Vec<Ip> =
        result.array("ips")?.iter().map(|ip| read_ip(&ip.object()?)).collect::<Parsed<_>>()?;
    Ok(CniResult { interfaces, ips, routes: read_routes(&result, route)?, dns })
}

fn read_routes(object: &Object, route: ReadRoute) -> Parsed<Vec<Route>> {
    let all = object.array("routes")?;
    all.iter().filter_map(|node| node.object().and_then(|r| route(&r)).transpose()).collect()
}

fn read_own_route(object: &Object) -> Parsed<Option<Route>> {
    read_route(object).map(Some)
}

/// A route of others, if it can be one: it may have bits behind its prefix, as the reference
/// writes it, and numbers below 0. One over a gateway of another family leads nowhere.
fn read_their_route(object: &Object) -> Parsed<Option<Route>> {
    let Some(node) = object.get("dst") else {
        return Err(Fault::input(&object.at("dst"), "is missing"));
    };
    let dst = node.parse::<IpNet>("an address with a prefix length")?.trunc();
    let gw = read_gateway(object, "gw")?;
    if gw.is_some_and(|gw| gw.is_ipv4() != dst.addr().is_ipv4()) {
        return Ok(None);
    }
    let given = |key: &str| Ok(any_number(object, key)?.filter(|n| *n != 0));
    Ok(Some(Route {
        dst,
        gw,
        mtu: given("mtu")?,
        advmss: given("advmss")?,
        priority: given("priority")?,
        table: any_number(object, "table")?,
        scope: any_number(object, "scope")?,
    }))
}

/// A number, if it can be meant: not one below 0.
fn any_number(object: &Object, key: &str) -> Parsed<Option<u32>> {
    match object.get(key) {
        Some(node) if node.value.as_i64().is_some_and(|n| n < 0) => Ok(None),
        _ => object.number(key),
    }
}

/// An address; the reference writes an empty text for none.
fn read_gateway(object: &Object, key: &str) -> Parsed<Option<IpAddr>> {
    let node = object.get(key).filter(|node| node.value != "");
    node.map(|node| node.parse::<IpAddr>("an address").map(|ip| ip.to_canonical())).transpose()
}

/// Before 0.3.0: one address a family, with its routes.
fn read_020(result: &Object, dns: Dns, route: ReadRoute) -> Parsed<CniResult> {
    let mut read = CniResult { dns, ..CniResult::default() };
    for key in ["ip4", "ip6"] {
        let Some(family) = result.object(key)? else { continue };
        let Some(node) = family.get("ip") else {
            return Err(Fault::input(&family.at("ip"), "is missing"));
        };
        let address = node.parse::<IpNet>("an address with a prefix length")?;
        let gateway = read_gateway(&family, "gateway")?;
        read.ips.push(Ip { interface: None, address, gateway });
        read.routes.extend(read_routes(&family, route)?);
    }
    Ok(read)
}

fn read_interface(interface: &Object) -> Parsed<Interface> {
    let text = |key: &str| Ok(interface.string(key)?.unwrap_or_default().to_owned());
    Ok(Interface {
        name: text("name")?,
        mac: text("mac")?,
        sandbox: text("sandbox")?,
        mtu: any_number(interface, "mtu")?.filter(|mtu| *mtu != 0),
        socket_path: interface.text("socketPath")?.map(str::to_owned),
        pci_id: interface.text("pciID")?.map(str::to_owned),
    })
}

fn read_ip(ip: &Object) -> Parsed<Ip> {
    let Some(node) = ip.get("address") else {
        return Err(Fault::input(&ip.at("address"), "is missing"));
    };
    Ok(Ip {
        // Some count from -1 where no interface is meant.
        interface: any_number(ip, "interface")?.map(|index| index as usize),
        address: node.parse("an address with a prefix length")?,
        gateway: read_gateway(ip, "gateway")?,
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
