//! The answer to an add: a CNI result, drawn from the plan.

use crate::conf::{Dns, Route};
use crate::front::result::{CniResult, Interface, Ip};
use crate::ipam::Leases;
use crate::plan::{Object, Plan};
use crate::request::Mac;

/// What a plan gives the pod, in the words of CNI.
pub(crate) fn of_plan(plan: &Plan, leases: &Leases, sandbox: &str, dns: Dns) -> CniResult {
    let mut result = CniResult { dns, ..CniResult::default() };
    let interface = |name: &str, mac: Mac, mtu: Option<u32>, sandbox: &str| Interface {
        name: name.to_owned(),
        mac: mac.to_string(),
        sandbox: sandbox.to_owned(),
        mtu,
    };
    let mut inner = None;
    for step in &plan.steps {
        match &step.what {
            Object::Bridge(b) => result.interfaces.push(interface(&b.name, b.mac, b.mtu, "")),
            Object::Veth(v) => {
                result.interfaces.push(interface(&v.name, v.mac, v.mtu, ""));
                inner = Some(result.interfaces.len());
                result.interfaces.push(interface(&v.peer, v.peer_mac, v.mtu, sandbox));
            }
            Object::Route { dst, via, .. } => {
                result.routes.push(Route {
                    dst: *dst,
                    gw: *via,
                    mtu: None,
                    advmss: None,
                    priority: None,
                });
            }
            _ => {}
        }
    }
    result.ips = leases
        .addrs
        .iter()
        .map(|a| Ip { interface: inner, address: a.address, gateway: a.gateway })
        .collect();
    result
}
