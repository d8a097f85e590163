//! drop: what a plan made is taken away, in reverse, including a step that
//! failed half-way. Every mark is read again before anything is removed;
//! absent is success; an error doesn't stop the rest.

use podkeel_wire::nf::Elem;
use podkeel_wire::rt::{self, LinkInfo};

use super::find::same_value;
use super::make::{Part, addr_of, attr_of, route_of};
use super::object::{LinkAttr, Object, Side, Veth};
use super::undo_device::{drop_device, drop_own, drop_unnamed, leave};
use super::undo_lent::{bring_home, unpin};
use super::{Hold, Plan, Step, World};
use crate::error::{Error, Result};
use crate::kernel::ruleset::{self, TABLE};
use crate::kernel::{Nft, Rtnl};
use crate::kernel::{conntrack, forward, guard};
use crate::names::Mark;

/// Undoes a part of a plan but for the steps in `foreign`. Of what is shared,
/// `last` says whether nobody else holds it. Returns what went wrong.
pub fn undo(
    world: &mut World,
    plan: &Plan,
    part: Part,
    foreign: &[usize],
    last: &mut dyn FnMut(&Object) -> Result<bool>,
) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut order: Vec<usize> = plan.order();
    order.retain(|i| part.has(&plan.steps[*i]) && !foreign.contains(i));
    order.reverse();
    for group in order.chunk_by(|a, b| plan.steps[*a].phase == plan.steps[*b].phase) {
        let steps: Vec<&Step> = group.iter().map(|i| &plan.steps[*i]).collect();
        // All elements of a phase go in one transaction.
        let entries: Vec<&Step> =
            steps.iter().copied().filter(|s| matches!(s.what, Object::Entry(_))).collect();
        if part == Part::Free && !entries.is_empty() {
            errors.extend(drop_entries(world, &entries).err());
        }
        for step in steps {
            // What could not be undone may be a link of the host's that is still in there.
            if matches!(step.what, Object::Pin { .. }) && !errors.is_empty() {
                continue;
            }
            errors.extend(drop_step(world, plan, step, last).err());
        }
    }
    errors
}

fn drop_step(
    world: &mut World,
    plan: &Plan,
    step: &Step,
    last: &mut dyn FnMut(&Object) -> Result<bool>,
) -> Result<()> {
    if step.at == Side::Pod && world.pod.is_none() {
        // It went with the pod. That it has one holder fewer is written down on the host.
        return if step.is_held() { last(&step.what).map(|_| ()) } else { Ok(()) };
    }
    match (&step.hold, &step.what) {
        (Hold::Ensure, _) => Ok(()),
        (Hold::Share, _) if !step.is_held() => Ok(()),
        (Hold::Share, object) => {
            if let Object::Bridge(_) | Object::Device(_) = object {
                drop_unnamed(world, step.at)?;
            }
            if last(object)? { drop_shared(world, step) } else { Ok(()) }
        }
        (Hold::Borrow { before }, Object::Sysctl { path, value })
            if step.at == Side::Pod && path.first().is_some_and(|part| part == "net") =>
        {
            put_back(world, step.at, path, value, before)
        }
        (Hold::Borrow { before }, Object::LinkAttr { link, attr, value }) => {
            put_attr_back(world, step.at, link, *attr, value, before)
        }
        (Hold::Borrow { .. }, Object::Lent(lent)) => bring_home(world, plan, lent),
        (Hold::Borrow { .. }, _) | (Hold::Own, Object::Entry(_)) => Ok(()),
        (Hold::Own, Object::Lease(lease)) => lease.drop().map(|_| ()),
        (Hold::Own, Object::Veth(veth)) => drop_veth(world, veth),
        (Hold::Own, Object::Device(device)) => drop_own(world, step, device),
        (Hold::Own, Object::Pin { .. }) => unpin(world, &step.what),
        (Hold::Own, Object::Sender { link, mac }) => {
            let mark = world.mark.to_string();
            guard::release(world.nft()?, link, *mac, &mark)
        }
        (Hold::Own, Object::Accepted(ip)) => {
            let mark = world.mark.to_string();
            let handles = world.accepts.remove(ip).unwrap_or_default();
            forward::close(world.nft()?, *ip, &mark, &handles)
        }
        (Hold::Own, _) if plan.dies_with_link(step) => Ok(()),
        (Hold::Own, Object::Member { .. }) => leave(world, step),
        (Hold::Own, object) => drop_on_link(world, step.at, object),
    }
}

/// Removes the entries that wear our mark. The generation makes look and
/// removal one: a key is removed whatever its data is by then.
fn drop_entries(world: &mut World, steps: &[&Step]) -> Result<()> {
    let mark = world.mark.clone();
    let wanted: Vec<_> = steps
        .iter()
        .filter_map(|step| match &step.what {
            Object::Entry(entry) => Some((entry.set(), entry.elem(""))),
            _ => None,
        })
        .collect();
    drop_elems(world.nft()?, &wanted, &|comment| mark.is(comment))?;
    let entries = steps.iter().filter_map(|step| match &step.what {
        Object::Entry(entry) => Some(entry),
        _ => None,
    });
    conntrack::withdrawn(world.nft()?, entries)
}

