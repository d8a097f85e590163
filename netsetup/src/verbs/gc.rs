//! gc: finds by itself what nobody uses any more, says how it knows, and takes
//! it away. It asks no runtime; what can't be decided stays.
//!
//! When an attachment is an orphan, `alive` says. What is shared is one when no
//! attachment holds it, what wears a mark when no record has that mark, a lease
//! when it is older than the boot.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use podkeel_keep::{self as keep, Record, Wait};

use super::alive::{Use, in_use};
use super::sweep::Marked;
use super::{Context, chain, del};
use crate::conf;
use crate::error::{Error, Result};
use crate::ipam;
use crate::kernel::ruleset::{self, Entry, SETS, TABLE};
use crate::kernel::{Nft, Rtnl};
use crate::kernel::{forward, guard};
use crate::names::{self, Mark};
use crate::plan::{self, Object};
use crate::record::{self, Attachment, Read, boot_id, kept};

/// Something that nobody uses any more.
#[derive(Debug)]
pub struct Orphan {
    /// What it is.
    pub what: String,
    /// How that is known.
    pub evidence: String,
    /// What happened when it was taken away; `None` in a dry run.
    pub removed: Option<Result<(), Error>>,
}

/// Something that stays, and why.
#[derive(Debug)]
pub struct Kept {
    /// What it is.
    pub what: String,
    /// Why it stays.
    pub why: String,
}

/// What gc found.
#[derive(Debug, Default)]
pub struct Found {
    /// What nobody uses any more.
    pub orphans: Vec<Orphan>,
    /// What is in use, or can't be decided.
    pub kept: Vec<Kept>,
}

/// Looks at everything, and unless `dry_run` takes away what nobody uses.
pub fn gc(context: &Context, dry_run: bool) -> Result<Found> {
    context.trust()?;
    let mut found = Found::default();
    records(context, dry_run, &mut found)?;
    context.go_on()?;
    strays(context, dry_run, &mut found)?;
    shared(context, dry_run, &mut found)?;
    leases(context, dry_run, &mut found)?;
    if !dry_run {
        ipam::noted::sweep(&context.roots)?;
        for dir in [context.roots.net(), context.held()?] {
            keep::sweep(&dir).map_err(|e| kept("clear away unfinished files", &e))?;
        }
    }
    // Locking made the directory, if it wasn't there.
    context.tidy();
    Ok(found)
}

fn records(context: &Context, dry_run: bool, found: &mut Found) -> Result<()> {
    let boot = boot_id()?;
    let net = context.roots.net();
    let others: Vec<Attachment> = record::whole(&context.roots)?;
    let mut all = keep::list(&net).map_err(|e| kept("list records", &e))?;
    // A list takes the records of our plugins in it along.
    all.sort_by_key(|relative| !chain::is_whole(relative));
    for relative in all {
        let name = relative.with_extension("").display().to_string();
        let record = match Record::open_locked(&net, &relative, Wait::No) {
            Ok(record) => record,
            Err(e) if e.is_missing() => continue,
            Err(e) if e.is_busy() => {
                found
                    .kept
                    .push(Kept { what: name, why: "another netsetup is at work on it".into() });
                continue;
            }
            Err(e) => return Err(kept(format!("read record {name}"), &e)),
        };
        let bytes = record.read().map_err(|e| kept(format!("read record {name}"), &e))?;
        let attachment = match Read::new(&bytes) {
            Read::Whole(attachment) => attachment,
            Read::Unknown(_) => {
                let why = "its record was written by another version of podkeel".into();
                found.kept.push(Kept { what: format!("record {name}"), why });
                continue;
            }
            Read::Torn => {
                let removed = (!dry_run).then(|| {
                    record.remove().map_err(|e| kept(format!("remove record {name}"), &e))
                });
                let evidence = "its record is torn; what wore its mark is found below".into();
                found.orphans.push(Orphan { what: format!("record {name}"), evidence, removed });
                continue;
            }
        };
        let what = format!("attachment {}", attachment.id);
        if attachment.mark.root() != context.root()? && attachment.boot == boot {
            let why = "it was made from another network namespace of the host".into();
            found.kept.push(Kept { what, why });
            continue;
        }
        match in_use(&attachment, &boot, &others)? {
            Use::Alive(why) | Use::Unknown(why) => found.kept.push(Kept { what, why }),
            Use::Orphan(evidence) => {
                let removed = (!dry_run).then(|| {
                    let errors = del::take_down(context, &attachment.id, record)?;
                    errors.into_iter().next().map_or(Ok(()), Err)
                });
                found.orphans.push(Orphan { what, evidence, removed });
            }
        }
    }
    Ok(())
}

