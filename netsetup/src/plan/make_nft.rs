//! make, for nftables: all elements of a phase in one transaction.

use std::borrow::Cow;
use std::collections::HashMap;

use podkeel_wire::nf;

use super::make::{Stopped, stopped};
use super::{Hold, Object, Step, World};
use crate::error::{Error, Kind, Result};
use crate::kernel::ruleset::{self, Entry, TABLE};
use crate::kernel::{conntrack, forward, guard};
use crate::names;
use crate::request::Proto;

/// One transaction for all of them. Both maps are looked at before a port is
/// claimed (a port on all addresses and on one of them is the same claim), and
/// the generation makes look and claim one.
pub(super) fn make_nft(world: &mut World, steps: &[(usize, &Step)]) -> Result<(), Stopped> {
    let mark = world.mark.to_string();
    let shared = world.mark.shared();
    let looks: Vec<(usize, &Entry)> =
        steps.iter().filter_map(|(i, s)| published(s).map(|e| (*i, e))).collect();
    for _ in 0..super::NFT_TRIES {
        let generation = if looks.is_empty() { None } else { Some(world.nft()?.generation()?) };
        let mut bound = Bound::new();
        for (i, entry) in &looks {
            if let Some(comment) = overlapping(world, entry, &mut bound)? {
                return Err(taken(*i, entry, comment));
            }
        }
        let mut owners = Vec::new();
        let refused = world.nft()?.commit(generation, |batch| {
            for (i, step) in steps {
                let first = batch.next_seq();
                match (&step.what, &step.hold) {
                    (Object::Ruleset, _) => ruleset::make(batch),
                    (Object::Terms(terms), _) => terms.make(batch, &shared),
                    (Object::Entry(e), Hold::Share) => {
                        _ = TABLE.make_elems(batch, &e.set(), nf::ENSURE, &[e.elem(&shared)]);
                    }
                    (Object::Entry(e), _) => {
                        _ = TABLE.make_elems(batch, &e.set(), nf::CREATE, &[e.elem(&mark)])
                    }
                    _ => {}
                }
                owners.push((first..batch.next_seq(), *i));
            }
        })?;
        match refused.first() {
            Some(r) if r.errno == libc::ERESTART => {}
            _ => {
                stopped(&refused, &owners, steps)
                    .map_err(|stopped| name_owner(world, steps, stopped))?;
                let published = looks.iter().map(|(_, entry)| *entry);
                let (host, nft) = world.host_and_nft()?;
                return Ok(conntrack::published(host, nft, published)?);
            }
        }
    }
    Err(super::too_busy().into())
}

/// What stands in other tables than ours, each in a transaction of its own.
pub(super) fn make_forward(world: &mut World, steps: &[(usize, &Step)]) -> Result<()> {
    let (mark, shared) = (world.mark.to_string(), world.mark.shared());
    for (_, step) in steps {
        match &step.what {
            Object::Forward { v6, admin } => {
                forward::make_chains(world.nft()?, *v6, admin, &shared)?;
            }
            Object::Accepted(ip) => {
                let handles = forward::accept(world.nft()?, *ip, &mark)?;
                world.accepts.insert(*ip, handles);
            }
            Object::Guard => guard::make(world.nft()?)?,
            Object::Sender { link, mac } => guard::allow(world.nft()?, link, *mac, &mark)?,
            _ => {}
        }
    }
    Ok(())
}

fn published(step: &Step) -> Option<&Entry> {
    match &step.what {
        Object::Entry(entry @ Entry::Published { .. }) => Some(entry),
        _ => None,
    }
}

/// A port on every address and a port on one of them exclude each other, as for
/// bind(2). Returns the comment of what is in the way. `bound` has what was listed of the
/// ports on one address, by set.
fn overlapping(world: &mut World, entry: &Entry, bound: &mut Bound) -> Result<Option<Comment>> {
    let Entry::Published { proto, host_ip, host_port, to, .. } = entry else { return Ok(None) };
    let (mut any, mut one) = (entry.clone(), entry.clone());
    if let Entry::Published { host_ip: any, .. } = &mut any {
        *any = None;
    }
    if let Entry::Published { host_ip: one, .. } = &mut one {
        *one = Some(to.ip());
    }
    if host_ip.is_some() {
        let found = world.nft()?.elems(TABLE, &[(any.set(), any.elem(""))])?;
        return Ok(found.into_iter().next().flatten().map(|elem| elem.comment));
    }
    let one = one.set();
    if !bound.contains_key(&one) {
        let ports = world.nft()?.all_elems(TABLE, &one)?.into_iter().filter_map(|elem| {
            match Entry::read_published(&one, &elem)? {
                Entry::Published { proto, host_port, .. } => {
                    Some(((proto, host_port), elem.comment))
                }
                _ => None,
            }
        });
        bound.insert(one.clone(), ports.collect());
    }
    Ok(bound.get(&one).and_then(|ports| ports.get(&(*proto, *host_port))).cloned())
}

/// Ports on one address of the host with their comments, by set.
type Bound = HashMap<Cow<'static, str>, HashMap<(Proto, u16), Comment>>;

/// What an element says of itself.
type Comment = Option<String>;

/// Step `i` can't have its entry: an element with this comment has it.
fn taken(i: usize, entry: &Entry, comment: Comment) -> Stopped {
    let owner = match comment.as_deref().and_then(names::owner_of) {
        Some(owner) => format!("it is taken by {owner}"),
        None => format!(
            "it is taken by an element that somebody else put there ({})",
            comment.as_deref().unwrap_or("no comment")
        ),
    };
    let error = Error::new(Kind::Taken, format!("publish {entry}"), owner);
    Stopped { error, foreign: vec![i], holder: comment.filter(|text| names::is_mark(text)) }
}

/// "File exists" says nothing to who wants a port: name the one who has it.
fn name_owner(world: &mut World, steps: &[(usize, &Step)], stopped: Stopped) -> Stopped {
    let culprit = stopped.foreign.first().and_then(|i| steps.iter().find(|(j, _)| j == i));
    let Some((i, Step { what: Object::Entry(entry), .. })) = culprit else { return stopped };
    let found = world.nft().and_then(|nft| nft.elems(TABLE, &[(entry.set(), entry.elem(""))]));
    let Ok(Some(Some(elem))) = found.map(|f| f.into_iter().next()) else { return stopped };
    Stopped { foreign: stopped.foreign, ..taken(*i, entry, elem.comment) }
}