/// Removes those of the elements whose comment is `ours` at that moment.
pub fn drop_elems<S: AsRef<str>>(
    nft: &mut Nft,
    wanted: &[(S, Elem)],
    ours: &dyn Fn(Option<&str>) -> bool,
) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    for _ in 0..super::NFT_TRIES {
        let generation = nft.generation()?;
        let found = nft.elems(TABLE, wanted)?;
        let remove: Vec<_> = wanted
            .iter()
            .zip(found)
            .filter(|(_, found)| found.as_ref().is_some_and(|elem| ours(elem.comment.as_deref())))
            .map(|((set, elem), _)| (set, Elem { comment: None, data: None, ..elem.clone() }))
            .collect();
        let refused = nft.commit(Some(generation), |batch| {
            for (set, elem) in &remove {
                TABLE.delete_elems(batch, set.as_ref(), std::slice::from_ref(elem));
            }
        })?;
        match refused.first() {
            None => return Ok(()),
            Some(r) if r.errno == libc::ERESTART || r.errno == libc::ENOENT => {}
            Some(r) => return Err(r.error("remove elements from nftables table inet podkeel")),
        }
    }
    Err(super::too_busy())
}

fn drop_veth(world: &mut World, veth: &Veth) -> Result<()> {
    let Some(link) = world.host.link(&veth.name)? else { return Ok(()) };
    if is_veth_of(&link, &world.mark) {
        world.host.delete_link(&link)?;
    }
    Ok(())
}

/// Whether a link with the name of this attachment's veth is that veth.
pub fn is_veth_of(link: &LinkInfo, mark: &Mark) -> bool {
    // Without an alias it was cut off between its birth and its mark; the name
    // is a hash of ours. With another alias it is somebody else's.
    link.alias.is_none() || mark.is(link.alias.as_deref())
}

fn put_back(world: &mut World, at: Side, path: &[String], value: &str, before: &str) -> Result<()> {
    world.sysctls(at, |proc| match proc.read(path)? {
        Some(is) if same_value(&is, value) => proc.write(path, before),
        _ => Ok(()),
    })
}

/// A setting of a link, unless somebody changed it since.
fn put_attr_back(
    world: &mut World,
    at: Side,
    link: &str,
    attr: LinkAttr,
    value: &str,
    before: &str,
) -> Result<()> {
    let name = name_now(world, at, link)?;
    let rtnl = world.rtnl(at)?;
    let is_ours = rtnl.link(&name)?.is_some_and(|info| attr.of(&info) == value);
    if !is_ours {
        return Ok(());
    }
    set_attr(rtnl, &name, attr, before)
        .map_err(|e| Error { what: format!("{} in the {at}", e.what), ..e })
}

/// The name that a link has by now: who is root in a pod may have renamed it, and one that is
/// lent goes home all the same. The mark says which one it is, in whatever part of a chain.
fn name_now(world: &mut World, at: Side, link: &str) -> Result<String> {
    if at == Side::Host {
        return Ok(link.to_owned());
    }
    let mark = world.mark.clone();
    let marked = |info: &LinkInfo| mark.same_attachment(info.alias.as_deref());
    let links = world.rtnl(at)?.links()?.into_iter();
    let its = links.filter(|info| marked(info) || info.name == link);
    let best = its.max_by_key(|info| (marked(info), info.name == link));
    Ok(best.map_or_else(|| link.to_owned(), |info| info.name))
}

/// Gives a setting of a link an earlier value again; a link that is gone has none.
pub fn set_attr(rtnl: &mut Rtnl, link: &str, attr: LinkAttr, before: &str) -> Result<()> {
    let mut batch = rtnl.socket.batch();
    rt::new_link(&mut batch, rt::REQUEST, &attr_of(link, attr, before)?);
    match rtnl.socket.exchange(batch, |_| {})?.first() {
        Some(r) if r.errno != libc::ENODEV => {
            Err(r.error(format!("put back {} of link {link}", attr.name())))
        }
        _ => Ok(()),
    }
}

