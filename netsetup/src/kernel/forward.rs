//! Accepts where iptables-nft's FORWARD drops: the one place where a table that isn't
//! ours is changed, because an accept in our own can't overrule a drop in another.
//!
//! ```text
//!  filter FORWARD ──► CNI-FORWARD ──► CNI-ADMIN      the administrator's own rules
//!                         -d POD  conntrack RELATED,ESTABLISHED   accept
//!                         -d POD  conntrack DNAT                  accept: published ports
//!                         -s POD                                  accept
//! ```
//!
//! Chains, their order and their comments are those of CNI's firewall plugin, so that
//! both find each other's; the rules are made of what `iptables` itself sends, so that
//! it lists and saves them. A pod's rules wear its mark as their comment; chains that
//! we made wear the mark of what attachments share.

use std::net::IpAddr;

use podkeel_wire::nf::{self, ChainInfo, Expr, Reg, RuleInfo, Table};

use super::nft::Nft;
use super::socket::Refusal;
use crate::error::{Error, Kind, Result};

/// The chain that FORWARD jumps to.
const CHAIN: &str = "CNI-FORWARD";
/// The comment of the jump to it, by which CNI's plugin finds it.
const TO_CHAIN: &str = "CNI firewall plugin rules";
/// The comment of the jump to the administrator's chain.
const TO_ADMIN: &str = "CNI firewall plugin admin overrides";
/// How many rules an address has.
const RULES: usize = 3;
/// How often a transaction is tried again because somebody else changed the ruleset.
const TRIES: u32 = 1000;

/// iptables' table of a family.
const fn table(v6: bool) -> Table<'static> {
    Table { family: if v6 { nf::IP6 } else { nf::IP }, name: "filter" }
}

/// The command that shows a family's table.
pub const fn command(v6: bool) -> &'static str {
    if v6 { "ip6tables" } else { "iptables" }
}

/// Whether FORWARD may drop what pods send: by its policy, or by a rule of anybody's.
pub fn may_drop(nft: &mut Nft, v6: bool) -> Result<bool> {
    let Some(chain) = nft.chain(table(v6), "FORWARD")? else { return Ok(false) };
    Ok(chain.policy == Some(libc::NF_DROP as u32)
        || !nft.rules_of(table(v6), "FORWARD")?.is_empty())
}

/// What there is of the chains.
struct Frame {
    chains: Vec<ChainInfo>,
    forward: Vec<RuleInfo>,
    inside: Vec<RuleInfo>,
}

impl Frame {
    fn read(nft: &mut Nft, v6: bool) -> Result<Frame> {
        Ok(Frame {
            chains: nft.chains(table(v6))?,
            forward: nft.rules_of(table(v6), "FORWARD")?,
            inside: nft.rules_of(table(v6), CHAIN)?,
        })
    }

    fn chain(&self, name: &str) -> Option<&ChainInfo> {
        self.chains.iter().find(|chain| chain.name == name)
    }
}

fn leads_to(chain: &str) -> impl Fn(&RuleInfo) -> bool {
    move |rule| rule.jump.as_deref() == Some(chain)
}

/// Whether the chains are there, and lead from one to the next: by the first rule, unless
/// somebody has put others before it.
pub fn has_chains(nft: &mut Nft, v6: bool, admin: &str) -> Result<bool> {
    let table = table(v6);
    Ok(nft.has_rule(table, "FORWARD", leads_to(CHAIN))?
        && nft.has_rule(table, CHAIN, leads_to(admin))?)
}

