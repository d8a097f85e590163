//! make: the steps of a plan, in as few messages as their order allows.

use std::collections::HashMap;
use std::ops::Range;

use podkeel_wire::rt::{self, Link};
use podkeel_wire::{Batch, nf};

use super::find::{Found, find};
use super::object::{Bridge, Object, Side, Veth};
use super::{Hold, Plan, Step, World};
use crate::error::{Error, Kind, Result};
use crate::kernel::ruleset::{self, Entry, TABLE};
use crate::kernel::socket::Refusal;
use crate::names;
use crate::request::Proto;

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
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Stopped {
        Stopped { error, foreign: Vec::new() }
    }
}

/// Kinds of steps that go out together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Route,
    Nft,
    Sysctl,
    Lease,
}

fn class(step: &Step) -> Class {
    match step.what {
        Object::Lease(_) => Class::Lease,
        Object::Sysctl { .. } => Class::Sysctl,
        Object::Ruleset | Object::Entry(_) => Class::Nft,
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
        todo = missing(world, plan, todo)?;
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
        }
    }
    Ok(())
}

/// Of the steps under the lock, those that aren't there yet.
fn missing(world: &mut World, plan: &Plan, steps: Vec<usize>) -> Result<Vec<usize>> {
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
            Found::Differs(_) if matches!(step.what, Object::Up { .. } | Object::Sysctl { .. }) => {
                todo.push(i)
            }
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
                Stopped { error, foreign }
            })?;
        }
    }
    Ok(())
}

fn make_sysctls(world: &mut World, steps: &[(usize, &Step)]) -> Result<()> {
    world.sysctls(steps[0].1.at, |proc| {
        for (_, step) in steps {
            if let Object::Sysctl { path, value } = &step.what {
                proc.write(path, value)
                    .map_err(|e| Error { what: format!("{} in the {}", e.what, step.at), ..e })?;
            }
        }
        Ok(())
    })
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
        if let Object::Bridge(bridge) = &step.what {
            flush(world, side, &mut pending, steps)?;
            make_bridge(world, bridge)?;
            pending.batch = world.rtnl(side)?.socket.batch();
            continue;
        }
        // Addresses and routes want an index, and it may be about to be learnt.
        let needs = match &step.what {
            Object::Addr { link, .. } | Object::Route { link, .. } => Some(link),
            _ => None,
        };
        if needs.is_some_and(|link| world.rtnl(side).is_ok_and(|r| r.known_index(link).is_none())) {
            flush(world, side, &mut pending, steps)?;
        }
        let first = pending.batch.next_seq();
        write(world, &mut pending.batch, step)?;
        pending.owners.push((first..pending.batch.next_seq(), *i));
    }
    flush(world, side, &mut pending, steps)
}

