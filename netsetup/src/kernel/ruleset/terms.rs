//! Ports that are published on terms: under conditions, or with a mark on the packets that
//! somebody must masquerade. The fixed rules have no place for either, so each set of terms
//! has chains and maps of its own, which all ports on these terms share: a packet's cost
//! grows with the number of different terms, not of pods, and is none where nobody has any.
//!
//! ```text
//!  publish      conditions of terms4-H       ► terms4-H
//!  localhost    conditions of terms4-H       ► terms4-H-local
//!     terms4-H, terms4-H-local:
//!       terms4-H-mark   source . destination . proto . port   ► mark
//!       terms4-H-bound  host address . proto . port           ► dnat to pod . port
//!       terms4-H-ports, terms4-H-local  proto . port          ► dnat to pod . port
//!  postrouting                                ► terms4-H-out
//!     terms4-H-out: has the mark              ► masquerade, or left to who set the mark up
//! ```
//!
//! `terms6-H` is the same for IPv6, without the host's loopback. H is a hash of the terms.

use std::fmt;

use podkeel_keep::fnv1a64;
use podkeel_wire::Batch;
use podkeel_wire::nf::{Expr, Field, Reg, Set};
use serde::{Deserialize, Serialize};

use super::super::nft::Nft;
use super::{Family, IPV4, IPV6, R0, TABLE};
use crate::error::{Error, Kind, Result};
use crate::request::matches::{self, Match, What};

/// On which terms ports of one family are published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Of IPv6.
    pub v6: bool,
    /// Words of iptables, as [`matches`] reads them.
    pub conditions: Vec<String>,
    /// The mark of packets that are to be masqueraded.
    pub mark: Option<Marking>,
}

/// A mark, and who acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marking {
    /// The bits that it is about.
    pub mask: u32,
    /// What they become.
    pub value: u32,
    /// Whether our rules masquerade what has it; else somebody else's do.
    pub masquerade: bool,
}

/// How often a transaction is tried again because somebody else changed the ruleset.
const TRIES: u32 = 1000;
/// How the names of all chains and sets of terms begin.
const PREFIX: &str = "terms";
/// The chains of the fixed ruleset that jump to chains of terms, and those chains' endings.
const JUMPS: [(&str, &str); 3] =
    [("publish", ""), ("localhost", "-local"), ("postrouting", "-out")];

impl Terms {
    /// The name of their first chain, with which all their names begin.
    pub fn name(&self) -> String {
        let mark = self.mark.map(|m| format!("{:x}/{:x}/{}", m.value, m.mask, m.masquerade));
        let text = format!("{}\0{}", self.conditions.join("\0"), mark.unwrap_or_default());
        format!("{PREFIX}{}-{:08x}", self.family().version, fnv1a64(text.as_bytes()) as u32)
    }

    fn family(&self) -> Family {
        if self.v6 { IPV6 } else { IPV4 }
    }

    /// The key by which holders count themselves.
    pub fn key(&self) -> String {
        key(&self.name())
    }

    /// The rules that the conditions mean. Who reads a configuration has refused what can't
    /// be read; from here such words would lead nowhere.
    fn ways(&self) -> Vec<Vec<Match>> {
        matches::read(&self.conditions, self.v6).unwrap_or_default()
    }

    /// Name ending, key, data, ranges.
    fn sets(&self) -> Vec<(&'static str, Vec<Field>, Vec<Field>, bool)> {
        let ip = if self.v6 { Field::Ipv6 } else { Field::Ipv4 };
        let to = vec![ip, Field::Service];
        let port = vec![Field::Proto, Field::Service];
        let bound = [&[ip][..], &port].concat();
        let mut sets =
            vec![("-bound", bound, to.clone(), false), ("-ports", port.clone(), to.clone(), false)];
        if !self.v6 {
            sets.push(("-local", port.clone(), to, false));
        }
        if self.mark.is_some() {
            sets.push(("-mark", [&[ip, ip][..], &port].concat(), Vec::new(), true));
        }
        sets
    }

