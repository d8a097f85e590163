//! make: the steps of a plan, in as few messages as their order allows.

use std::ops::Range;
use std::time::{Duration, Instant};

use podkeel_wire::Batch;
use podkeel_wire::rt::{self, Link, LinkInfo};

use super::find::{Found, find};
use super::make_bridge::{make_bridge, write_vlans};
use super::make_nft::{make_forward, make_nft};
use super::object::{LinkAttr, Object, RouteAttrs, Side};
use super::{Hold, Plan, Step, World};
use super::{make_device, make_veth};
use crate::error::{Error, Kind, Result};
use crate::kernel::ruleset::Entry;
use crate::kernel::socket::Refusal;
use crate::request::Mac;

/// Which steps of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Under the lock: what attachments share is found or made, leases are claimed.
    Locked,
    /// Without a lock: what belongs to this attachment alone.
    Free,
}

impl Part {
    /// Whether a step belongs to this part.
    pub fn has(self, step: &Step) -> bool {
        let locked = match step.hold {
            Hold::Share => true,
            Hold::Ensure => step.at == Side::Host,
            Hold::Own | Hold::Borrow { .. } => matches!(step.what, Object::Lease(_)),
        };
        locked == (self == Part::Locked)
    }
}

/// Why a plan could not be applied, and what must not be undone because it was there before.
#[derive(Debug)]
pub struct Stopped {
    /// The reason.
    pub error: Error,
    /// Indices of steps that the kernel refused because somebody else has them.
    pub foreign: Vec<usize>,
    /// The mark of who has what was to be made, where it wears one.
    pub holder: Option<String>,
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Stopped {
        Stopped { error, foreign: Vec::new(), holder: None }
    }
}

/// Kinds of steps that go out together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Route,
    Nft,
    Sysctl,
    Lease,
    Settled,
    Forward,
    Pin,
    Announced,
}

fn class(step: &Step) -> Class {
    match step.what {
        Object::Lease(_) => Class::Lease,
        Object::Sysctl { .. } | Object::Localnet { .. } => Class::Sysctl,
        Object::Ruleset | Object::Terms(_) | Object::Entry(_) => Class::Nft,
        Object::Settled { .. } => Class::Settled,
        Object::Pin { .. } => Class::Pin,
        Object::Announced { .. } => Class::Announced,
        Object::Forward { .. } | Object::Accepted(_) | Object::Guard | Object::Sender { .. } => {
            Class::Forward
        }
        _ => Class::Route,
    }
}

/// Makes a part of a plan, phase by phase. `go_on` is asked before each group
/// of steps and may stop it (a signal came).
pub fn apply(
    world: &mut World,
    plan: &Plan,
    part: Part,
    go_on: &dyn Fn() -> Result<()>,
) -> Result<(), Stopped> {
    let mut todo: Vec<usize> =
        plan.order().into_iter().filter(|i| part.has(&plan.steps[*i])).collect();
    if part == Part::Locked {
        todo = not_there(world, plan, todo)?;
    }
    let alike = |a: &usize, b: &usize| {
        let (a, b) = (&plan.steps[*a], &plan.steps[*b]);
        class(a) == class(b) && a.at == b.at && a.phase == b.phase
    };
    for group in todo.chunk_by(alike) {
        go_on()?;
        let steps: Vec<(usize, &Step)> = group.iter().map(|i| (*i, &plan.steps[*i])).collect();
        match class(steps[0].1) {
            Class::Lease => make_leases(&steps)?,
            Class::Sysctl => make_sysctls(world, &steps)?,
            Class::Route => make_links(world, &steps)?,
            Class::Nft => make_nft(world, &steps)?,
            Class::Settled => wait_settled(world, &steps, go_on)?,
            Class::Pin => {
                steps.iter().try_for_each(|(_, step)| make_device::pin(world, &step.what))?;
            }
            Class::Announced => {
                steps.iter().try_for_each(|(_, step)| make_device::announce(world, step))?;
            }
            Class::Forward => make_forward(world, &steps)?,
        }
    }
    for step in todo.iter().map(|i| &plan.steps[*i]) {
        if let Object::Veth(veth) = &step.what
            && veth.master.is_empty()
        {
            make_device::wait_for_pair(&mut world.host, &veth.name)?;
        }
    }
    Ok(())
}

