//! Rules of a pod that the reference plugins have made, removed as their own DEL would.
//!
//! ```text
//!  ip, ip6 nat      POSTROUTING ── name: "NET" id: "ID" ───────► CNI-HASH      ipMasq
//!                   CNI-HOSTPORT-DNAT ── dnat name: "NET" ... ─► CNI-DN-HASH   portmap
//!  ip, ip6 filter   CNI-FORWARD    -d POD, -s POD  accept, no comment          firewall
//!  inet cni_plugins_masquerade     masq_checks: HASHES, net: NET, if: IF, id: ID
//!  ip, ip6 cni_hostport            any chain: ID                both of their nftables backends
//! ```
//!
//! The chains of one pod are found by the rule that leads there: its comment says in words
//! what the chain's name is a hash of. What all pods share (CNI-HOSTPORT-DNAT and what marks
//! packets) stays, as it does there. Rules of iptables-legacy aren't nf_tables'.
//!
//! Sources, in github.com/containernetworking/plugins: pkg/utils/utils.go (FormatComment),
//! plugins/meta/portmap/portmap_iptables.go and portmap_nftables.go,
//! pkg/ip/ipmasq_nftables_linux.go, plugins/meta/firewall/iptables.go.

use std::collections::BTreeSet;
use std::net::IpAddr;

use podkeel_wire::nf::{self, COMMENT_MAX, RuleInfo, Table};

use super::forward::{bytes_of, retried};
use super::nft::Nft;
use crate::error::Result;

/// Whose rules they are.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// The network's name.
    pub network: &'a str,
    /// The container's id.
    pub container: &'a str,
    /// The interface.
    pub ifname: &'a str,
}

/// Which plugin made them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rules {
    /// bridge or ptp, with ipMasq.
    Masquerade,
    /// portmap.
    Ports,
    /// firewall, for these addresses.
    Accepts(Vec<IpAddr>),
}

/// Removes what is there of a pod's rules. Where none of the tables is, it is one question.
///
/// # Errors
/// Something else leads to a chain that is to go; the ruleset changes under every attempt.
pub fn remove(nft: &mut Nft, whose: Whose<'_>, rules: &Rules) -> Result<()> {
    let there = nft.tables()?;
    for place in places(rules) {
        let table = place.table;
        if there.iter().any(|t| t.family == table.family && t.name == table.name)
            && !place.find(nft, whose, rules)?.is_empty()
        {
            place.clear(nft, whose, rules)?;
        }
    }
    Ok(())
}

/// Where rules may be.
struct Place {
    table: Table<'static>,
    /// `None` = any.
    chain: Option<&'static str>,
    /// How the names of the chains begin that a pod has there for itself.
    own: Option<&'static str>,
}

fn places(rules: &Rules) -> Vec<Place> {
    let of = |family, name, chain, own| Place { table: Table { family, name }, chain, own };
    let both = |name, chain, own| [nf::IP, nf::IP6].map(|family| of(family, name, chain, own));
    let mut places = Vec::new();
    match rules {
        Rules::Masquerade => {
            places.extend(both("nat", Some("POSTROUTING"), Some("CNI-")));
            places.push(of(nf::INET, "cni_plugins_masquerade", Some("masq_checks"), None));
        }
        Rules::Ports => {
            places.extend(both("nat", Some("CNI-HOSTPORT-DNAT"), Some("CNI-DN-")));
            places.extend(both("cni_hostport", None, None));
        }
        Rules::Accepts(_) => places.extend(both("filter", Some("CNI-FORWARD"), None)),
    }
    places
}

impl Place {
    /// The pod's rules here.
    fn find(&self, nft: &mut Nft, whose: Whose<'_>, rules: &Rules) -> Result<Vec<RuleInfo>> {
        let mut found = match self.chain {
            Some(chain) => nft.rules_of(self.table, chain)?,
            None => nft.rules(self.table)?,
        };
        found.retain(|rule| match (rules, self.own) {
            (Rules::Accepts(ips), _) => ips.iter().any(|ip| accepts(rule, *ip)),
            (_, Some(own)) => {
                rule.jump.as_deref().is_some_and(|to| to.starts_with(own))
                    && rule.comment.as_deref() == Some(&whose.words(rules))
            }
            (Rules::Ports, None) => rule.comment.as_deref() == Some(whose.container),
            (Rules::Masquerade, None) => {
                rule.comment.as_deref().is_some_and(|comment| whose.is_hashed(comment))
            }
        });
        Ok(found)
    }

    /// Removes them, with the chains that they lead to. The generation makes look and removal
    /// one: a chain is removed whatever is in it by then.
    fn clear(&self, nft: &mut Nft, whose: Whose<'_>, rules: &Rules) -> Result<()> {
        let what = || {
            let Whose { network, container, .. } = whose;
            let name = self.table.name;
            format!("remove rules of {network}/{container} from nftables table {name}")
        };
        retried(what, || {
            let generation = nft.generation()?;
            let found = self.find(nft, whose, rules)?;
            let chains: BTreeSet<&str> = found
                .iter()
                .filter(|_| self.own.is_some())
                .filter_map(|r| r.jump.as_deref())
                .collect();
            let refused = nft.commit(Some(generation), |batch| {
                for rule in &found {
                    self.table.delete_rule(batch, &rule.chain, rule.handle);
                }
                for chain in chains {
                    self.table.delete_rules(batch, chain);
                    self.table.delete_chain(batch, chain);
                }
            })?;
            Ok(refused)
        })
    }
}

/// An accept as firewall makes it: of what the pod sends, or of answers to it. One that asks
/// for more, or has a comment, is somebody else's.
fn accepts(rule: &RuleInfo, ip: IpAddr) -> bool {
    let matches: Vec<&str> = rule.matches.iter().map(String::as_str).collect();
    rule.accepts
        && rule.comment.is_none()
        && rule.compared == [bytes_of(ip)]
        && matches!(matches[..], [] | ["conntrack"])
}

impl Whose<'_> {
    /// The comment of the rule that leads to a pod's chain in iptables' table.
    fn words(&self, rules: &Rules) -> String {
        /// The longest that iptables takes; a longer one of portmap ends in dots.
        const MAX: usize = 255;
        const CUT: usize = 253;
        let text = format!("name: {:?} id: {:?}", self.network, self.container);
        let text = if *rules == Rules::Ports { format!("dnat {text}") } else { text };
        if text.len() <= MAX { text } else { format!("{}...", &text[..CUT]) }
    }

    /// Whether a comment is one of cni_plugins_masquerade's: two hashes of 16 digits, and then
    /// in words what they are of, as far as there is room.
    fn is_hashed(&self, comment: &str) -> bool {
        /// How much of a container's id must be there to know it.
        const ENOUGH: usize = 12;
        let Some(text) = comment.get(33..) else { return false };
        let before = format!(", net: {}, if: {}, id: ", self.network, self.ifname);
        let Some(id) = text.strip_prefix(&before) else { return false };
        id == self.container
            || (comment.len() >= COMMENT_MAX - 1
                && id.len() >= ENOUGH
                && self.container.starts_with(id))
    }
}
