//! What runtimes ask of CNI plugins beyond add and del: compare with a result, collect what is
//! no longer valid.

use std::collections::HashSet;
use std::path::Path;

use podkeel_keep::{Record, Wait};
use podkeel_wire::rt::LinkInfo;

use super::group::links_first;
use super::{Context, check, del};
use crate::conf::{Ipam, Network};
use crate::error::{Error, Kind, Result};
use crate::ipam::{self, host_local};
use crate::kernel::Netns;
use crate::plan::{LinkAttr, Object, Plan, Pod, Side, Step};
use crate::record::{self, Attachment, Id, Read, kept};
use crate::result::CniResult;

/// The attachments that a runtime still knows, by container and interface.
pub type Valid = HashSet<(String, String)>;

/// Compares a part with its record, and the pod with what a runtime was told: nothing
/// where all is as it was. Without a record what was told is all there is.
///
/// # Errors
/// [`Kind::Missing`] where the namespace is gone, [`Kind::Differs`] with the first difference.
pub fn check_part(context: &Context, id: &Id, netns: &Path, told: &CniResult) -> Result<()> {
    let siblings: Vec<Attachment> = record::of_container(&context.roots, &id.container)?
        .into_iter()
        .filter_map(Read::whole)
        .filter(|a| a.id.ifname == id.ifname && a.id != *id)
        .collect();
    let adapt = |plan: &mut Plan| overruled(plan, &siblings);
    match check::check_but(context, id, &adapt) {
        Ok(checked) => {
            let wrong = checked.steps.iter().find(|(_, found)| *found != crate::plan::Found::Same);
            if let Some((step, found)) = wrong {
                return Err(Error::new(
                    Kind::Differs,
                    format!("check {id}"),
                    format!("{step}: {found}"),
                ));
            }
        }
        Err(e) if e.kind == Kind::Missing && e.errno.is_none() && e.hint.is_none() => {}
        Err(e) => return Err(e),
    }
    if id.part.is_empty() { check_told(id, netns, told) } else { Ok(()) }
}

/// What later plugins of the chain changed of an interface is theirs to check.
fn overruled(plan: &mut Plan, later: &[Attachment]) {
    let theirs = || later.iter().flat_map(|attachment| &attachment.plan.steps);
    *plan = std::mem::take(plan).overruled_by(theirs());
    let sysctls: Vec<_> = theirs().filter_map(sysctl_in_pod).collect();
    plan.steps.retain(|step| sysctl_in_pod(step).is_none_or(|path| !sysctls.contains(&path)));
}

fn sysctl_in_pod(step: &Step) -> Option<&[String]> {
    match &step.what {
        Object::Sysctl { path, .. } if step.at == Side::Pod => Some(path),
        _ => None,
    }
}

/// Interface and addresses of a result, as they are in the pod.
fn check_told(id: &Id, netns: &Path, told: &CniResult) -> Result<()> {
    let differs = |why: String| Error::new(Kind::Differs, format!("check {id}"), why);
    let mut pod = Pod::open(Netns::open(netns)?)?;
    let Some(link) = pod.rtnl.link(&id.ifname)? else {
        return Err(differs(format!("there is no link {} in {}", id.ifname, netns.display())));
    };
    let ours = |index: Option<usize>| {
        index.and_then(|i| told.interfaces.get(i)).is_none_or(|i| i.name == id.ifname)
    };
    let in_pod = told.interfaces.iter().find(|i| i.name == id.ifname && !i.sandbox.is_empty());
    if let Some(mac) = in_pod.map(|i| &i.mac).filter(|mac| !mac.is_empty())
        && *mac != mac_of(&link)
    {
        return Err(differs(format!(
            "the address of {} is {}, not {mac}",
            id.ifname,
            mac_of(&link)
        )));
    }
    let there = pod.rtnl.addrs(link.index)?;
    for ip in told.ips.iter().filter(|ip| ours(ip.interface)) {
        let address = ip.address;
        if !there.iter().any(|a| a.ip == address.addr() && a.prefix == address.prefix_len()) {
            return Err(differs(format!("{} has no address {address}", id.ifname)));
        }
    }
    Ok(())
}

fn mac_of(link: &LinkInfo) -> String {
    LinkAttr::Mac.of(link)
}

/// Takes away what a network's plugin made for attachments that aren't valid any more.
///
/// # Errors
/// The first thing that could not be taken away; everything else was.
pub fn collect(context: &Context, network: &Network, parts: &[&str], valid: &Valid) -> Result<()> {
    context.trust()?;
    let stays =
        |container: &str, ifname: &str| valid.contains(&(container.to_owned(), ifname.to_owned()));
    let is_doomed = |there: &Attachment| -> Result<bool> {
        let kind = there.id.part.split('.').next().unwrap_or_default();
        let is_ours = there.mark.root() == context.root()? && there.id.network == network.name;
        Ok(is_ours && parts.contains(&kind) && !stays(&there.id.container, &there.id.ifname))
    };
    let mut doomed = Vec::new();
    for read in record::of_network(&context.roots, &network.name)? {
        if let Read::Whole(there) = read
            && is_doomed(&there)?
        {
            doomed.push(there.id);
        }
    }
    links_first(context, &doomed);
    let mut errors = Vec::new();
    for id in doomed {
        let record = match Record::open_locked(&context.roots.net(), &id.relative(), Wait::No) {
            Ok(record) => record,
            // Gone, or somebody is just at work on it.
            Err(e) if e.is_missing() || e.is_busy() => continue,
            Err(e) => return Err(kept(format!("read the record of {id}"), &e)),
        };
        let bytes = record.read().map_err(|e| kept("read a record", &e))?;
        let Read::Whole(there) = Read::new(&bytes) else { continue };
        // Another by now.
        if there.id != id || !is_doomed(&there)? {
            continue;
        }
        match del::take_down(context, &id, record) {
            Ok(more) => errors.extend(more),
            Err(error) => errors.push(error),
        }
        context.tidy_container(&id.container);
    }
    if let Some(Ipam::HostLocal(ipam)) = network.ipam() {
        let dir = ipam::lease_dir(&network.name, ipam, &context.roots);
        for held in host_local::leases(&dir)? {
            if !stays(&held.id, &held.ifname) {
                errors.extend(held.in_dir(&dir).drop().err());
            }
        }
        errors.extend(ipam::noted::sweep(&context.roots).err());
        context.tidy();
    }
    errors.into_iter().next().map_or(Ok(()), Err)
}

/// Whether a part has a record: one look.
pub fn has_record(context: &Context, id: &Id) -> bool {
    context.roots.net().join(id.relative()).exists()
}