/// What wears a mark that no record has.
fn strays(context: &Context, dry_run: bool, found: &mut Found) -> Result<()> {
    let (mut host, mut nft) = (Rtnl::open()?, Nft::open()?);
    let marked = {
        let root = context.root()?;
        Marked::find(&mut host, &mut nft, &|mark| names::root_of(mark) == Some(root))?
    };
    // Records are read after the marks: an attachment that is being added has
    // its record before it has anything that wears its mark.
    let known: HashSet<String> = all_marks(context)?;
    let mut strays: Vec<String> =
        marked.marks().filter(|m| !known.contains(*m)).map(str::to_owned).collect();
    strays.sort();
    strays.dedup();
    for stray in strays {
        let what = format!("objects marked {:?}", names::owner_of(&stray).unwrap_or_default());
        let evidence = format!("no record has their mark ({stray})");
        let removed = (!dry_run).then(|| {
            let theirs = Marked::find(&mut host, &mut nft, &|mark| mark == stray)?;
            theirs.remove(&mut host, &mut nft).map(|_| ())
        });
        found.orphans.push(Orphan { what, evidence, removed });
    }
    Ok(())
}

fn all_marks(context: &Context) -> Result<HashSet<String>> {
    let records = record::all(&context.roots)?;
    Ok(records.iter().filter_map(|(_, read)| read.mark()).map(Mark::to_string).collect())
}

/// What is shared and wears our mark, with no holder left.
fn shared(context: &Context, dry_run: bool, found: &mut Found) -> Result<()> {
    let _lock = context.lock()?;
    let records = record::all(&context.roots)?;
    let live: HashSet<String> =
        records.iter().filter_map(|(_, read)| read.mark()).map(Mark::id).collect();
    let ours = names::shared(context.root()?);
    let held = drop_dead_holders(context, dry_run, &live, found)?;
    let free = |key: &str| !held.contains(&keep::file_name(key));
    let (mut host, mut nft) = (Rtnl::open()?, Nft::open()?);
    let links = host.links()?;
    for link in links.iter().filter(|l| l.alias.as_deref() == Some(&ours) && l.family == 0) {
        let has_ports =
            links.iter().any(|port| port.family == 0 && port.master == Some(link.index));
        let kind = link.kind.as_deref().unwrap_or("link");
        let what = format!("{kind} {}", link.name);
        if kind != "bridge" && free(&plan::Device::shared_key(&link.name)) {
            let removed = (!dry_run).then(|| plan::drop_device(&mut host, &link.name, &ours));
            found.orphans.push(nobody_holds(what, removed));
        } else if kind == "bridge" && free(&format!("bridge:{}", link.name)) && !has_ports {
            let removed = (!dry_run).then(|| plan::drop_bridge(&mut host, &link.name, &ours));
            found.orphans.push(nobody_holds(what, removed));
        }
    }
    for (set, ..) in SETS.iter().filter(|(name, ..)| name.starts_with("own")) {
        for elem in nft.all_elems(TABLE, set)? {
            let key = Entry::read_own(&elem).map(|entry| Object::Entry(entry).key());
            if elem.comment.as_deref() == Some(&ours) && key.as_deref().is_some_and(free) {
                let keys = [(*set, podkeel_wire::nf::Elem { comment: None, ..elem })];
                let removed =
                    (!dry_run).then(|| plan::drop_elems(&mut nft, &keys, &|c| c == Some(&ours)));
                found.orphans.push(nobody_holds(
                    format!("element {} of set {set}", key.unwrap_or_default()),
                    removed,
                ));
            }
        }
    }
    let terms = ruleset::terms::all(&mut nft, &ours)?;
    if free(&Object::Guard.key())
        && guard::find(&mut nft)? == Some(true)
        && guard::all(&mut nft)?.is_empty()
    {
        let removed = (!dry_run).then(|| guard::drop_table(&mut nft));
        found.orphans.push(nobody_holds("nftables table bridge podkeel".into(), removed));
    }
    for v6 in [false, true].into_iter().filter(|v6| free(&Object::forward_key(*v6))) {
        if forward::chain_mark(&mut nft, v6)?.as_deref() == Some(&ours) {
            let removed = (!dry_run).then(|| forward::drop_chains(&mut nft, v6, &ours));
            let what = format!("chains for accepts in {}' FORWARD", forward::command(v6));
            found.orphans.push(nobody_holds(what, removed));
        }
    }
    for (name, _) in terms.into_iter().filter(|(_, key)| free(key)) {
        let removed = (!dry_run).then(|| ruleset::terms::drop(&mut nft, &name, &ours));
        found.orphans.push(nobody_holds(format!("chain {name}, its maps and rules"), removed));
    }
    if free("ruleset") && plan::is_our_table(&mut nft)? && plan::is_empty(&mut nft)? {
        let removed = (!dry_run).then(|| plan::drop_ruleset(&mut nft));
        found.orphans.push(nobody_holds("nftables table inet podkeel".into(), removed));
    }
    Ok(())
}