    /// Endings of the chains, with the map of ports on any address where there is one.
    fn chains(&self) -> Vec<(&'static str, Option<&'static str>)> {
        let mut chains = vec![("", Some("-ports"))];
        if !self.v6 {
            chains.push(("-local", Some("-local")));
        }
        if self.mark.is_some() {
            chains.push(("-out", None));
        }
        chains
    }

    /// Appends chains, maps and rules to a transaction; it fails with EEXIST where they are.
    pub fn make(&self, batch: &mut Batch, mark: &str) {
        let (name, family) = (self.name(), self.family());
        for (ending, _) in self.chains() {
            TABLE.make_marked_chain(batch, &format!("{name}{ending}"), mark);
        }
        for (number, (ending, key, data, interval)) in self.sets().iter().enumerate() {
            // Behind the ids of the fixed sets, which may be made in the same transaction.
            let id = (super::SETS.len() + 1 + number) as u32 + if self.v6 { 16 } else { 0 };
            let name = &format!("{name}{ending}");
            TABLE.make_set(batch, &Set { name, id, key, data, interval: *interval });
        }
        for (ending, ports) in self.chains() {
            let chain = format!("{name}{ending}");
            match ports {
                Some(ports) => self.make_publish(batch, &family, &chain, &format!("{name}{ports}")),
                None => self.make_out(batch, &chain),
            }
        }
        self.make_jumps(batch, &family, mark);
    }

    fn make_publish(&self, batch: &mut Batch, family: &Family, chain: &str, ports: &str) {
        let name = self.name();
        if let Some(marking) = self.mark {
            let set = format!("{name}-mark");
            let (mask, value) = ((!marking.mask).to_ne_bytes(), marking.value.to_ne_bytes());
            let mut exprs = family.within(&set);
            exprs.extend([
                Expr::Meta { key: libc::NFT_META_MARK, to: R0 },
                Expr::AndXor { reg: R0, mask: &mask, xor: &value },
                Expr::SetMark { from: R0 },
            ]);
            TABLE.make_rule(batch, chain, &exprs, None);
        }
        let bound = format!("{name}-bound");
        for exprs in family.publish_by(&bound, ports) {
            TABLE.make_rule(batch, chain, &exprs, None);
        }
    }

    /// What has the mark: masqueraded here, or by the rules of who has set it up.
    fn make_out(&self, batch: &mut Batch, chain: &str) {
        let Some(marking) = self.mark else { return };
        let (mask, value) = (marking.mask.to_ne_bytes(), marking.value.to_ne_bytes());
        let exprs = [
            Expr::Meta { key: libc::NFT_META_MARK, to: R0 },
            Expr::And { reg: R0, mask: &mask },
            Expr::Equal { reg: R0, value: &value },
            if marking.masquerade { Expr::Masquerade } else { Expr::Accept },
        ];
        TABLE.make_rule(batch, chain, &exprs, None);
    }

    fn make_jumps(&self, batch: &mut Batch, family: &Family, mark: &str) {
        let (name, ways) = (self.name(), self.ways());
        let has = |ending: &str| self.chains().iter().any(|(known, _)| *known == ending);
        for (from, ending) in JUMPS.into_iter().filter(|(_, ending)| has(ending)) {
            let chain = format!("{name}{ending}");
            let jump = [Expr::Jump { chain: &chain }];
            let unconditional = vec![Vec::new()];
            // What has the mark had to meet the conditions.
            for way in if ending == "-out" { &unconditional } else { &ways } {
                let values: Vec<_> = way.iter().map(Values::of).collect();
                let matches: Vec<Expr<'_>> =
                    way.iter().zip(&values).flat_map(|(m, v)| v.exprs(m, family)).collect();
                let exprs = [&family.packet[..], &matches, &jump].concat();
                TABLE.insert_rule(batch, from, &exprs, mark);
            }
        }
    }

