//! Our nftables table. Its rules never change: everything that depends on a
//! pod is an element of a set or a map, so a packet's cost doesn't grow with
//! the number of pods, and only the first packet of a connection comes here.
//!
//! ```text
//!  guard       to 127.0.0.0/8 from elsewhere            ► dropped
//!  prerouting, output ── to an address of the host? ──► publish
//!  output ── to 127.0.0.0/8 ──► localhost
//!     localhost: bound4, local4  as below, for those that ask for it
//!     publish:  bound{4,6}  host address . proto . port  ► dnat to pod . port
//!               ports{4,6}  proto . port                 ► dnat to pod . port
//!  postrouting: from 127.0.0.0/8, translated            ► masquerade
//!               hidden{4,6} pod . proto . port, translated ► masquerade
//!               own{4,6}    pod's network . same network ► true addresses
//!                           (masqueraded if it came by a published port,
//!                           or the answer would bypass the host)
//!               multicast, broadcast         ► true addresses: on a bridge that
//!                           netfilter sees, they pass here on their way to each port
//!               masq{4,6}   pod's address                ► masquerade
//! ```
//!
//! 127.0.0.1 needs route_localnet, which lets a neighbour's packets reach what listens
//! on the host's loopback: `guard` is there before anybody turns it on. ::1 can't be
//! translated at all.

mod entry;
pub mod terms;

use podkeel_wire::Batch;
use podkeel_wire::nf::{self, Expr, Field, Hook, Reg, Set, Table};

pub use self::entry::Entry;
pub use self::terms::{Marking, Terms};
use super::nft::Nft;
use crate::error::Result;

/// Our table.
pub const TABLE: Table<'static> = Table { family: nf::INET, name: "podkeel" };

/// The table's comment: it names the version of what stands in it.
pub const COMMENT: &str = "podkeel ruleset 2";

const V4: &[Field] = &[Field::Ipv4];
const V6: &[Field] = &[Field::Ipv6];
const PORT: &[Field] = &[Field::Proto, Field::Service];

/// Name, key, data, ranges.
type SetShape = (&'static str, &'static [Field], &'static [Field], bool);

/// The sets and maps.
pub const SETS: [SetShape; 11] = [
    ("ports4", PORT, &[Field::Ipv4, Field::Service], false),
    ("ports6", PORT, &[Field::Ipv6, Field::Service], false),
    ("bound4", &[Field::Ipv4, Field::Proto, Field::Service], &[Field::Ipv4, Field::Service], false),
    ("bound6", &[Field::Ipv6, Field::Proto, Field::Service], &[Field::Ipv6, Field::Service], false),
    ("local4", PORT, &[Field::Ipv4, Field::Service], false),
    ("hidden4", &[Field::Ipv4, Field::Proto, Field::Service], &[], false),
    ("hidden6", &[Field::Ipv6, Field::Proto, Field::Service], &[], false),
    ("masq4", V4, &[], false),
    ("masq6", V6, &[], false),
    ("own4", &[Field::Ipv4, Field::Ipv4], &[], true),
    ("own6", &[Field::Ipv6, Field::Ipv6], &[], true),
];

const fn nat(hook: i32, priority: i32) -> Option<Hook<'static>> {
    Some(Hook { kind: "nat", hook, priority })
}

