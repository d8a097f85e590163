//! Drivers: from a request and the facts to a plan. Pure functions; they see
//! no socket, no file and no JSON.

pub mod bridge;

use crate::conf::{Network, Plugin};
use crate::error::{Error, Result};
use crate::facts::Facts;
use crate::ipam::Leases;
use crate::meta;
use crate::names::Mark;
use crate::plan::{Object, Phase, Plan, Side};
use crate::request::{SysctlSetting, Wishes};

/// One attachment that somebody wants: a container, a network, an interface.
#[derive(Clone, Debug)]
pub struct Request {
    /// The network.
    pub network: Network,
    /// Container id.
    pub container: String,
    /// Name of the interface in the pod.
    pub ifname: String,
    /// Ports, addresses and MAC address that the caller asks for.
    pub wishes: Wishes,
    /// Sysctls to set in the pod: the list's and the caller's.
    pub sysctls: Vec<SysctlSetting>,
    /// Whether routes to everywhere (a default route) may be set: of several
    /// networks of one pod the first has it.
    pub default_route: bool,
    /// By which the attachment's objects are known.
    pub mark: Mark,
}

/// The whole plan of an attachment: leases, links, addresses, what opens.
pub fn plan(request: &Request, facts: &Facts, leases: &Leases) -> Result<Plan> {
    let claims = Plan::new().each(&leases.claims, |plan, lease| {
        plan.own(Phase::Close, Side::Host, Object::Lease(lease.clone()))
    });
    let mut plan = claims;
    let mut published = false;
    for plugin in &request.network.plugins {
        plan = match plugin {
            Plugin::Bridge(conf) => plan
                .and(bridge::links(request, conf, facts))
                .and(bridge::addresses(request, conf, facts, leases)?),
            Plugin::Portmap(_) => {
                published = true;
                plan.and(meta::portmap::plan(request, leases)?)
            }
            Plugin::Tuning(_) => plan, // its sysctls are among the request's
        };
    }
    if !published && !request.wishes.ports.is_empty() {
        let what = format!("publish ports on network {}", request.network.name);
        return Err(Error::input(what, "its list has no portmap plugin")
            .hint("add {\"type\": \"portmap\", \"capabilities\": {\"portMappings\": true}} to its plugins"));
    }
    Ok(plan.and(meta::tuning::plan(request, facts)?))
}
