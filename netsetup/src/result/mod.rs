//! The result of an ADD, as CNI writes it down: in each version of the
//! specification, from one set of types.
//!
//! ```text
//! 0.1.0, 0.2.0   ip4 and ip6, one address each, routes within them
//! 0.3.0 - 0.4.0  interfaces, ips (each with its "version"), routes
//! 1.0.0          ips without "version"
//! 1.1.0          and mtu of interfaces and routes; advmss, priority, table and scope of routes
//! ```

pub(crate) mod of_plan;

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::{
    conf::{CNI_VERSIONS, Dns, Route},
    error::{Error, Kind, Result},
};

/// What an ADD has made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CniResult {
    /// Interfaces, in the order that [`Ip::interface`] counts them in.
    pub interfaces: Vec<Interface>,
    /// Addresses.
    pub ips: Vec<Ip>,
    /// Routes in the pod.
    pub routes: Vec<Route>,
    /// What the network says about name resolution.
    pub dns: Dns,
}

/// An interface that was made or is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its link-layer address, as text.
    pub mac: String,
    /// The path of the pod's network namespace; empty = on the host.
    pub sandbox: String,
    /// Its mtu, in bytes, where it is known.
    pub mtu: Option<u32>,
    /// A socket file that it is reached by, where it is no link.
    pub socket_path: Option<String>,
    /// The PCI device that it is, where it is one.
    pub pci_id: Option<String>,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ip {
    /// The interface that has it, by index into [`CniResult::interfaces`].
    pub interface: Option<usize>,
    /// The address and the length of its subnet's prefix.
    pub address: IpNet,
    /// The subnet's gateway.
    pub gateway: Option<IpAddr>,
}

impl CniResult {
    /// The result as JSON of one version of the specification, one of
    /// [`CNI_VERSIONS`]. Errors: `Kind::Unsupported` for other versions, and for
    /// what a version cannot say: before 0.3.0 a second address of a family.
    pub fn to_json(&self, version: &str) -> Result<Value> {
        match version {
            "0.1.0" | "0.2.0" => self.to_json_020(version),
            "0.3.0" | "0.3.1" | "0.4.0" | "1.0.0" | "1.1.0" => Ok(self.to_json_030(version)),
            _ => {
                let why = format!(
                    "the version is not one that podkeel knows: {}",
                    CNI_VERSIONS.join(", ")
                );
                Err(Error::new(
                    Kind::Unsupported,
                    format!("write a CNI result of version {version:?}"),
                    why,
                ))
            }
        }
    }

    fn to_json_030(&self, version: &str) -> Value {
        let newest = version == "1.1.0";
        let mut result = Map::new();
        result.insert("cniVersion".into(), json!(version));
        if !self.interfaces.is_empty() {
            result.insert(
                "interfaces".into(),
                self.interfaces.iter().map(|i| i.to_json(newest)).collect(),
            );
        }
        let with_version = version.starts_with("0.");
        if !self.ips.is_empty() {
            result
                .insert("ips".into(), self.ips.iter().map(|ip| ip.to_json(with_version)).collect());
        }
        if !self.routes.is_empty() {
            result.insert(
                "routes".into(),
                self.routes.iter().map(|r| route_to_json(r, newest)).collect(),
            );
        }
        // Always there, as in the reference: old readers look for it.
        result.insert("dns".into(), json!(self.dns));
        Value::Object(result)
    }

    fn to_json_020(&self, version: &str) -> Result<Value> {
        let mut result = Map::new();
        result.insert("cniVersion".into(), json!(version));
        for (key, v4) in [("ip4", true), ("ip6", false)] {
            let mut ips = self.ips.iter().filter(|ip| ip.address.addr().is_ipv4() == v4);
            let Some(ip) = ips.next() else { continue };
            if let Some(second) = ips.next() {
                let what = format!("write a CNI result of version {version:?}");
                let why = format!(
                    "it has room for one address of a family, not for {} and {}",
                    ip.address, second.address
                );
                return Err(Error::new(Kind::Unsupported, what, why));
            }
            let routes = self.routes.iter().filter(|route| route.dst.addr().is_ipv4() == v4);
            let routes: Vec<Value> = routes.map(|route| route_to_json(route, false)).collect();
            let mut family = Map::new();
            family.insert("ip".into(), json!(ip.address));
            put(&mut family, "gateway", ip.gateway);
            put(&mut family, "routes", Some(routes).filter(|routes| !routes.is_empty()));
            result.insert(key.into(), Value::Object(family));
        }
        result.insert("dns".into(), json!(self.dns));
        Ok(Value::Object(result))
    }
}

impl Interface {
    fn to_json(&self, with_mtu: bool) -> Value {
        let mut interface = Map::new();
        interface.insert("name".into(), json!(self.name));
        put(&mut interface, "mac", Some(&self.mac).filter(|mac| !mac.is_empty()));
        put(&mut interface, "mtu", self.mtu.filter(|_| with_mtu));
        put(&mut interface, "sandbox", Some(&self.sandbox).filter(|sandbox| !sandbox.is_empty()));
        put(&mut interface, "socketPath", self.socket_path.as_ref().filter(|_| with_mtu));
        put(&mut interface, "pciID", self.pci_id.as_ref().filter(|_| with_mtu));
        Value::Object(interface)
    }
}