/// What attachments share that isn't there yet.
///
/// # Errors
/// Something else is in its place.
pub fn missing(world: &mut World, plan: &Plan) -> Result<Vec<Step>> {
    let shared = |i: &usize| Part::Locked.has(&plan.steps[*i]);
    let steps = plan.order().into_iter().filter(shared).collect();
    Ok(not_there(world, plan, steps)?.into_iter().map(|i| plan.steps[i].clone()).collect())
}

/// Of the steps under the lock, those that aren't there yet.
fn not_there(world: &mut World, plan: &Plan, steps: Vec<usize>) -> Result<Vec<usize>> {
    world.host.look(true);
    let missing = look_for(world, plan, steps);
    world.host.look(false);
    missing
}

fn look_for(world: &mut World, plan: &Plan, steps: Vec<usize>) -> Result<Vec<usize>> {
    let mut todo = Vec::new();
    for i in steps {
        let step = &plan.steps[i];
        if step.hold == Hold::Own {
            todo.push(i); // a lease: making it is finding out
            continue;
        }
        match find(world, step)? {
            Found::Same => {}
            Found::Absent => todo.push(i),
            // A switch in the wrong position is put right; a thing in our place is not ours to change.
            Found::Differs(_) if step.what.is_switch() => todo.push(i),
            Found::Differs(how) => return Err(Error::new(Kind::Taken, format!("use {step}"), how)),
        }
    }
    Ok(todo)
}

fn make_leases(steps: &[(usize, &Step)]) -> Result<(), Stopped> {
    for (i, step) in steps {
        if let Object::Lease(lease) = &step.what {
            lease.make().map_err(|error| {
                let foreign = if error.kind == Kind::Taken { vec![*i] } else { Vec::new() };
                Stopped { foreign, ..error.into() }
            })?;
        }
    }
    Ok(())
}

fn make_sysctls(world: &mut World, steps: &[(usize, &Step)]) -> Result<()> {
    world.sysctls(steps[0].1.at, |proc| {
        for (_, step) in steps {
            let (path, value) = match &step.what {
                Object::Sysctl { path, value } => (path.clone(), value.as_str()),
                Object::Localnet { link } => (Object::localnet(link), "1"),
                _ => continue,
            };
            proc.write(&path, value)
                .map_err(|e| Error { what: format!("{} in the {}", e.what, step.at), ..e })?;
        }
        Ok(())
    })
}

/// How long the kernel may ask around: one probe and a second at the defaults.
const SETTLE: Duration = Duration::from_secs(10);

/// Waits until the kernel has asked for each IPv6 address of a link whether it is taken.
fn wait_settled(
    world: &mut World,
    steps: &[(usize, &Step)],
    go_on: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let end = Instant::now() + SETTLE;
    for (_, step) in steps {
        loop {
            go_on()?;
            let why = match find(world, step)? {
                Found::Same => break,
                Found::Differs(why) => why,
                Found::Absent if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
                Found::Absent => {
                    format!("within {SETTLE:?} the kernel has had no chance to ask all around")
                }
            };
            return Err(Error::new(Kind::Taken, format!("use {step}"), why)
                .hint("choose another address; a link without a carrier asks nobody"));
        }
    }
    Ok(())
}

/// Messages not sent yet, and which step each belongs to.
struct Pending {
    batch: Batch,
    owners: Vec<(Range<u32>, usize)>,
}

fn make_links(world: &mut World, steps: &[(usize, &Step)]) -> Result<(), Stopped> {
    let side = steps[0].1.at;
    let mut pending = Pending { batch: world.rtnl(side)?.socket.batch(), owners: Vec::new() };
    for (i, step) in steps {
        if by_itself(&step.what) {
            flush(world, side, &mut pending, steps)?;
            match &step.what {
                Object::Bridge(bridge) => make_bridge(world, bridge)?,
                Object::Device(device) => make_device::make_device(world, step, device)?,
                Object::Lent(lent) => make_device::lend(world, step, lent)?,
                _ => {}
            }
            pending.batch = world.rtnl(side)?.socket.batch();
            continue;
        }
        // Addresses and routes want an index, and it may be about to be learnt.
        let needs = match &step.what {
            Object::Addr { link, .. }
            | Object::Vlans { link, .. }
            | Object::OwnVlan { link, .. }
            | Object::NoAddr { link, .. }
            | Object::Neigh { link, .. }
            | Object::Member { link, .. }
            | Object::Route { link, .. } => Some(link),
            _ => None,
        };
        if needs.is_some_and(|link| world.rtnl(side).is_ok_and(|r| r.known_index(link).is_none())) {
            flush(world, side, &mut pending, steps)?;
        }
        let first = pending.batch.next_seq();
        write(world, &mut pending.batch, step)?;
        pending.owners.push((first..pending.batch.next_seq(), *i));
    }
    flush(world, side, &mut pending, steps)?;
    steps.iter().for_each(|(_, step)| make_veth::without_ipv6(&step.what));
    Ok(())
}

