//! find and same: what is there of a step, and how it differs from the plan.
//! Only what the plan states is compared: the kernel adds flags, metrics and
//! link-local addresses of its own.

use std::fmt;

use podkeel_wire::rt::RouteInfo;
use serde::Serialize;

use super::find_device::{find_device, find_lent, find_member, find_neigh, find_pin};
use super::object::{Bridge, Object, RouteAttrs, Side, Veth};
use super::{Hold, Plan, Step, World};
use crate::error::Result;
use crate::kernel::ruleset::{self, Entry, TABLE};
use crate::kernel::{forward, guard};
use crate::names;
use crate::request::Vlan;

/// What is there of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Found {
    /// Nothing.
    Absent,
    /// It, as planned.
    Same,
    /// Something else in its place, or it with other settings.
    Differs(String),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Absent => f.write_str("missing"),
            Found::Same => f.write_str("ok"),
            Found::Differs(how) => f.write_str(how),
        }
    }
}

/// Finds every step of a plan.
pub fn check(world: &mut World, plan: &Plan) -> Result<Vec<(Step, Found)>> {
    let mut found = Vec::new();
    let plan = &plan.clone().overruled_by(&plan.steps);
    for i in plan.order() {
        let step = &plan.steps[i];
        // Said once, and heard or not: nothing of it is there.
        if matches!(step.what, Object::Announced { .. }) {
            continue;
        }
        let there = match &step.what {
            Object::Ruleset => of_list(ruleset::differences(world.nft()?)?),
            _ => find(world, step)?,
        };
        found.push((step.clone(), there));
    }
    Ok(found)
}

/// Finds one step.
pub(super) fn find(world: &mut World, step: &Step) -> Result<Found> {
    match &step.what {
        Object::Lease(lease) => find_lease(lease),
        Object::Bridge(bridge) => find_bridge(world, bridge),
        Object::Veth(veth) => find_veth(world, veth),
        Object::Device(device) => find_device(world, step, device),
        Object::Lent(lent) => find_lent(world, lent),
        Object::Pin { .. } => find_pin(world, &step.what),
        Object::Member { .. } => find_member(world, step),
        Object::Neigh { .. } => find_neigh(world, step),
        Object::Announced { .. } => Ok(Found::Same),
        Object::Vlans { link, tags, default } => find_vlans(world, link, tags, *default),
        Object::OwnVlan { link, id } => Ok(match world.host.link(link)? {
            None => Found::Absent,
            Some(bridge) => {
                let all = world.host.vlans(bridge.index)?;
                match all.iter().find(|(vlan, _)| vlan == id) {
                    None => Found::Absent,
                    Some((_, [false, false])) => Found::Same,
                    Some(_) => Found::Differs("its frames have no tag".into()),
                }
            }
        }),
        Object::Up { link } => Ok(match world.rtnl(step.at)?.link(link)? {
            None => Found::Absent,
            Some(link) if link.up() => Found::Same,
            Some(_) => Found::Differs("it is down".into()),
        }),
        Object::Addr { link, address, .. } => find_addr(world, step.at, link, *address),
        Object::Settled { link } => find_settled(world, step.at, link),
        Object::NoAddr { link, address } => Ok(match find_addr(world, step.at, link, *address)? {
            Found::Absent => Found::Same,
            _ => Found::Differs("it is there".into()),
        }),
        Object::LinkAttr { link, attr, value } => Ok(match world.rtnl(step.at)?.link(link)? {
            None => Found::Absent,
            Some(link) if attr.of(&link) == *value => Found::Same,
            Some(link) => Found::Differs(format!("it is {}", attr.of(&link))),
        }),
        Object::Route { .. } => find_route(world, step),
        Object::Sysctl { path, value } => Ok(match world.sysctl(step.at, path)? {
            None => Found::Absent,
            Some(is) if same_value(&is, value) => Found::Same,
            Some(is) => Found::Differs(format!("it is {is}")),
        }),
        Object::Localnet { link } => {
            let path = Object::localnet(link);
            Ok(match world.sysctl(step.at, &path)? {
                None => Found::Absent,
                Some(is) if is == "1" => Found::Same,
                Some(is) => Found::Differs(format!("route_localnet is {is}")),
            })
        }
        Object::Ruleset => Ok(match world.nft()?.table(TABLE)? {
            None => Found::Absent,
            Some(table) if table.comment.as_deref() == Some(ruleset::COMMENT) => Found::Same,
            Some(table) => Found::Differs(format!(
                "it is another's: its comment is {:?}",
                table.comment.unwrap_or_default()
            )),
        }),
        Object::Terms(terms) => {
            let shared = world.mark.shared();
            let differences = terms.differences(world.nft()?, &shared)?;
            Ok(differences.map_or(Found::Absent, of_list))
        }
        Object::Entry(entry) => find_entry(world, entry, &step.hold),
        Object::Guard => Ok(match guard::find(world.nft()?)? {
            None => Found::Absent,
            Some(true) => Found::Same,
            Some(false) => Found::Differs("it is another's: its comment isn't ours".into()),
        }),
        Object::Sender { link, mac } => {
            let mark = world.mark.to_string();
            Ok(match guard::allowed(world.nft()?, link, *mac, &mark)? {
                None => Found::Absent,
                Some(true) => Found::Same,
                Some(false) => Found::Differs("a part of it is missing or another's".into()),
            })
        }
        Object::Forward { v6, admin } => Ok(match forward::has_chains(world.nft()?, *v6, admin)? {
            true => Found::Same,
            false => Found::Absent,
        }),
        Object::Accepted(ip) => {
            let mark = world.mark.to_string();
            Ok(match forward::accepted(world.nft()?, *ip, &mark)? {
                (0, _) => Found::Absent,
                (is, all) if is == all => Found::Same,
                (is, all) => Found::Differs(format!("{is} of {all} rules are there")),
            })
        }
    }
}