/// The chains, those that are jumped to first.
pub const CHAINS: [(&str, Option<Hook<'static>>); 6] = [
    (
        "guard",
        Some(Hook {
            kind: "filter",
            hook: libc::NF_INET_PRE_ROUTING,
            priority: libc::NF_IP_PRI_RAW,
        }),
    ),
    ("publish", None),
    ("localhost", None),
    ("prerouting", nat(libc::NF_INET_PRE_ROUTING, libc::NF_IP_PRI_NAT_DST)),
    ("output", nat(libc::NF_INET_LOCAL_OUT, libc::NF_IP_PRI_NAT_DST)),
    ("postrouting", nat(libc::NF_INET_POST_ROUTING, libc::NF_IP_PRI_NAT_SRC)),
];

/// Offsets and sizes of one family's header, and its sets.
struct Family {
    packet: [Expr<'static>; 2],
    number: u8,
    /// 4 or 6.
    version: u8,
    saddr: u32,
    daddr: u32,
    len: u32,
    /// Words of a register file that an address fills.
    words: u32,
    bound: &'static str,
    ports: &'static str,
    own: &'static str,
    masq: &'static str,
    hidden: &'static str,
    to_many: &'static [ToMany],
    loopback: &'static [u8],
}

/// Destinations that are more than one host.
struct ToMany {
    mask: Option<&'static [u8]>,
    value: &'static [u8],
}

/// struct iphdr: saddr at 12, daddr at 16. 127.0.0.0/8, 224.0.0.0/4, 255.255.255.255.
const IPV4: Family = Family {
    packet: nf::PACKET_V4,
    number: nf::IP,
    version: 4,
    saddr: 12,
    daddr: 16,
    len: 4,
    words: 1,
    bound: "bound4",
    ports: "ports4",
    own: "own4",
    masq: "masq4",
    hidden: "hidden4",
    to_many: &[
        ToMany { mask: Some(&[0xf0, 0, 0, 0]), value: &[0xe0, 0, 0, 0] },
        ToMany { mask: None, value: &[0xff; 4] },
    ],
    loopback: &[127],
};

/// struct ipv6hdr: saddr at 8, daddr at 24. ::1, ff00::/8.
const IPV6: Family = Family {
    packet: nf::PACKET_V6,
    number: nf::IP6,
    version: 6,
    saddr: 8,
    daddr: 24,
    len: 16,
    words: 4,
    bound: "bound6",
    ports: "ports6",
    own: "own6",
    masq: "masq6",
    hidden: "hidden6",
    to_many: &[ToMany { mask: None, value: &[0xff] }],
    loopback: &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
};

const R0: Reg = Reg::word(0);
const TO_HOST: [Expr<'static>; 3] = [
    Expr::FibDaddrType { to: R0 },
    Expr::Equal { reg: R0, value: &(libc::RTN_LOCAL as u32).to_ne_bytes() },
    Expr::Jump { chain: "publish" },
];

/// What `meta iiftype` says of lo.
const LOOPBACK_TYPE: &[u8] = &libc::ARPHRD_LOOPBACK.to_ne_bytes();

/// IPS_DST_NAT of enum ip_conntrack_status (linux/netfilter/nf_conntrack_common.h).
const IPS_DST_NAT: u32 = 1 << 5;
const TRANSLATED: [Expr<'static>; 3] = [
    Expr::Ct { key: libc::NFT_CT_STATUS, to: R0 },
    Expr::And { reg: R0, mask: &IPS_DST_NAT.to_ne_bytes() },
    Expr::Differs { reg: R0, value: &[0; 4] },
];

/// A rule: its chain and its expressions.
pub type Rule = (&'static str, Vec<Expr<'static>>);

/// All rules, in order.
pub fn rules() -> Vec<Rule> {
    let mut rules = vec![("guard", IPV4.guard()), ("prerouting", TO_HOST.to_vec())];
    // Behind a jump the kernel goes on with the next rule.
    rules.push(("output", IPV4.to_loopback(&[Expr::Jump { chain: "localhost" }])));
    rules.push(("output", IPV4.to_loopback(&[Expr::Return])));
    rules.push(("output", IPV6.to_loopback(&[Expr::Return])));
    rules.extend(IPV4.publish("local4").map(|exprs| ("localhost", exprs)));
    rules.push(("postrouting", IPV4.leaves_loopback()));
    rules.push(("output", TO_HOST.to_vec()));
    for family in [IPV4, IPV6] {
        rules.extend(family.publish(family.ports).map(|exprs| ("publish", exprs)));
        rules.extend(family.postrouting().into_iter().map(|exprs| ("postrouting", exprs)));
    }
    rules
}

impl Family {
    fn rule<'a>(&self, parts: &[&[Expr<'a>]]) -> Vec<Expr<'a>> {
        [&self.packet[..]].iter().chain(parts).flat_map(|part| part.iter().copied()).collect()
    }

    /// What is for the host's loopback.
    fn to_loopback(&self, then: &[Expr<'static>]) -> Vec<Expr<'static>> {
        self.rule(&[&[self.daddr_begins(), self.is_loopback()], then])
    }

    /// What comes from elsewhere and is for the host's loopback.
    fn guard(&self) -> Vec<Expr<'static>> {
        self.to_loopback(&[
            Expr::Meta { key: libc::NFT_META_IIFTYPE, to: R0 },
            Expr::Differs { reg: R0, value: LOOPBACK_TYPE },
            Expr::Drop,
        ])
    }

    /// What left the host's loopback for a pod: the pod couldn't answer to 127.0.0.1.
    fn leaves_loopback(&self) -> Vec<Expr<'static>> {
        let len = self.loopback.len() as u32;
        let from = [Expr::Network { offset: self.saddr, len, to: R0 }, self.is_loopback()];
        self.rule(&[&from, &TRANSLATED, &[Expr::Masquerade]])
    }

    fn daddr_begins(&self) -> Expr<'static> {
        Expr::Network { offset: self.daddr, len: self.loopback.len() as u32, to: R0 }
    }

    fn is_loopback(&self) -> Expr<'static> {
        Expr::Equal { reg: R0, value: self.loopback }
    }

    fn publish(&self, ports: &'static str) -> [Vec<Expr<'static>>; 2] {
        self.publish_by(self.bound, ports)
    }

    /// The rules of a map of ports on one address, and of one on any.
    fn publish_by<'a>(&self, bound: &'a str, ports: &'a str) -> [Vec<Expr<'a>>; 2] {
        let dnat = Expr::Dnat { family: self.number, addr: R0, port: Reg::word(self.words) };
        let proto_port = |at| {
            [
                Expr::Meta { key: libc::NFT_META_L4PROTO, to: Reg::word(at) },
                Expr::Transport { offset: 2, len: 2, to: Reg::word(at + 1) },
            ]
        };
        let find = |set| [Expr::Lookup { set, key: R0, to: Some(R0) }, dnat];
        [
            self.rule(&[&[self.daddr()], &proto_port(self.words), &find(bound)]),
            self.rule(&[&proto_port(0), &find(ports)]),
        ]
    }

    fn postrouting(&self) -> Vec<Vec<Expr<'static>>> {
        let within_own = [
            Expr::Network { offset: self.saddr, len: self.len, to: R0 },
            Expr::Network { offset: self.daddr, len: self.len, to: Reg::word(self.words) },
            Expr::Lookup { set: self.own, key: R0, to: None },
        ];
        let from_pod = [
            Expr::Network { offset: self.saddr, len: self.len, to: R0 },
            Expr::Lookup { set: self.masq, key: R0, to: None },
            Expr::Masquerade,
        ];
        let hairpin: Vec<_> = TRANSLATED
            .iter()
            .copied()
            .chain(self.rule(&[&within_own, &[Expr::Masquerade]]))
            .collect();
        let to_hidden = [
            self.daddr(),
            Expr::Meta { key: libc::NFT_META_L4PROTO, to: Reg::word(self.words) },
            Expr::Transport { offset: 2, len: 2, to: Reg::word(self.words + 1) },
            Expr::Lookup { set: self.hidden, key: R0, to: None },
        ];
        let hidden =
            TRANSLATED.iter().copied().chain(self.rule(&[&to_hidden, &[Expr::Masquerade]]));
        let mut rules = vec![hidden.collect(), hairpin, self.rule(&[&within_own, &[Expr::Return]])];
        rules.extend(self.to_many.iter().map(|many| self.unchanged(many)));
        rules.push(self.rule(&[&from_pod]));
        rules
    }

    fn unchanged(&self, many: &ToMany) -> Vec<Expr<'static>> {
        let value = many.value;
        let load = Expr::Network { offset: self.daddr, len: value.len() as u32, to: R0 };
        let mask = many.mask.map(|mask| Expr::And { reg: R0, mask });
        self.rule(&[&[load], mask.as_slice(), &[Expr::Equal { reg: R0, value }, Expr::Return]])
    }

    fn daddr(&self) -> Expr<'static> {
        Expr::Network { offset: self.daddr, len: self.len, to: R0 }
    }
}