/// Whether more than one message makes it, the later ones from what answers the first.
fn by_itself(what: &Object) -> bool {
    matches!(what, Object::Bridge(_) | Object::Device(_) | Object::Lent(_))
}

fn write(world: &mut World, batch: &mut Batch, step: &Step) -> Result<()> {
    match &step.what {
        Object::Veth(veth) => make_veth::write(world, batch, veth)?,
        Object::Vlans { link, tags, default } => {
            write_vlans(batch, world.rtnl(step.at)?.index(link)?, tags, *default);
        }
        Object::OwnVlan { link, id } => {
            rt::add_own_vlan(batch, world.rtnl(step.at)?.index(link)?, *id);
        }
        Object::Up { link } => {
            rt::new_link(
                batch,
                rt::REQUEST,
                &Link { name: Some(link), up: Some(true), ..Link::default() },
            );
            if world.rtnl(step.at)?.known_index(link).is_none() {
                rt::get_link(batch, link);
            }
        }
        Object::Addr { link, address, route, dad } => {
            let index = world.rtnl(step.at)?.index(link)?;
            let addr = rt::Addr { no_route: !route, nodad: !dad, ..addr_of(index, *address) };
            rt::new_addr(batch, &addr);
        }
        Object::NoAddr { link, address } => {
            let index = world.rtnl(step.at)?.index(link)?;
            rt::del_addr(batch, &addr_of(index, *address));
        }
        Object::Route { link, dst, via, attrs } => {
            let oif = world.rtnl(step.at)?.index(link)?;
            rt::new_route(batch, &route_of(oif, *dst, *via, attrs));
        }
        Object::LinkAttr { link, attr, value } => {
            rt::new_link(batch, rt::REQUEST, &attr_of(link, *attr, value)?);
        }
        Object::Neigh { link, ip, mac, fdb } => {
            let index = world.rtnl(step.at)?.index(link)?;
            let neigh = rt::Neigh { index, mac: mac.0, ip: *ip, fdb: *fdb };
            rt::new_neigh(batch, &neigh);
        }
        Object::Member { link, master } => {
            let rtnl = world.rtnl(step.at)?;
            let (index, master) = (rtnl.index(link)?, Some(rtnl.index(master)?));
            rt::new_link(batch, rt::REQUEST, &Link { index, master, ..Link::default() });
        }
        _ => {}
    }
    Ok(())
}

/// An address as we set it: without duplicate address detection, which would
/// make a pod wait for a second or two.
pub(super) fn addr_of(index: u32, address: ipnet::IpNet) -> rt::Addr {
    let broadcast = match address {
        ipnet::IpNet::V4(net) if net.prefix_len() < 31 => Some(net.broadcast()),
        _ => None,
    };
    rt::Addr {
        index,
        ip: address.addr(),
        prefix: address.prefix_len(),
        broadcast,
        nodad: true,
        no_route: false,
    }
}

/// A route as the plan has it.
pub(super) fn route_of(
    oif: u32,
    dst: ipnet::IpNet,
    gateway: Option<std::net::IpAddr>,
    attrs: &RouteAttrs,
) -> rt::Route {
    rt::Route {
        mtu: attrs.mtu,
        advmss: attrs.advmss,
        priority: attrs.priority,
        table: attrs.table,
        scope: attrs.scope.and_then(|scope| u8::try_from(scope).ok()),
        onlink: attrs.onlink,
        ..rt::Route::new((dst.addr(), dst.prefix_len()), gateway, oif)
    }
}

