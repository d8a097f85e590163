//! A routing domain in the pod: the interface becomes a member, and its routes stand in
//! the domain's table.

use ipnet::IpNet;

use crate::conf::Vrf;
use crate::driver::{self, Request};
use crate::error::{Error, Kind, Result};
use crate::facts::Facts;
use crate::ipam::Leases;
use crate::plan::{Device, DeviceKind, Object, Phase, Plan, RouteAttrs, Side, Step};

/// The domain, and the interface in it. `plan` is what makes the interface, where the
/// same call makes it: then it joins before it goes up, for a link that joins goes down
/// once and loses its routes. An interface that is there gets them again.
pub fn plan(
    plan: Plan,
    request: &Request,
    conf: &Vrf,
    facts: &Facts,
    leases: &Leases,
) -> Result<Plan> {
    let table = table(conf, facts)?;
    let vrf = Device {
        name: conf.name.clone(),
        mac: None,
        mtu: None,
        parent: None,
        kind: DeviceKind::Vrf { table, netns: facts.pod_cookie },
    };
    let member = Object::Member { link: request.ifname.clone(), master: conf.name.clone() };
    let domain = Plan::new()
        .share_in_pod(Phase::Build, Object::Device(vrf))
        .share_in_pod(Phase::Build, Object::Up { link: conf.name.clone() });
    if request.network.makes_interface() {
        return Ok(domain.and(joined(plan, request, member, table)));
    }
    let own = |plan: Plan, what| plan.own(Phase::Build, Side::Pod, what);
    // Borrowed before it joins, and so put back when it has left: it goes down each time.
    let path = keeps_addresses(&request.ifname);
    let before = facts.pod_sysctls.get(&path).cloned().flatten();
    let domain = plan.and(domain).each(before, |plan, before| {
        plan.borrow(Side::Pod, Object::Sysctl { path: path.clone(), value: "1".into() }, before)
    });
    let told: Vec<Object> =
        leases.routes.iter().map(|route| driver::route(request, leases, route)).collect();
    // Those that the plugins before tell of, with all their attributes; and what they keep to
    // themselves, as ptp its routes to the gateway.
    let known =
        |dst: &IpNet| told.iter().any(|t| matches!(t, Object::Route { dst: d, .. } if d == dst));
    let kept = facts.pod_routes.iter().filter(|(dst, _)| !known(dst)).map(|(dst, via)| {
        let (link, attrs) = (request.ifname.clone(), RouteAttrs::default());
        Object::Route { link, dst: *dst, via: *via, attrs }
    });
    let routes: Vec<Object> = kept.chain(told.iter().cloned()).collect();
    // Where another interface in the domain leads already, it stays the way.
    let free = |route: &Object| match route {
        Object::Route {
            dst, attrs: RouteAttrs { table: Some(table), priority: None, .. }, ..
        } => !facts.pod_tables.contains(&(*table, *dst)),
        _ => true,
    };
    let routes = routes.iter().filter_map(|route| in_table(route, table)).filter(free);
    Ok(own(domain, member).each(routes, own))
}

/// The sysctl by which an interface that goes down keeps its addresses of IPv6.
pub fn keeps_addresses(ifname: &str) -> Vec<String> {
    ["net", "ipv6", "conf", ifname, "keep_addr_on_down"].map(str::to_owned).to_vec()
}

/// The table: the one that is asked for, or that the domain has, or the first that no
/// other has.
fn table(conf: &Vrf, facts: &Facts) -> Result<u32> {
    let is = facts.pod_vrfs.iter().find(|(name, _)| *name == conf.name).map(|(_, table)| *table);
    match (conf.table, is) {
        (Some(wanted), Some(is)) if wanted != is => {
            let what = format!("use VRF {} with table {wanted}", conf.name);
            let why = format!("VRF {} already exist with different routing table {is}", conf.name);
            Err(Error::new(Kind::Taken, what, why))
        }
        (Some(table), _) | (None, Some(table)) => Ok(table),
        (None, None) => {
            let taken = |table: &u32| facts.pod_vrfs.iter().any(|(_, other)| other == table);
            Ok((1..=u32::MAX).find(|table| !taken(table)).unwrap_or(1))
        }
    }
}

/// The plan with the interface as a member before it goes up, and its routes in the table.
fn joined(plan: Plan, request: &Request, member: Object, table: u32) -> Plan {
    let goes_up = |step: &Step| {
        step.at == Side::Pod && matches!(&step.what, Object::Up { link } if *link == request.ifname)
    };
    let mut joined = Plan::new();
    for mut step in plan.steps {
        if goes_up(&step) {
            joined = joined.own(Phase::Build, Side::Pod, member.clone());
        }
        if let Some(route) = in_table(&step.what, table).filter(|_| step.at == Side::Pod) {
            step.what = route;
        }
        joined.steps.push(step);
    }
    joined
}

/// A route that names no table, in this one.
fn in_table(route: &Object, table: u32) -> Option<Object> {
    match route.clone() {
        Object::Route { link, dst, via, mut attrs } => {
            attrs.table = attrs.table.or(Some(table));
            Some(Object::Route { link, dst, via, attrs })
        }
        _ => None,
    }
}