/// Appends the whole table to a transaction; it fails with EEXIST where the table is already.
pub fn make(batch: &mut Batch) {
    TABLE.make(batch, nf::CREATE, COMMENT);
    for (name, hook) in &CHAINS {
        TABLE.make_chain(batch, name, hook.as_ref());
    }
    for (id, (name, key, data, interval)) in SETS.iter().enumerate() {
        TABLE.make_set(batch, &Set { name, id: id as u32 + 1, key, data, interval: *interval });
    }
    for (chain, exprs) in rules() {
        TABLE.make_rule(batch, chain, &exprs, None);
    }
}

/// The names of all sets and maps that are there, those of [`terms`] too.
pub fn sets(nft: &mut Nft) -> Result<Vec<String>> {
    Ok(nft.sets(TABLE)?.into_iter().map(|set| set.name).collect())
}

/// How the table differs from what [`make`] makes: nothing where it is the same.
pub fn differences(nft: &mut Nft) -> Result<Vec<String>> {
    let Some(table) = nft.table(TABLE)? else { return Ok(vec!["the table is missing".into()]) };
    let mut found = Vec::new();
    if table.comment.as_deref() != Some(COMMENT) {
        found.push(format!(
            "the table's comment is {:?}, not {COMMENT:?}",
            table.comment.unwrap_or_default()
        ));
    }
    let chains = nft.chains(TABLE)?;
    for (name, hook) in &CHAINS {
        match chains.iter().find(|c| c.name == *name) {
            None => found.push(format!("chain {name} is missing")),
            Some(c) if c.hook != hook.map(|h| h.hook as u32) => {
                found.push(format!("chain {name} is hooked in elsewhere"))
            }
            Some(_) => {}
        }
    }
    let sets = nft.sets(TABLE)?;
    let missing = SETS.iter().filter(|(name, ..)| !sets.iter().any(|s| s.name == *name));
    found.extend(missing.map(|(name, ..)| format!("set {name} is missing")));
    let there = nft.rules(TABLE)?;
    for (chain, _) in &CHAINS {
        // A rule with a comment leads to chains of `terms`, and is theirs.
        let own = |r: &&nf::RuleInfo| r.chain == *chain && r.comment.is_none();
        let is: Vec<_> = there.iter().filter(own).map(|r| r.exprs.join(" ")).collect();
        let ours = rules().into_iter().filter(|(c, _)| c == chain);
        let should: Vec<_> =
            ours.map(|(_, e)| e.iter().map(Expr::name).collect::<Vec<_>>().join(" ")).collect();
        if is != should {
            found.push(format!(
                "chain {chain} has other rules than ours: {} instead of {}",
                is.len(),
                should.len()
            ));
        }
    }
    Ok(found)
}
