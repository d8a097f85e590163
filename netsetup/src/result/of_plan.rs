//! The answer to an add: a CNI result, drawn from the plan.

use super::{CniResult, Interface, Ip};
use crate::conf::{Dns, Route};
use crate::ipam::Leases;
use crate::plan::{Device, Hold, LinkAttr, Object, Plan, Side};
use crate::request::Mac;

/// What a plan gives the pod, in the words of CNI.
pub(crate) fn of_plan(plan: &Plan, leases: &Leases, sandbox: &str, dns: Dns) -> CniResult {
    let mut result = CniResult { dns, ..CniResult::default() };
    let interface = |name: &str, mac: Mac, mtu: Option<u32>, sandbox: &str| Interface {
        name: name.to_owned(),
        mac: mac.to_string(),
        sandbox: sandbox.to_owned(),
        mtu,
        ..Interface::default()
    };
    let mut inner = None;
    let mut gateway = None;
    for step in &plan.steps {
        match &step.what {
            Object::Bridge(b) => result.interfaces.push(interface(&b.name, b.mac, b.mtu, "")),
            Object::Veth(v) if inner.is_none() => {
                result.interfaces.push(interface(&v.name, v.mac, v.mtu, ""));
                inner = Some(result.interfaces.len());
                result.interfaces.push(interface(&v.peer, v.peer_mac, v.mtu, sandbox));
            }
            Object::Device(d) if inner.is_none() && step.hold == Hold::Own => {
                inner = Some(result.interfaces.len());
                result.interfaces.push(Interface {
                    mac: d.address().map(|mac| mac.to_string()).unwrap_or_default(),
                    ..interface(&d.name, Mac([0; 6]), d.mtu, sandbox)
                });
            }
            // A gateway in a VLAN of the bridge's, whose address it has.
            Object::Device(Device { name, parent: Some(on), .. }) => {
                let bridge = result.interfaces.iter().find(|link| link.name == on.name);
                let of = |bridge: &Interface| Interface {
                    name: name.clone(),
                    mtu: None,
                    ..bridge.clone()
                };
                gateway = gateway.or(bridge.map(of));
            }
            Object::Lent(lent) if inner.is_none() => {
                inner = Some(result.interfaces.len());
                result.interfaces.push(Interface {
                    mac: lent.mac.map(|mac| mac.to_string()).unwrap_or_default(),
                    ..interface(&lent.to, Mac([0; 6]), None, sandbox)
                });
            }
            Object::Route { dst, via, attrs, .. } if step.at == Side::Pod => {
                result.routes.push(Route {
                    dst: *dst,
                    gw: *via,
                    mtu: attrs.mtu,
                    advmss: attrs.advmss,
                    priority: attrs.priority,
                    table: attrs.table,
                    scope: attrs.scope,
                });
            }
            // What is set of the interface when it is there.
            Object::LinkAttr { link, attr, value } if step.at == Side::Pod => {
                let inner = inner.and_then(|i| result.interfaces.get_mut(i));
                match (inner.filter(|i| i.name == *link), attr) {
                    (Some(inner), LinkAttr::Mac) => inner.mac.clone_from(value),
                    (Some(inner), LinkAttr::Mtu) => inner.mtu = value.parse().ok(),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    // Behind the others, as the reference has it.
    result.interfaces.extend(gateway);
    result.ips = leases
        .addrs
        .iter()
        .map(|a| Ip { interface: inner, address: a.address, gateway: a.gateway })
        .collect();
    result
}
