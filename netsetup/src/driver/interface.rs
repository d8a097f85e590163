//! What the drivers that give a pod one link have in common: the table of them, the link
//! that theirs stands on, and what goes onto it.

use super::{
    Request, announced, asks_around, dummy, families, guard_v6, has_ipv6, host_device, ipvlan,
    macvlan, pod_routes, settled, tap, vlan,
};
use crate::conf::{Interface, InterfaceKind, Master};
use crate::error::{Error, Result};
use crate::facts::{BondFacts, DeviceFacts, Facts};
use crate::ipam::Leases;
use crate::plan::{Device, DeviceKind, Object, Parent, Phase, Plan, Side};
use crate::request::Mac;

/// The whole of it.
pub(super) fn plan(
    request: &Request,
    conf: &Interface,
    facts: &Facts,
    leases: &Leases,
) -> Result<Plan> {
    let link = match &conf.kind {
        InterfaceKind::Macvlan(kind) => macvlan::plan(request, conf, kind, facts)?,
        InterfaceKind::Ipvlan(kind) => ipvlan::plan(request, conf, kind, facts)?,
        InterfaceKind::Vlan(kind) => vlan::plan(request, conf, kind, facts)?,
        InterfaceKind::Dummy => dummy::plan(request, facts),
        InterfaceKind::Tap(kind) => tap::plan(request, conf, kind, facts),
        InterfaceKind::HostDevice(_) => host_device::plan(request, facts)?,
    };
    if link.steps.is_empty() {
        return Ok(link);
    }
    addresses(link, request, conf, facts, leases)
}

/// Addresses and routes. A link that has neighbours asks them where that is wanted, and tells
/// them.
fn addresses(
    plan: Plan,
    request: &Request,
    conf: &Interface,
    facts: &Facts,
    leases: &Leases,
) -> Result<Plan> {
    let link = || request.ifname.clone();
    let own = |plan: Plan, what| plan.own(Phase::Build, Side::Pod, what);
    let mtu = mtu(conf, facts)?.or(below(facts));
    let (_, v6) = families(request, facts, leases)?;
    let (dad, asks) = (conf.enable_dad, conf.enable_dad && v6);
    let plan = guard_v6(plan, request, has_ipv6(facts, mtu), leases, v6)
        .when(asks, |plan| asks_around(plan, request))
        .ensure(Side::Pod, Object::Up { link: "lo".into() });
    let plan = own(plan, Object::Up { link: link() })
        .each(&leases.addrs, |plan, a| {
            let address = a.address;
            own(plan, Object::Addr { link: link(), address, route: true, dad })
        })
        .each(pod_routes(request, facts, leases), own)
        .when(asks, |plan| settled(plan, request));
    Ok(plan.when(conf.kind.has_neighbours(), |plan| announced(plan, request, leases)))
}

/// A link of the pod's own, behind the shared links that it stands on where those are made
/// on demand: a bond, a vlan, a vlan of a bond.
pub(super) fn on_parent(facts: &Facts, device: Device) -> Plan {
    let parent = facts.parent.as_ref();
    let vlan = parent.and_then(|parent| Some((parent, parent.vlan.clone()?)));
    Plan::new()
        .each(parent.and_then(|parent| parent.bond.as_ref()), bond)
        .each(vlan, |plan, (parent, (lower, id))| {
            let below = Parent { name: lower, at: Side::Host, mac: None };
            let vlan = Device {
                name: parent.name.clone(),
                mac: None,
                mtu: None,
                parent: Some(below),
                kind: DeviceKind::Vlan { id },
            };
            shared(plan, vlan, &[])
        })
        .own(Phase::Build, Side::Pod, Object::Device(device))
}

/// A bond, and the links in it: they leave it when it goes.
fn bond(plan: Plan, bond: &BondFacts) -> Plan {
    let device = Device {
        name: bond.name.clone(),
        mac: bond.mac,
        mtu: Some(bond.mtu),
        parent: None,
        kind: DeviceKind::Bond { mode: bond.conf.mode, miimon: bond.conf.miimon },
    };
    shared(plan, device, &bond.conf.links)
}

/// A link of the host that pods share, with these links in it, up.
fn shared(plan: Plan, device: Device, members: &[String]) -> Plan {
    let name = device.name.clone();
    plan.share(Phase::Build, Object::Device(device))
        .each(members, |plan, link| {
            let member = Object::Member { link: link.clone(), master: name.clone() };
            plan.share(Phase::Build, member)
        })
        .share(Phase::Build, Object::Up { link: name })
}

/// The link that it stands on, as a plan names it.
pub(super) fn parent(master: &Master, facts: &Facts) -> Option<Parent> {
    let at = if master.in_pod { Side::Pod } else { Side::Host };
    facts.parent.as_ref().map(|parent| Parent { name: parent.name.clone(), at, mac: parent.mac })
}

/// The mtu that is asked for. What stands on another link can't carry more than that.
pub(super) fn mtu(conf: &Interface, facts: &Facts) -> Result<Option<u32>> {
    match (conf.mtu, &facts.parent) {
        (Some(mtu), Some(parent)) if mtu > parent.mtu => {
            let why = format!("invalid MTU {mtu}, must be [0, master MTU({})]", parent.mtu);
            Err(Error::input(format!("make a link on {}", parent.name), why))
        }
        (mtu, _) => Ok(mtu),
    }
}

/// The mtu that it gets from the link that it stands on, or has already.
fn below(facts: &Facts) -> Option<u32> {
    match &facts.device {
        Some(DeviceFacts::Link { mtu, .. }) => Some(*mtu),
        _ => facts.parent.as_ref().map(|parent| parent.mtu),
    }
}

/// The link-layer address of a link of ours.
pub(super) fn mac(request: &Request, facts: &Facts) -> Mac {
    request.mark.mac("inner", &facts.machine)
}

/// The pod's link-layer address as it is asked for: CNI_ARGS, all that a plugin's call
/// wishes, gives way to the configuration with what the runtime put into it.
pub(super) fn asked_mac(request: &Request, written: Option<Mac>) -> Option<Mac> {
    let wished = request.wishes.mac;
    if request.as_plugin { written.or(wished) } else { wished.or(written) }
}

/// None can be asked for.
pub(super) fn no_mac(request: &Request, why: &str) -> Result<Option<Mac>> {
    match request.wishes.mac {
        Some(mac) => {
            let what = format!("give {} the link-layer address {mac}", request.ifname);
            Err(Error::input(what, why))
        }
        None => Ok(None),
    }
}