/// sysctls of several numbers are read back with tabs between them.
pub(super) fn same_value(is: &str, wanted: &str) -> bool {
    is.split_whitespace().eq(wanted.split_whitespace())
}

pub(super) fn of_list(differences: Vec<String>) -> Found {
    match differences.as_slice() {
        [] => Found::Same,
        [one] if one == "the table is missing" => Found::Absent,
        all => Found::Differs(all.join("; ")),
    }
}

fn find_lease(lease: &crate::ipam::Lease) -> Result<Found> {
    Ok(match lease.find()? {
        None => Found::Absent,
        Some((id, ifname)) if id == lease.id && ifname == lease.ifname => Found::Same,
        Some((id, ifname)) => Found::Differs(format!("it is leased to {id}/{ifname}")),
    })
}

fn find_bridge(world: &mut World, bridge: &Bridge) -> Result<Found> {
    let Some(link) = world.host.link(&bridge.name)? else { return Ok(Found::Absent) };
    let kind = link.kind.unwrap_or_else(|| "device of its own kind".into());
    if kind != "bridge" {
        return Ok(Found::Differs(format!("{} is a {kind}, not a bridge", bridge.name)));
    }
    if bridge.vlan_filtering && !link.vlan_filtering {
        return Ok(Found::Differs(format!("{} carries all VLANs to all ports", bridge.name)));
    }
    // A bridge of somebody else's is taken as it is.
    if link.alias != Some(world.mark.shared()) {
        return Ok(Found::Same);
    }
    let mut wrong = Vec::new();
    if link.mac != Some(bridge.mac.0) {
        wrong.push(format!("its MAC address isn't {}", bridge.mac));
    }
    if bridge.mtu.is_some_and(|mtu| mtu != link.mtu) {
        wrong.push(format!("its mtu is {}", link.mtu));
    }
    if bridge.promisc && link.flags & libc::IFF_PROMISC as u32 == 0 {
        wrong.push("it isn't promiscuous".into());
    }
    Ok(of_list(wrong))
}

/// Both ends of a pair; of which the pod's may have another mtu.
fn find_veth(world: &mut World, veth: &Veth) -> Result<Found> {
    let Some(outer) = world.host.link(&veth.name)? else { return Ok(Found::Absent) };
    let mut wrong = Vec::new();
    if !world.mark.is(outer.alias.as_deref()) {
        wrong.push(format!("its alias isn't {:?}", world.mark.to_string()));
    }
    if !veth.master.is_empty() {
        let master = world.host.link(&veth.master)?.map(|m| m.index);
        if outer.master.is_none() || outer.master != master {
            wrong.push(format!("it isn't a port of {}", veth.master));
        }
    }
    if outer.mac != Some(veth.mac.0) {
        wrong.push(format!("its MAC address isn't {}", veth.mac));
    }
    if veth.mtu.is_some_and(|mtu| mtu != outer.mtu) {
        wrong.push(format!("its mtu is {}", outer.mtu));
    }
    if !outer.up() {
        wrong.push("it is down".into());
    }
    if veth.no_link_local && outer.switches.no_link_local == Some(false) {
        wrong.push("it makes itself a link-local address".into());
    }
    for (name, wanted, is) in [
        ("hairpin", veth.hairpin, outer.port.hairpin),
        ("isolated", veth.isolated, outer.port.isolated),
    ] {
        if outer.master.is_some() && is != Some(wanted) {
            wrong.push(format!("{name} is {}", if wanted { "off" } else { "on" }));
        }
    }
    match world.rtnl(Side::Pod)?.link(&veth.peer)? {
        None => wrong.push(format!("its peer {} is missing in the pod", veth.peer)),
        Some(inner) => {
            if inner.mac != Some(veth.peer_mac.0) {
                wrong.push(format!("the MAC address of {} isn't {}", veth.peer, veth.peer_mac));
            }
            if veth.peer_mtu.or(veth.mtu).is_some_and(|mtu| mtu != inner.mtu) {
                wrong.push(format!("the mtu of {} is {}", veth.peer, inner.mtu));
            }
        }
    }
    Ok(of_list(wrong))
}