/// Makes what is missing of the chains; `mark` goes on those that are new.
///
/// # Errors
/// The table is gone; the ruleset changes under every attempt.
pub fn make_chains(nft: &mut Nft, v6: bool, admin: &str, mark: &str) -> Result<()> {
    let table = table(v6);
    let what = || format!("make chain {CHAIN} of {}", command(v6));
    retried(what, || {
        let generation = nft.generation()?;
        let there = Frame::read(nft, v6)?;
        nft.commit(Some(generation), |batch| {
            for name in [admin, CHAIN].into_iter().filter(|name| there.chain(name).is_none()) {
                table.make_marked_chain(batch, name, mark);
            }
            if !there.inside.iter().any(leads_to(admin)) {
                table.insert_rule(
                    batch,
                    CHAIN,
                    &[Expr::Counter, Expr::Jump { chain: admin }],
                    TO_ADMIN,
                );
            }
            if !there.forward.iter().any(leads_to(CHAIN)) {
                table.insert_rule(
                    batch,
                    "FORWARD",
                    &[Expr::Counter, Expr::Jump { chain: CHAIN }],
                    TO_CHAIN,
                );
            }
        })
    })
}

/// Removes the chains, if they wear this mark and nothing is left in them.
pub fn drop_chains(nft: &mut Nft, v6: bool, mark: &str) -> Result<()> {
    let table = table(v6);
    let ours = |chain: &&ChainInfo| chain.comment.as_deref() == Some(mark);
    retried(
        || format!("remove chain {CHAIN} of {}", command(v6)),
        || {
            let generation = nft.generation()?;
            let there = Frame::read(nft, v6)?;
            let is_jump = |rule: &RuleInfo| rule.comment.as_deref() == Some(TO_ADMIN);
            if there.chain(CHAIN).filter(ours).is_none() || !there.inside.iter().all(is_jump) {
                return Ok(Vec::new());
            }
            let mut admins = Vec::new();
            for chain in there.inside.iter().filter_map(|rule| there.chain(rule.jump.as_deref()?)) {
                if ours(&chain) && nft.rules_of(table, &chain.name)?.is_empty() {
                    admins.push(&chain.name);
                }
            }
            let refused = nft.commit(Some(generation), |batch| {
                let leads = leads_to(CHAIN);
                for rule in there.forward.iter().filter(|rule| leads(rule)) {
                    table.delete_rule(batch, "FORWARD", rule.handle);
                }
                for rule in &there.inside {
                    table.delete_rule(batch, CHAIN, rule.handle);
                }
                table.delete_chain(batch, CHAIN);
                for admin in admins {
                    table.delete_chain(batch, admin);
                }
            })?;
            // Somebody else jumps there: then it stays, with all that leads to it.
            Ok(refused.into_iter().filter(|r| r.errno != libc::EBUSY).collect())
        },
    )
}

/// How many of an address's rules are there and wear this mark, and how many there are to be.
pub fn accepted(nft: &mut Nft, ip: IpAddr, mark: &str) -> Result<(usize, usize)> {
    let rules = nft.rules_of(table(ip.is_ipv6()), CHAIN)?;
    Ok((rules.iter().filter(|rule| is_of(rule, ip, mark)).count(), RULES))
}

fn is_of(rule: &RuleInfo, ip: IpAddr, mark: &str) -> bool {
    rule.comment.as_deref() == Some(mark) && rule.compared.first() == Some(&bytes_of(ip))
}

/// Lets an address's packets through. Returns the handles of its rules.
pub fn accept(nft: &mut Nft, ip: IpAddr, mark: &str) -> Result<Vec<u64>> {
    let (from, to, len) = if ip.is_ipv4() { (12, 16, 4) } else { (8, 24, 16) };
    let bytes = bytes_of(ip);
    let is = |offset| {
        let to = Reg::word(0);
        [Expr::Network { offset, len, to }, Expr::Equal { reg: to, value: &bytes }]
    };
    let answers = nf::conntrack_state(nf::CT_RELATED | nf::CT_ESTABLISHED);
    let published = nf::conntrack_state(nf::CT_DNAT);
    let state = |info| [Expr::Match { name: "conntrack", revision: 3, info }];
    let then = [Expr::Counter, Expr::Accept];
    let rules = [
        [&is(to)[..], &state(&answers), &then].concat(),
        [&is(to)[..], &state(&published), &then].concat(),
        [&is(from)[..], &then].concat(),
    ];
    let (refused, handles) = nft.commit_told(|batch| {
        for rule in &rules {
            table(ip.is_ipv6()).make_told_rule(batch, CHAIN, rule, Some(mark));
        }
    })?;
    match refused.first() {
        None => Ok(handles),
        Some(refusal) => Err(refused_here(refusal, format!("accept {ip} in chain {CHAIN}"))),
    }
}