fn drop_on_link(world: &mut World, at: Side, object: &Object) -> Result<()> {
    let Some(link) = object.link() else { return Ok(()) };
    let rtnl = world.rtnl(at)?;
    let Some(info) = rtnl.link(link)? else { return Ok(()) };
    let mut batch = rtnl.socket.batch();
    match object {
        Object::Up { link } => {
            let down = rt::Link { name: Some(link), up: Some(false), ..rt::Link::default() };
            rt::new_link(&mut batch, rt::REQUEST, &down);
        }
        Object::OwnVlan { id, .. } => {
            rt::del_own_vlan(&mut batch, info.index, *id);
        }
        Object::Addr { address, .. } => {
            rt::del_addr(&mut batch, &addr_of(info.index, *address));
        }
        Object::Route { dst, via, attrs, .. } => {
            rt::del_route(&mut batch, &route_of(info.index, *dst, *via, attrs));
        }
        _ => return Ok(()),
    }
    let refused = rtnl.socket.exchange(batch, |_| {})?;
    match refused.first() {
        Some(r) if ![libc::ESRCH, libc::ENODEV, libc::EADDRNOTAVAIL].contains(&r.errno) => {
            Err(r.error(format!("delete {object} in the {at}")))
        }
        _ => Ok(()),
    }
}

/// Drops what nobody holds any more, if it is ours.
fn drop_shared(world: &mut World, step: &Step) -> Result<()> {
    match &step.what {
        Object::Bridge(bridge) => drop_bridge(&mut world.host, &bridge.name, &world.mark.shared()),
        Object::Device(device) => {
            let shared = world.mark.shared();
            drop_device(world.rtnl(step.at)?, &device.name, &shared)
        }
        Object::Entry(entry) => {
            let shared = world.mark.shared();
            let ours = |comment: Option<&str>| comment == Some(&shared);
            drop_elems(world.nft()?, &[(entry.set(), entry.elem(""))], &ours)
        }
        Object::Localnet { link } => {
            let path = Object::localnet(link);
            // The link may be gone, and with it its switch.
            world.sysctls(step.at, |proc| match proc.read(&path)? {
                Some(_) => proc.write(&path, "0"),
                None => Ok(()),
            })
        }
        Object::Terms(terms) => {
            let shared = world.mark.shared();
            ruleset::terms::drop(world.nft()?, &terms.name(), &shared)
        }
        Object::Ruleset => drop_ruleset(world.nft()?),
        Object::Guard => guard::drop_table(world.nft()?),
        Object::Forward { v6, .. } => {
            let shared = world.mark.shared();
            forward::drop_chains(world.nft()?, *v6, &shared)
        }
        Object::Addr { link, address, .. } => drop_shared_addr(world, link, *address),
        Object::OwnVlan { .. } => drop_on_link(world, step.at, &step.what),
        _ => Ok(()),
    }
}

/// A bridge that somebody plugged a port of his own into stays.
pub fn drop_bridge(host: &mut Rtnl, name: &str, shared: &str) -> Result<()> {
    let Some(link) = host.link(name)? else { return Ok(()) };
    if link.alias.as_deref() != Some(shared) || link.kind.as_deref() != Some("bridge") {
        return Ok(());
    }
    let ports = host.links()?;
    if ports
        .iter()
        .any(|port| port.family == libc::AF_UNSPEC as u8 && port.master == Some(link.index))
    {
        return Ok(());
    }
    host.delete_link(&link).map(|_| ())
}

/// Our address on a bridge that isn't ours. Before Linux 5.18 an address
/// carries no mark and the record's word counts.
fn drop_shared_addr(world: &mut World, link: &str, address: ipnet::IpNet) -> Result<()> {
    let Some(info) = world.host.link(link)? else { return Ok(()) };
    let there = world.host.addrs(info.index)?;
    let is_ours = |proto: Option<u8>| proto.is_none_or(|proto| proto == rt::PROTOCOL);
    if there
        .iter()
        .any(|a| a.ip == address.addr() && a.prefix == address.prefix_len() && is_ours(a.proto))
    {
        drop_on_link(
            world,
            Side::Host,
            &Object::Addr { link: link.to_owned(), address, route: true, dad: false },
        )?;
    }
    Ok(())
}

/// Whether the table is there and ours: its comment says so.
pub fn is_our_table(nft: &mut Nft) -> Result<bool> {
    Ok(nft.table(TABLE)?.is_some_and(|table| table.comment.as_deref() == Some(ruleset::COMMENT)))
}

/// Whether no set or map of the table has an element.
pub fn is_empty(nft: &mut Nft) -> Result<bool> {
    for set in ruleset::sets(nft)? {
        if !nft.all_elems(TABLE, &set)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The table goes when nothing is left in it.
pub fn drop_ruleset(nft: &mut Nft) -> Result<()> {
    for _ in 0..super::NFT_TRIES {
        let generation = nft.generation()?;
        if !is_our_table(nft)? || !is_empty(nft)? {
            return Ok(());
        }
        let refused = nft.commit(Some(generation), |batch| _ = TABLE.delete(batch))?;
        match refused.first() {
            None => return Ok(()),
            Some(r) if r.errno == libc::ERESTART || r.errno == libc::ENOENT => {}
            Some(r) => return Err(r.error("delete nftables table inet podkeel")),
        }
    }
    Err(super::too_busy())
}