fn find_vlans(world: &mut World, link: &str, tags: &[Vlan], default: bool) -> Result<Found> {
    let Some(info) = world.host.link(link)? else { return Ok(Found::Absent) };
    let there = world.host.vlans(info.index)?;
    let mut wrong: Vec<String> = Vec::new();
    for tag in tags {
        let lacks = (tag.first..=tag.last).find(|id| !there.contains(&(*id, [tag.access; 2])));
        wrong.extend(lacks.map(|id| format!("it doesn't carry VLAN {id} as it should")));
    }
    let asks_for_1 = tags.iter().any(|tag| (tag.first..=tag.last).contains(&1));
    if !default && !asks_for_1 && there.iter().any(|(id, _)| *id == 1) {
        wrong.push("it carries VLAN 1, the default one".into());
    }
    Ok(of_list(wrong))
}

fn find_addr(world: &mut World, at: Side, link: &str, address: ipnet::IpNet) -> Result<Found> {
    let rtnl = world.rtnl(at)?;
    // The index may have changed hands since it was last seen.
    let Some(info) = rtnl.link(link)? else { return Ok(Found::Absent) };
    let there = rtnl.addrs(info.index)?;
    Ok(match there.iter().find(|a| a.ip == address.addr()) {
        None => Found::Absent,
        Some(a) if a.prefix == address.prefix_len() => Found::Same,
        Some(a) => Found::Differs(format!("its prefix length is {}", a.prefix)),
    })
}

/// Whether the kernel has heard of no neighbour with an address of the link.
fn find_settled(world: &mut World, at: Side, link: &str) -> Result<Found> {
    let rtnl = world.rtnl(at)?;
    let Some(info) = rtnl.link(link)? else { return Ok(Found::Absent) };
    let there = rtnl.addrs(info.index)?;
    let with = |flag: u32| there.iter().find(|a| a.flags & flag != 0);
    if let Some(a) = with(libc::IFA_F_DADFAILED) {
        return Ok(Found::Differs(format!("{} is another's on this link, too", a.ip)));
    }
    Ok(if with(libc::IFA_F_TENTATIVE).is_some() { Found::Absent } else { Found::Same })
}

fn find_route(world: &mut World, step: &Step) -> Result<Found> {
    let Object::Route { link, dst, via, attrs } = &step.what else { return Ok(Found::Absent) };
    let rtnl = world.rtnl(step.at)?;
    let Some(info) = rtnl.link(link)? else { return Ok(Found::Absent) };
    let family = if dst.addr().is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let wanted = (dst.addr(), dst.prefix_len());
    let routes = rtnl.routes(family)?;
    let to_there: Vec<_> = routes
        .iter()
        .filter(|r| {
            r.dst == wanted && r.table == attrs.table.unwrap_or(u32::from(libc::RT_TABLE_MAIN))
        })
        .collect();
    let leads = |r: &&&RouteInfo| r.gateway == *via && r.oif == Some(info.index);
    let differences = to_there.iter().filter(leads).map(|r| of_list(route_differs(attrs, r)));
    let mut differences: Vec<Found> = differences.collect();
    if differences.contains(&Found::Same) {
        return Ok(Found::Same);
    }
    if let Some(found) = differences.pop() {
        return Ok(found);
    }
    Ok(match to_there.first() {
        None => Found::Absent,
        Some(route) => Found::Differs(match route.gateway {
            Some(gateway) => format!("it leads via {gateway}"),
            None => "it leads elsewhere".into(),
        }),
    })
}

/// How a route that leads where it should differs in what else is said of it.
fn route_differs(wanted: &RouteAttrs, is: &RouteInfo) -> Vec<String> {
    // IPv6 has one scope, and no metric 0; of an mtu, 0 is none.
    let v4 = is.dst.0.is_ipv4();
    let any = |bytes: &u32| *bytes > 0;
    let pairs = [
        ("mtu", wanted.mtu.filter(any), is.mtu),
        ("advmss", wanted.advmss.filter(any), is.advmss),
        ("metric", wanted.priority.filter(|n| v4 || *n > 0), Some(is.priority)),
        ("scope", wanted.scope.filter(|_| v4), Some(is.scope.into())),
    ];
    let differs = pairs.into_iter().filter(|(_, wanted, is)| wanted.is_some() && wanted != is);
    let words = |(name, _, is): (&str, _, Option<u32>)| match is {
        Some(is) => format!("its {name} is {is}"),
        None => format!("it has no {name}"),
    };
    differs.map(words).collect()
}

fn find_entry(world: &mut World, entry: &Entry, hold: &Hold) -> Result<Found> {
    let wanted = entry.elem(&world.mark.to_string());
    let mark = world.mark.clone();
    let found = world.nft()?.elems(TABLE, &[(entry.set(), wanted.clone())])?;
    let Some(Some(elem)) = found.into_iter().next() else { return Ok(Found::Absent) };
    if *hold == Hold::Own && !mark.is(elem.comment.as_deref()) {
        let owner = elem.comment.as_deref().and_then(names::owner_of).unwrap_or("somebody else");
        return Ok(Found::Differs(format!("it belongs to {owner}")));
    }
    if elem.data != wanted.data {
        return Ok(Found::Differs("it leads elsewhere".into()));
    }
    Ok(Found::Same)
}