fn write(world: &mut World, batch: &mut Batch, step: &Step) -> Result<()> {
    match &step.what {
        Object::Veth(veth) => write_veth(world, batch, veth)?,
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
        Object::Addr { link, address } => {
            let index = world.rtnl(step.at)?.index(link)?;
            rt::new_addr(batch, &addr_of(index, *address));
        }
        Object::Route { link, dst, via } => {
            let oif = world.rtnl(step.at)?.index(link)?;
            rt::new_route(
                batch,
                &rt::Route {
                    dst: (dst.addr(), dst.prefix_len()),
                    gateway: *via,
                    oif,
                    priority: None,
                },
            );
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
    rt::Addr { index, ip: address.addr(), prefix: address.prefix_len(), broadcast, nodad: true }
}

/// Both ends get their final names, addresses and namespaces in one message.
/// The alias comes in a second one, because the kernel drops it in the first;
/// until then the name, a hash, is the mark.
fn write_veth(world: &mut World, batch: &mut Batch, veth: &Veth) -> Result<()> {
    use std::os::fd::{AsFd, AsRawFd};
    let master = world.host.index(&veth.master)?;
    let pod = world.pod.as_ref().ok_or_else(|| {
        Error::new(Kind::Missing, "make a veth", "there is no pod to put its peer in")
    })?;
    let peer = Link {
        name: Some(&veth.peer),
        mac: Some(veth.peer_mac.0),
        mtu: veth.mtu,
        netns: Some(pod.netns.as_fd().as_raw_fd()),
        ..Link::default()
    };
    let outer = Link {
        name: Some(&veth.name),
        mac: Some(veth.mac.0),
        mtu: veth.mtu,
        master: Some(master),
        up: Some(true),
        kind: rt::Kind::Veth(&peer),
        ..Link::default()
    };
    rt::new_link(batch, rt::CREATE, &outer);
    let alias = world.mark.to_string();
    let port =
        rt::Port { hairpin: veth.hairpin.then_some(true), isolated: veth.isolated.then_some(true) };
    let port = (port != rt::Port::default()).then_some(port);
    rt::new_link(
        batch,
        rt::REQUEST,
        &Link { name: Some(&veth.name), alias: Some(&alias), port, ..Link::default() },
    );
    // The answer tells the id that the host's namespace has given the pod's.
    rt::get_link(batch, &veth.name);
    Ok(())
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
        rtnl.learn(link);
    }
    if side == Side::Host {
        world.nsid = seen.iter().find_map(|link| link.peer_netns).or(world.nsid);
    }
    stopped(&refused, &owners, steps)
}

/// The first refusal as an error about its step; all that were refused because
/// they are there already are somebody else's.
fn stopped(
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
    Err(Stopped { error, foreign })
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
        (Object::Entry(Entry::Own(_)), Some(libc::EEXIST | libc::ENOTEMPTY)) => {
            words(Kind::Taken, "it overlaps the subnet of another network")
        }
        (Object::Veth(veth), Some(libc::EXFULL)) => {
            words(Kind::Taken, &format!("bridge {} has no port left", veth.master))
                .hint("the kernel allows 1023 ports a bridge: use a second network")
        }
        _ => error,
    }
}

/// A bridge is made under a hashed name and gets its own name and its mark in
/// one message: killed in between, it is known by the hash.
fn make_bridge(world: &mut World, bridge: &Bridge) -> Result<()> {
    let unnamed = world.mark.unnamed();
    let shared = world.mark.shared();
    let what = || format!("add bridge {}", bridge.name);
    let mut batch = world.host.socket.batch();
    let link = Link {
        name: Some(&unnamed),
        mac: Some(bridge.mac.0),
        kind: rt::Kind::Bridge,
        ..Link::default()
    };
    rt::new_link(&mut batch, rt::CREATE, &link);
    rt::get_link(&mut batch, &unnamed);
    let mut made = None;
    let refused =
        world.host.socket.exchange(batch, |m| made = made.take().or(rt::LinkInfo::read(m)))?;
    if let Some(refusal) = refused.first() {
        return Err(refusal.error(what()));
    }
    let mut made = made.ok_or_else(|| Error::new(Kind::Failed, what(), "it vanished"))?;
    let mut batch = world.host.socket.batch();
    let link = Link {
        index: made.index,
        name: Some(&bridge.name),
        alias: Some(&shared),
        promisc: bridge.promisc.then_some(true),
        // Given when a bridge is made, or given again, an mtu doesn't stick: it
        // would follow the ports' from then on (br_mtu_auto_adjust).
        mtu: bridge.mtu,
        ..Link::default()
    };
    rt::new_link(&mut batch, rt::REQUEST, &link);
    if let Some(refusal) = world.host.socket.exchange(batch, |_| {})?.first() {
        return Err(refusal.error(what()));
    }
    made.name.clone_from(&bridge.name);
    world.host.learn(&made);
    Ok(())
}