    /// How what is there differs from what [`Terms::make`] makes; `None` where nothing is there.
    pub fn differences(&self, nft: &mut Nft, mark: &str) -> Result<Option<Vec<String>>> {
        let name = self.name();
        let Some(chain) = nft.chain(TABLE, &name)? else { return Ok(None) };
        let mut wrong = Vec::new();
        if chain.comment.as_deref() != Some(mark) {
            wrong.push(format!("chain {name} is another's: its comment isn't ours"));
        }
        let ways = self.ways().len();
        for (ending, ports) in self.chains() {
            let chain = format!("{name}{ending}");
            let should = match ports {
                Some(_) => 2 + usize::from(self.mark.is_some()),
                None => 1,
            };
            let is = nft.rules_of(TABLE, &chain)?.len();
            if is != should {
                wrong.push(format!("chain {chain} has {is} rules instead of {should}"));
            }
            let from = JUMPS.iter().find(|(_, known)| *known == ending).map_or("", |jump| jump.0);
            let rules = nft.rules_of(TABLE, from)?;
            let jumps = rules.iter().filter(|rule| rule.jump.as_ref() == Some(&chain)).count();
            let should = if ports.is_some() { ways } else { 1 };
            if jumps != should {
                wrong
                    .push(format!("chain {from} leads there by {jumps} rules instead of {should}"));
            }
        }
        Ok(Some(wrong))
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chain {} of ports", self.name())?;
        if !self.conditions.is_empty() {
            write!(f, " for packets with {:?}", self.conditions.join(" "))?;
        }
        match self.mark {
            Some(mark) => write!(f, ", which mark {:#x}/{:#x}", mark.value, mark.mask),
            None => Ok(()),
        }
    }
}

fn key(name: &str) -> String {
    format!("terms:{name}")
}

/// The terms that are there and wear this mark: their names and keys.
pub fn all(nft: &mut Nft, mark: &str) -> Result<Vec<(String, String)>> {
    let ours = nft.chains(TABLE)?.into_iter().filter(|chain| {
        let first =
            chain.name.strip_prefix(PREFIX).is_some_and(|rest| rest.split('-').count() == 2);
        first && chain.comment.as_deref() == Some(mark)
    });
    Ok(ours.map(|chain| (chain.name.clone(), key(&chain.name))).collect())
}