impl Ip {
    fn to_json(&self, with_version: bool) -> Value {
        let mut ip = Map::new();
        let version = if self.address.addr().is_ipv4() { "4" } else { "6" };
        put(&mut ip, "version", Some(version).filter(|_| with_version));
        put(&mut ip, "interface", self.interface);
        ip.insert("address".into(), json!(self.address));
        put(&mut ip, "gateway", self.gateway);
        Value::Object(ip)
    }
}

fn route_to_json(route: &Route, newest: bool) -> Value {
    let mut object = Map::new();
    object.insert("dst".into(), json!(route.dst));
    put(&mut object, "gw", route.gw);
    put(&mut object, "mtu", route.mtu.filter(|_| newest));
    put(&mut object, "advmss", route.advmss.filter(|_| newest));
    put(&mut object, "priority", route.priority.filter(|_| newest));
    put(&mut object, "table", route.table.filter(|_| newest));
    put(&mut object, "scope", route.scope.filter(|_| newest));
    Value::Object(object)
}

/// Sets a key, unless there is nothing to set it to.
fn put(object: &mut Map<String, Value>, key: &str, value: Option<impl serde::Serialize>) {
    if let Some(value) = value {
        object.insert(key.to_owned(), json!(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> CniResult {
        let interface = |name: &str, sandbox: &str| Interface {
            name: name.into(),
            mac: "02:00:00:00:00:07".into(),
            sandbox: sandbox.into(),
            mtu: Some(1500),
            ..Interface::default()
        };
        let ip = |address: &str, gateway: &str| Ip {
            interface: Some(1),
            address: address.parse().unwrap(),
            gateway: Some(gateway.parse().unwrap()),
        };
        let route = |dst: &str, gw: Option<&str>| Route {
            gw: gw.map(|gw| gw.parse().unwrap()),
            mtu: Some(1400),
            priority: Some(5),
            ..Route::to(dst.parse().unwrap())
        };
        CniResult {
            interfaces: vec![interface("podkeel0", ""), interface("eth0", "/run/netns/web")],
            ips: vec![ip("10.89.0.7/16", "10.89.0.1"), ip("fd00::7/64", "fd00::1")],
            routes: vec![route("0.0.0.0/0", None), route("::/0", Some("fd00::1"))],
            dns: Dns { nameservers: vec!["10.89.0.1".into()], ..Dns::default() },
        }
    }

    #[test]
    fn every_version_in_the_order_of_the_specification() {
        let v4 = r#""interface":1,"address":"10.89.0.7/16","gateway":"10.89.0.1"}"#;
        let v6 = r#""interface":1,"address":"fd00::7/64","gateway":"fd00::1"}"#;
        let dns = r#""dns":{"nameservers":["10.89.0.1"]}}"#;
        let mac = r#""mac":"02:00:00:00:00:07""#;
        for version in CNI_VERSIONS {
            let head = format!(r#"{{"cniVersion":"{version}""#);
            let interfaces = format!(
                r#""interfaces":[{{"name":"podkeel0",{mac}}},{{"name":"eth0",{mac},"sandbox":"/run/netns/web"}}]"#
            );
            let routes = r#""routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0","gw":"fd00::1"}]"#;
            let expected = match version {
                "0.1.0" | "0.2.0" => format!(
                    r#"{head},"ip4":{{"ip":"10.89.0.7/16","gateway":"10.89.0.1","routes":[{{"dst":"0.0.0.0/0"}}]}},"ip6":{{"ip":"fd00::7/64","gateway":"fd00::1","routes":[{{"dst":"::/0","gw":"fd00::1"}}]}},{dns}"#
                ),
                "0.3.0" | "0.3.1" | "0.4.0" => {
                    format!(
                        r#"{head},{interfaces},"ips":[{{"version":"4",{v4},{{"version":"6",{v6}],{routes},{dns}"#
                    )
                }
                "1.0.0" => format!(r#"{head},{interfaces},"ips":[{{{v4},{{{v6}],{routes},{dns}"#),
                _ => {
                    let interfaces = interfaces.replace(mac, &format!(r#"{mac},"mtu":1500"#));
                    let routes = r#""routes":[{"dst":"0.0.0.0/0","mtu":1400,"priority":5},{"dst":"::/0","gw":"fd00::1","mtu":1400,"priority":5}]"#;
                    format!(r#"{head},{interfaces},"ips":[{{{v4},{{{v6}],{routes},{dns}"#)
                }
            };
            assert_eq!(sample().to_json(version).unwrap().to_string(), expected, "{version}");
        }
    }

    #[test]
    fn an_empty_result_has_its_version_and_dns() {
        let empty = CniResult::default();
        for version in CNI_VERSIONS {
            let expected = format!(r#"{{"cniVersion":"{version}","dns":{{}}}}"#);
            assert_eq!(empty.to_json(version).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_cannot_be_said() {
        let error = sample().to_json("2.0.0").unwrap_err();
        assert_eq!(error.kind, Kind::Unsupported);
        assert_eq!(
            error.to_string(),
            "cannot write a CNI result of version \"2.0.0\": the version is not one that podkeel knows: \
             0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"
        );
        let mut two = sample();
        two.ips.push(two.ips[0].clone());
        two.ips[2].address = "10.90.0.7/16".parse().unwrap();
        let error = two.to_json("0.2.0").unwrap_err();
        assert!(error.to_string().contains("not for 10.89.0.7/16 and 10.90.0.7/16"), "{error}");
        assert!(two.to_json("0.3.0").is_ok());
    }
}
