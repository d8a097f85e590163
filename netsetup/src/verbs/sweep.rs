//! Without a record the marks are what is left to go by: links by their alias,
//! nftables elements and rules by their comment, leases by what is in them.

use std::path::PathBuf;

use podkeel_wire::nf::{Elem, RuleInfo};
use podkeel_wire::rt::LinkInfo;

use super::Context;
use crate::error::{Context as _, Result};
use crate::ipam;
use crate::kernel::ruleset::{self, TABLE};
use crate::kernel::{Nft, Rtnl};
use crate::kernel::{forward, guard};
use crate::names;
use crate::plan::drop_elems;
use crate::record::Id;

/// Objects that wear marks.
#[derive(Debug, Default)]
pub(super) struct Marked {
    /// Links with a mark as their alias.
    pub(super) links: Vec<LinkInfo>,
    /// Elements with a mark as their comment, and the set that each is in.
    pub(super) elems: Vec<(String, Elem)>,
    /// Elements of the guard of bridges.
    pub(super) senders: Vec<(&'static str, Elem)>,
    /// Rules of iptables' tables with a mark as their comment, and whether of IPv6.
    pub(super) rules: Vec<(bool, RuleInfo)>,
}

impl Marked {
    /// Everything in this namespace whose mark `is` wanted.
    pub(super) fn find(
        host: &mut Rtnl,
        nft: &mut Nft,
        is: &dyn Fn(&str) -> bool,
    ) -> Result<Marked> {
        let wanted =
            |text: &Option<String>| text.as_deref().is_some_and(|t| names::is_mark(t) && is(t));
        let mut found = Marked { links: host.links()?, ..Marked::default() };
        found.links.retain(|link| link.family == libc::AF_UNSPEC as u8 && wanted(&link.alias));
        for set in ruleset::sets(nft)? {
            let elems = nft.all_elems(TABLE, &set)?.into_iter().filter(|e| wanted(&e.comment));
            found.elems.extend(elems.map(|elem| (set.clone(), elem)));
        }
        found.senders = guard::all(nft)?;
        found.senders.retain(|(_, elem)| wanted(&elem.comment));
        for v6 in [false, true] {
            let rules = forward::rules(nft, v6)?.into_iter().filter(|r| wanted(&r.comment));
            found.rules.extend(rules.map(|rule| (v6, rule)));
        }
        Ok(found)
    }

    /// Those of them whose mark `is` wanted.
    fn only(mut self, is: &dyn Fn(&str) -> bool) -> Marked {
        self.links.retain(|link| link.alias.as_deref().is_some_and(is));
        self.elems.retain(|(_, elem)| elem.comment.as_deref().is_some_and(is));
        self.senders.retain(|(_, elem)| elem.comment.as_deref().is_some_and(is));
        self.rules.retain(|(_, rule)| rule.comment.as_deref().is_some_and(is));
        self
    }

    /// The marks themselves.
    pub(super) fn marks(&self) -> impl Iterator<Item = &str> {
        let links = self.links.iter().filter_map(|l| l.alias.as_deref());
        let elems = self.elems.iter().map(|(_, elem)| elem);
        let elems = elems.chain(self.senders.iter().map(|(_, elem)| elem));
        let elems = elems.filter_map(|elem| elem.comment.as_deref());
        links.chain(elems).chain(self.rules.iter().filter_map(|(_, r)| r.comment.as_deref()))
    }

    /// Takes them away, looking at each mark once more.
    pub(super) fn remove(self, host: &mut Rtnl, nft: &mut Nft) -> Result<bool> {
        let any = self.marks().next().is_some();
        let marks: Vec<String> = self.marks().map(str::to_owned).collect();
        let ours = |comment: Option<&str>| comment.is_some_and(|c| marks.iter().any(|m| m == c));
        drop_elems(nft, &self.elems, &ours)?;
        if !self.senders.is_empty() {
            guard::remove(nft, &self.senders, &ours)?;
        }
        for (v6, rule) in &self.rules {
            forward::remove(nft, *v6, std::slice::from_ref(rule))?;
        }
        for link in &self.links {
            host.delete_link(link)?;
        }
        Ok(any)
    }
}

/// What is known of a record before its objects are swept together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// There was none.
    Missing,
    /// It is torn, and locked by the caller.
    Torn,
}

/// Takes away everything that wears the mark of this attachment, whichever life of it,
/// and its leases in these directories.
pub(super) fn owner(
    context: &Context,
    id: &Id,
    record: Known,
    lease_dirs: &[PathBuf],
) -> Result<bool> {
    let mark = id.mark(context.root()?, 0);
    let (mut host, mut nft) = (Rtnl::open()?, Nft::open()?);
    let ours = |text: &str| mark.same_owner(Some(text));
    let named_so = |text: &str| names::owner_of(text) == Some(&mark.owner);
    let marked = Marked::find(&mut host, &mut nft, &named_so)?;
    let elsewhere = marked.marks().any(|text| !ours(text));
    let marked = marked.only(&ours);
    let mut leases = Vec::new();
    for dir in lease_dirs {
        leases.extend(ipam::host_local::leases_of(dir, &id.container, &id.ifname)?);
    }
    // Looked at after marks and leases: what was being added meanwhile has a record by now.
    let path = context.roots.net().join(id.relative());
    let added = path.try_exists().ctx(|| format!("look for record {}", path.display()))?;
    if record == Known::Missing && added {
        return Ok(false);
    }
    let mut any = marked.remove(&mut host, &mut nft)?;
    // A lease carries no root: it may be that of the one elsewhere.
    if elsewhere {
        return Ok(any);
    }
    for lease in leases {
        any |= lease.drop()?;
    }
    Ok(any)
}