fn nobody_holds(what: String, removed: Option<Result<()>>) -> Orphan {
    Orphan { what, evidence: "it wears our mark and no attachment holds it".into(), removed }
}

/// A holder whose record is gone holds nothing. Returns what the others hold, as
/// [`keep::file_name`] has it.
fn drop_dead_holders(
    context: &Context,
    dry_run: bool,
    live: &HashSet<String>,
    found: &mut Found,
) -> Result<HashSet<String>> {
    let root = context.held()?;
    let mut held = HashSet::new();
    for key in keep::keys(&root).map_err(|e| kept("list what is held", &e))? {
        for (holder, _) in keep::holders_of_file(&root, &key)
            .map_err(|e| kept(format!("list the holders of {key}"), &e))?
        {
            if live.contains(&holder) {
                held.insert(key.clone());
                continue;
            }
            let released = (!dry_run).then(|| {
                keep::release_file(&root, &key, &holder)
                    .map(|_| ())
                    .map_err(|e| kept(format!("release {key}"), &e))
            });
            let evidence = "no record has this attachment".into();
            found.orphans.push(Orphan {
                what: format!("holder {holder} of {key}"),
                evidence,
                removed: released,
            });
        }
    }
    Ok(held)
}

/// Leases of our networks that no record has. They carry no boot id, but no
/// namespace survives a boot: what was leased before it is free.
fn leases(context: &Context, dry_run: bool, found: &mut Found) -> Result<()> {
    let booted = booted_at()?;
    let recorded: HashSet<_> = record::whole(&context.roots)?
        .into_iter()
        .map(|a| (a.id.network, a.id.container, a.id.ifname))
        .collect();
    for (network, _) in conf::names(&context.roots) {
        let list = conf::find(&network, &context.roots).ok();
        let ipam = list.as_ref().and_then(|list| list.ipam()?.host_local());
        let dir = match ipam {
            Some(ipam) => ipam::lease_dir(&network, ipam, &context.roots),
            None => context.roots.leases.join(&network),
        };
        for lease in ipam::host_local::leases(&dir)? {
            if recorded.contains(&(network.clone(), lease.id.clone(), lease.ifname.clone())) {
                continue;
            }
            let what = format!(
                "lease {} of network {network}, to {}/{}",
                lease.ip, lease.id, lease.ifname
            );
            if lease.since + CLOCK_SLACK < booted {
                let evidence = "no record has it, and it was made before this boot".into();
                let lease = lease.in_dir(&dir);
                let removed = (!dry_run).then(|| lease.drop().map(|_| ()));
                found.orphans.push(Orphan { what, evidence, removed });
            } else {
                let why = "no record of ours has it; it may be another program's".into();
                found.kept.push(Kept { what, why });
            }
        }
    }
    Ok(())
}

/// The clock may be set a little after the boot.
const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// A time that is surely not after this boot's first lease. /proc/stat's btime
/// moves with every step of the clock, so that after one all leases would look
/// old: the birth of /run, which is made anew at boot, counts as well. Where
/// that can't be told, nothing is old.
fn booted_at() -> Result<SystemTime> {
    let stat =
        std::fs::read_to_string("/proc/stat").map_err(|e| Error::io("read /proc/stat", &e))?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "));
    let seconds = seconds.and_then(|s| s.trim().parse().ok()).unwrap_or(0);
    let btime = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let run = std::fs::metadata("/run").and_then(|m| m.created()).unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(btime.min(run))
}