/// Removes an address's rules that wear this mark. Their handles are never used again, so
/// what was seen is what goes.
///
/// With `handles`, those that [`accept`] told, it costs the same however many other pods have
/// rules in the chain. Where they aren't all there (somebody has loaded the chain again, as
/// iptables-restore does), the chain is listed.
pub fn close(nft: &mut Nft, ip: IpAddr, mark: &str, handles: &[u64]) -> Result<()> {
    let (table, is_its) = (table(ip.is_ipv6()), |rule: &RuleInfo| is_of(rule, ip, mark));
    let mut rules = nft.rules_at(table, CHAIN, handles)?;
    rules.retain(is_its);
    if rules.len() != RULES {
        rules = nft.rules_of(table, CHAIN)?;
        rules.retain(is_its);
    }
    remove(nft, ip.is_ipv6(), &rules)
}

/// All rules of the chain, with their comments; none where it isn't there.
pub fn rules(nft: &mut Nft, v6: bool) -> Result<Vec<RuleInfo>> {
    nft.rules_of(table(v6), CHAIN)
}

/// Removes these rules of the chain; one that is gone by then is none.
pub fn remove(nft: &mut Nft, v6: bool, rules: &[RuleInfo]) -> Result<()> {
    let what = || format!("remove accepts from chain {CHAIN} of {}", command(v6));
    let mut drop = |rules: &[RuleInfo]| {
        nft.commit(None, |batch| {
            for rule in rules {
                table(v6).delete_rule(batch, CHAIN, rule.handle);
            }
        })
    };
    let is_gone = |r: &Refusal| r.errno == libc::ENOENT;
    let mut refused = drop(rules)?;
    // Of a transaction with one that is gone nothing was done.
    if refused.iter().any(is_gone) {
        refused.clear();
        for rule in rules {
            refused.extend(drop(std::slice::from_ref(rule))?);
        }
    }
    match refused.iter().find(|r| !is_gone(r)) {
        Some(refusal) => Err(refusal.error(what())),
        None => Ok(()),
    }
}

/// The mark of the chain, if it is there and wears one.
pub fn chain_mark(nft: &mut Nft, v6: bool) -> Result<Option<String>> {
    Ok(nft.chain(table(v6), CHAIN)?.and_then(|chain| chain.comment))
}

/// Tries a transaction until nobody else's comes between look and commit.
pub(super) fn retried(
    what: impl Fn() -> String,
    mut attempt: impl FnMut() -> Result<Vec<Refusal>>,
) -> Result<()> {
    for _ in 0..TRIES {
        match attempt()?.first() {
            None => return Ok(()),
            Some(r) if r.errno == libc::ERESTART => {}
            Some(r) => return Err(refused_here(r, what())),
        }
    }
    let why = format!("somebody changed the ruleset under every one of {TRIES} attempts");
    Err(Error::new(Kind::Failed, what(), why))
}

/// nf_tables asks for the module of a match, and then knows none.
fn refused_here(refusal: &Refusal, what: String) -> Error {
    match refusal.errno {
        libc::ENOENT | libc::EOPNOTSUPP => refusal
            .error(what)
            .hint("the chain must be there, and the kernel needs nft_compat and xt_conntrack"),
        _ => refusal.error(what),
    }
}

pub(super) fn bytes_of(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}