/// Removes the chains and maps of these terms, if they wear this mark and no port is left in
/// them.
pub fn drop(nft: &mut Nft, name: &str, mark: &str) -> Result<()> {
    let what = || format!("remove chain {name} of nftables table inet podkeel");
    for _ in 0..TRIES {
        let generation = nft.generation()?;
        if nft.chain(TABLE, name)?.is_none_or(|chain| chain.comment.as_deref() != Some(mark)) {
            return Ok(());
        }
        let is_part = |text: &str| {
            text.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let sets: Vec<String> =
            nft.sets(TABLE)?.into_iter().map(|set| set.name).filter(|set| is_part(set)).collect();
        for set in &sets {
            if !nft.all_elems(TABLE, set)?.is_empty() {
                return Ok(());
            }
        }
        let chains: Vec<String> =
            nft.chains(TABLE)?.into_iter().map(|c| c.name).filter(|c| is_part(c)).collect();
        let mut jumps = Vec::new();
        for (from, _) in JUMPS {
            let rules = nft.rules_of(TABLE, from)?.into_iter();
            let ours =
                rules.filter(|rule| rule.jump.as_ref().is_some_and(|to| chains.contains(to)));
            jumps.extend(ours.map(|rule| (from, rule.handle)));
        }
        let refused = nft.commit(Some(generation), |batch| {
            for (from, handle) in jumps {
                TABLE.delete_rule(batch, from, handle);
            }
            chains.iter().for_each(|chain| _ = TABLE.delete_rules(batch, chain));
            sets.iter().for_each(|set| _ = TABLE.delete_set(batch, set));
            chains.iter().for_each(|chain| _ = TABLE.delete_chain(batch, chain));
        })?;
        match refused.first() {
            None => return Ok(()),
            Some(r) if r.errno == libc::ERESTART => {}
            Some(r) => return Err(r.error(what())),
        }
    }
    let why = format!("somebody changed the ruleset under every one of {TRIES} attempts");
    Err(Error::new(Kind::Failed, what(), why))
}

/// The bytes that a match compares with.
struct Values {
    mask: Option<Vec<u8>>,
    first: Vec<u8>,
    last: Option<Vec<u8>>,
}

impl Values {
    fn of(m: &Match) -> Values {
        let one = |first: Vec<u8>| Values { mask: None, first, last: None };
        let two = |first: Vec<u8>, last: Vec<u8>| match first == last {
            true => one(first),
            false => Values { mask: None, first, last: Some(last) },
        };
        match &m.what {
            What::From(net) | What::To(net) => Values {
                mask: Some(super::entry::bytes_of(net.netmask())),
                ..one(super::entry::bytes_of(net.network()))
            },
            What::FromRange(first, last) | What::ToRange(first, last) => {
                two(super::entry::bytes_of(*first), super::entry::bytes_of(*last))
            }
            What::In(name) | What::Out(name) => one(name_bytes(name)),
            What::Proto(number) => one(vec![*number]),
            What::FromPort(first, last) | What::ToPort(first, last) => {
                two(first.to_be_bytes().to_vec(), last.to_be_bytes().to_vec())
            }
            What::Mark(value, mask) => Values {
                mask: Some(mask.to_ne_bytes().to_vec()),
                ..one(value.to_ne_bytes().to_vec())
            },
            What::FromType(kind) | What::ToType(kind) => one(kind.to_ne_bytes().to_vec()),
        }
    }

    fn exprs(&self, m: &Match, family: &Family) -> Vec<Expr<'_>> {
        let len = family.len;
        let meta = |key| Expr::Meta { key, to: R0 };
        let mut exprs = match &m.what {
            What::From(_) | What::FromRange(..) => {
                vec![Expr::Network { offset: family.saddr, len, to: R0 }]
            }
            What::To(_) | What::ToRange(..) => {
                vec![Expr::Network { offset: family.daddr, len, to: R0 }]
            }
            What::In(_) => vec![meta(libc::NFT_META_IIFNAME)],
            What::Out(_) => vec![meta(libc::NFT_META_OIFNAME)],
            What::Proto(_) => vec![meta(libc::NFT_META_L4PROTO)],
            What::FromPort(..) => vec![Expr::Transport { offset: 0, len: 2, to: R0 }],
            What::ToPort(..) => vec![Expr::Transport { offset: 2, len: 2, to: R0 }],
            What::Mark(..) => vec![meta(libc::NFT_META_MARK)],
            What::FromType(_) => vec![Expr::FibSaddrType { to: R0 }],
            What::ToType(_) => vec![Expr::FibDaddrType { to: R0 }],
        };
        // Of an address that is compared whole nft shows no mask.
        let mask = self.mask.as_deref().filter(|mask| mask.iter().any(|byte| *byte != 0xff));
        exprs.extend(mask.map(|mask| Expr::And { reg: R0, mask }));
        let value = &self.first[..];
        exprs.push(match (&self.last, m.not) {
            (Some(last), not) => Expr::Range { reg: R0, from: value, to: last, not },
            (None, true) => Expr::Differs { reg: R0, value },
            (None, false) => Expr::Equal { reg: R0, value },
        });
        exprs
    }
}

/// A whole name with its zeros; of one that ends in `+` what comes before that.
fn name_bytes(name: &str) -> Vec<u8> {
    match name.strip_suffix('+') {
        Some(start) => start.as_bytes().to_vec(),
        None => {
            let mut bytes = name.as_bytes().to_vec();
            bytes.resize(libc::IFNAMSIZ, 0);
            bytes
        }
    }
}

impl Family {
    /// Source, destination, protocol and port are in a set.
    fn within<'a>(&self, set: &'a str) -> Vec<Expr<'a>> {
        let (to, at) = (Reg::word(self.words), 2 * self.words);
        let mut exprs = self.packet.to_vec();
        exprs.extend([
            Expr::Network { offset: self.saddr, len: self.len, to: R0 },
            Expr::Network { offset: self.daddr, len: self.len, to },
            Expr::Meta { key: libc::NFT_META_L4PROTO, to: Reg::word(at) },
            Expr::Transport { offset: 2, len: 2, to: Reg::word(at + 1) },
            Expr::Lookup { set, key: R0, to: None },
        ]);
        exprs
    }
}