/// The change of a link that gives it a setting.
pub(super) fn attr_of<'a>(link: &'a str, attr: LinkAttr, value: &str) -> Result<Link<'a>> {
    let wrong = |why: String| Error::input(format!("set {} of link {link}", attr.name()), why);
    let number = || value.parse::<u32>().map_err(|_| wrong(format!("{value:?} is no number")));
    let mut change = Link { name: Some(link), ..Link::default() };
    match attr {
        LinkAttr::Mac => change.mac = Some(value.parse::<Mac>().map_err(wrong)?.0),
        LinkAttr::Mtu => change.mtu = Some(number()?),
        LinkAttr::Promisc => change.promisc = Some(value == "1"),
        LinkAttr::Allmulti => change.allmulti = Some(value == "1"),
        LinkAttr::Txqlen => change.txqlen = Some(number()?),
    }
    Ok(change)
}

fn flush(
    world: &mut World,
    side: Side,
    pending: &mut Pending,
    steps: &[(usize, &Step)],
) -> Result<(), Stopped> {
    let rtnl = world.rtnl(side)?;
    let empty = Pending { batch: Batch::new(pending.batch.next_seq()), owners: Vec::new() };
    let Pending { batch, owners } = std::mem::replace(pending, empty);
    let mut seen = Vec::new();
    let refused = rtnl.socket.exchange(batch, |m| seen.extend(rt::LinkInfo::read(m)))?;
    for link in &seen {
        rtnl.learn(&link.name, link.index);
    }
    if side == Side::Host {
        world.nsid = seen.iter().find_map(|link| link.peer_netns).or(world.nsid);
        learn_peers(world, &seen, steps);
    }
    stopped(&refused, &owners, steps)
}

/// A veth's end on the host tells the index of the pod's.
fn learn_peers(world: &mut World, seen: &[LinkInfo], steps: &[(usize, &Step)]) {
    let Some(pod) = &mut world.pod else { return };
    for (_, step) in steps {
        let Object::Veth(veth) = &step.what else { continue };
        let outer = seen.iter().find(|link| link.name == veth.name);
        if let Some(index) = outer.and_then(|outer| outer.link) {
            pod.rtnl.learn(&veth.peer, index);
        }
    }
}

/// The first refusal as an error about its step; all that were refused because
/// they are there already are somebody else's.
pub(super) fn stopped(
    refused: &[Refusal],
    owners: &[(Range<u32>, usize)],
    steps: &[(usize, &Step)],
) -> Result<(), Stopped> {
    let Some(first) = refused.first() else { return Ok(()) };
    let owner =
        |r: &Refusal| owners.iter().find(|(seqs, _)| seqs.contains(&r.seq)).map(|(_, i)| *i);
    let step_of = |r: &Refusal| owner(r).and_then(|i| steps.iter().find(|(j, _)| *j == i));
    let what = step_of(first)
        .map_or_else(|| "change the network".to_owned(), |(_, step)| format!("add {step}"));
    let exists = refused.iter().filter(|r| r.errno == libc::EEXIST).filter_map(step_of);
    let foreign = exists.filter(|(_, step)| step.hold == Hold::Own).map(|(i, _)| *i).collect();
    let error = match step_of(first) {
        Some((_, step)) => in_our_words(first.error(what), step),
        None => first.error(what),
    };
    Err(Stopped { foreign, ..error.into() })
}

/// What an errno means where its own text says nothing.
fn in_our_words(error: Error, step: &Step) -> Error {
    let words = |kind, why: &str| Error { why: why.to_owned(), ..error.clone().kind(kind) };
    match (&step.what, error.errno) {
        // nf_tables asks for the module of an expression, and then knows none.
        (Object::Ruleset, Some(libc::ENOENT | libc::EOPNOTSUPP)) => {
            words(Kind::Unsupported, "the kernel lacks a part of nf_tables").hint(
                "CONFIG_NFT_NAT, CONFIG_NFT_MASQ, CONFIG_NFT_CT and CONFIG_NFT_FIB_INET are needed",
            )
        }
        (
            Object::Entry(Entry::Own(_) | Entry::Across { .. }),
            Some(libc::EEXIST | libc::ENOTEMPTY),
        ) => words(Kind::Taken, "it overlaps the subnet of another network"),
        (Object::Veth(veth), Some(libc::EXFULL)) => {
            words(Kind::Taken, &format!("bridge {} has no port left", veth.master))
                .hint("the kernel allows 1023 ports a bridge: use a second network")
        }
        _ => error,
    }
}