/// One transaction for all of them. Both maps are looked at before a port is
/// claimed (a port on all addresses and on one of them is the same claim), and
/// the generation makes look and claim one.
fn make_nft(world: &mut World, steps: &[(usize, &Step)]) -> Result<(), Stopped> {
    let mark = world.mark.to_string();
    let shared = world.mark.shared();
    let looks: Vec<(usize, &Entry)> =
        steps.iter().filter_map(|(i, s)| published(s).map(|e| (*i, e))).collect();
    for _ in 0..super::NFT_TRIES {
        let generation = if looks.is_empty() { None } else { Some(world.nft()?.generation()?) };
        let mut bound = Bound::new();
        for (i, entry) in &looks {
            overlapping(world, entry, &mut bound)
                .map_err(|error| Stopped { error, foreign: vec![*i] })?;
        }
        let mut owners = Vec::new();
        let refused = world.nft()?.commit(generation, |batch| {
            for (i, step) in steps {
                let first = batch.next_seq();
                match (&step.what, &step.hold) {
                    (Object::Ruleset, _) => ruleset::make(batch),
                    (Object::Entry(e), Hold::Share) => {
                        _ = TABLE.make_elems(batch, e.set(), nf::ENSURE, &[e.elem(&shared)]);
                    }
                    (Object::Entry(e), _) => {
                        _ = TABLE.make_elems(batch, e.set(), nf::CREATE, &[e.elem(&mark)])
                    }
                    _ => {}
                }
                owners.push((first..batch.next_seq(), *i));
            }
        })?;
        match refused.first() {
            Some(r) if r.errno == libc::ERESTART => {}
            _ => {
                return stopped(&refused, &owners, steps)
                    .map_err(|stopped| name_owner(world, steps, stopped));
            }
        }
    }
    Err(super::too_busy().into())
}

fn published(step: &Step) -> Option<&Entry> {
    match &step.what {
        Object::Entry(entry @ Entry::Published { .. }) => Some(entry),
        _ => None,
    }
}

/// A port on every address and a port on one of them exclude each other, as for
/// bind(2). `bound` has what was listed of the ports on one address, by set.
fn overlapping(world: &mut World, entry: &Entry, bound: &mut Bound) -> Result<()> {
    let Entry::Published { proto, host_ip, host_port, to } = entry else { return Ok(()) };
    let (any, one) = if to.is_ipv4() { ("ports4", "bound4") } else { ("ports6", "bound6") };
    if host_ip.is_some() {
        let wanted =
            Entry::Published { proto: *proto, host_ip: None, host_port: *host_port, to: *to };
        let found = world.nft()?.elems(TABLE, &[(any, wanted.elem(""))])?;
        return match found.into_iter().next().flatten() {
            Some(elem) => Err(taken(entry, elem.comment.as_deref())),
            None => Ok(()),
        };
    }
    if !bound.contains_key(one) {
        let ports = world.nft()?.all_elems(TABLE, one)?.into_iter().filter_map(|elem| {
            match Entry::read_published(one, &elem)? {
                Entry::Published { proto, host_port, .. } => {
                    Some(((proto, host_port), elem.comment))
                }
                _ => None,
            }
        });
        bound.insert(one, ports.collect());
    }
    match bound.get(one).and_then(|ports| ports.get(&(*proto, *host_port))) {
        Some(comment) => Err(taken(entry, comment.as_deref())),
        None => Ok(()),
    }
}

/// Ports on one address of the host with their comments, by set.
type Bound = HashMap<&'static str, HashMap<(Proto, u16), Option<String>>>;

fn taken(entry: &Entry, comment: Option<&str>) -> Error {
    let owner = match comment.and_then(names::owner_of) {
        Some(owner) => format!("it is taken by {owner}"),
        None => format!(
            "it is taken by an element that somebody else put there ({})",
            comment.unwrap_or("no comment")
        ),
    };
    Error::new(Kind::Taken, format!("publish {entry}"), owner)
}

/// "File exists" says nothing to who wants a port: name the one who has it.
fn name_owner(world: &mut World, steps: &[(usize, &Step)], stopped: Stopped) -> Stopped {
    let culprit = stopped.foreign.first().and_then(|i| steps.iter().find(|(j, _)| j == i));
    let Some((_, Step { what: Object::Entry(entry), .. })) = culprit else { return stopped };
    let found = world.nft().and_then(|nft| nft.elems(TABLE, &[(entry.set(), entry.elem(""))]));
    let Ok(Some(Some(elem))) = found.map(|f| f.into_iter().next()) else { return stopped };
    Stopped { error: taken(entry, elem.comment.as_deref()), ..stopped }
}
