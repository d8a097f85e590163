//! Our nftables table. Its rules never change: everything that depends on a
//! pod is an element of a set or a map, so a packet's cost doesn't grow with
//! the number of pods, and only the first packet of a connection comes here.
//!
//! ```text
//!  prerouting, output ── to an address of the host? ──► publish
//!     publish:  bound{4,6}  host address . proto . port  ► dnat to pod . port
//!               ports{4,6}  proto . port                 ► dnat to pod . port
//!  postrouting: own{4,6}    pod's network . same network ► true addresses
//!                           (masqueraded if it came by a published port,
//!                           or the answer would bypass the host)
//!               multicast, broadcast         ► true addresses: on a bridge that
//!                           netfilter sees, they pass here on their way to each port
//!               masq{4,6}   pod's address                ► masquerade
//! ```
//!
//! Loopback stays out: 127.0.0.1 would need route_localnet, and ::1 can't be
//! translated at all.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use podkeel_wire::Batch;
use podkeel_wire::nf::{self, Elem, Expr, Field, Hook, Reg, Set, Table};
use serde::{Deserialize, Serialize};

use super::nft::Nft;
use crate::error::Result;
use crate::request::Proto;

/// Our table.
pub const TABLE: Table<'static> = Table { family: nf::INET, name: "podkeel" };

/// The table's comment: it names the version of what stands in it.
pub const COMMENT: &str = "podkeel ruleset 1";

/// What a pod has in the sets and maps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// A port of the host leads to a port of the pod.
    Published {
        /// Transport protocol.
        proto: Proto,
        /// The host's address; `None` = every one of the pod's address's family.
        host_ip: Option<IpAddr>,
        /// Port on the host.
        host_port: u16,
        /// Address and port in the pod.
        to: SocketAddr,
    },
    /// The pod's address is hidden behind the host's on its way out.
    Masqueraded(IpAddr),
    /// A network whose members see each other's true addresses.
    Own(IpNet),
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entry::Published { proto, host_ip, host_port, to } => {
                let any = if to.is_ipv4() { "0.0.0.0".parse() } else { "::".parse() };
                let host = host_ip.or(any.ok()).map(|ip| SocketAddr::new(ip, *host_port));
                write!(
                    f,
                    "port {}/{} to {to}",
                    host.map(|h| h.to_string()).unwrap_or_default(),
                    proto.name()
                )
            }
            Entry::Masqueraded(ip) => write!(f, "masquerade of {ip}"),
            Entry::Own(net) => write!(f, "true addresses within {net}"),
        }
    }
}

impl Proto {
    /// "tcp" or "udp".
    pub const fn name(self) -> &'static str {
        match self {
            Proto::Tcp => "tcp",
            Proto::Udp => "udp",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Proto::Tcp => libc::IPPROTO_TCP as u8,
            Proto::Udp => libc::IPPROTO_UDP as u8,
        }
    }
}

impl Entry {
    /// The set or map that it is in.
    pub fn set(&self) -> &'static str {
        match self {
            Entry::Published { host_ip: None, to, .. } => by_family(to.ip(), "ports4", "ports6"),
            Entry::Published { host_ip: Some(_), to, .. } => by_family(to.ip(), "bound4", "bound6"),
            Entry::Masqueraded(ip) => by_family(*ip, "masq4", "masq6"),
            Entry::Own(net) => by_family(net.addr(), "own4", "own6"),
        }
    }

    /// The element, with a comment that names its owner.
    pub fn elem(&self, owner: &str) -> Elem {
        let comment = Some(owner.to_owned());
        match self {
            Entry::Published { proto, host_ip, host_port, to } => Elem {
                key: join(&[
                    &host_ip.map(bytes_of).unwrap_or_default(),
                    &[proto.number()],
                    &host_port.to_be_bytes(),
                ]),
                key_end: None,
                data: Some(join(&[&bytes_of(to.ip()), &to.port().to_be_bytes()])),
                comment,
            },
            Entry::Masqueraded(ip) => Elem { key: bytes_of(*ip), comment, ..Elem::default() },
            Entry::Own(net) => {
                let (first, last) = (bytes_of(net.network()), bytes_of(net.broadcast()));
                Elem {
                    key: join(&[&first, &first]),
                    key_end: Some(join(&[&last, &last])),
                    data: None,
                    comment,
                }
            }
        }
    }

    /// The network of an element of `own4` or `own6`; `None` for anything unreadable.
    pub fn read_own(elem: &Elem) -> Option<Entry> {
        let half = |bytes: &[u8]| ip_of(bytes.get(..bytes.len() / 2)?);
        let (first, last) = (half(&elem.key)?, half(elem.key_end.as_ref()?)?);
        let bits = if first.is_ipv4() { 32 } else { 128 };
        let nets = (0..=bits).filter_map(|prefix| IpNet::new(first, prefix).ok());
        nets.rev().find(|net| net.network() == first && net.broadcast() == last).map(Entry::Own)
    }

    /// The port of a published entry in a dump of one of the maps; `None` for anything unreadable.
    pub fn read_published(set: &str, elem: &Elem) -> Option<Entry> {
        let len = if set.ends_with('4') { 4 } else { 16 };
        let (host, rest) =
            elem.key.split_at_checked(if set.starts_with("bound") { len } else { 0 })?;
        let [proto, _, _, _, high, low, ..] = *rest else { return None };
        let proto = [Proto::Tcp, Proto::Udp].into_iter().find(|p| p.number() == proto)?;
        let (addr, port) = elem.data.as_ref()?.split_at_checked(len)?;
        let to = SocketAddr::new(ip_of(addr)?, u16::from_be_bytes(*port.first_chunk()?));
        Some(Entry::Published {
            proto,
            host_ip: ip_of(host),
            host_port: u16::from_be_bytes([high, low]),
            to,
        })
    }
}

fn by_family(ip: IpAddr, v4: &'static str, v6: &'static str) -> &'static str {
    if ip.is_ipv4() { v4 } else { v6 }
}

fn bytes_of(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn ip_of(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// Fields of a concatenation, each padded to four bytes.
fn join(fields: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::new();
    for field in fields {
        key.extend_from_slice(field);
        key.resize(key.len().next_multiple_of(4), 0);
    }
    key
}

const V4: &[Field] = &[Field::Ipv4];
const V6: &[Field] = &[Field::Ipv6];
const PORT: &[Field] = &[Field::Proto, Field::Service];

/// Name, key, data, ranges.
type SetShape = (&'static str, &'static [Field], &'static [Field], bool);

/// The sets and maps.
pub const SETS: [SetShape; 8] = [
    ("ports4", PORT, &[Field::Ipv4, Field::Service], false),
    ("ports6", PORT, &[Field::Ipv6, Field::Service], false),
    ("bound4", &[Field::Ipv4, Field::Proto, Field::Service], &[Field::Ipv4, Field::Service], false),
    ("bound6", &[Field::Ipv6, Field::Proto, Field::Service], &[Field::Ipv6, Field::Service], false),
    ("masq4", V4, &[], false),
    ("masq6", V6, &[], false),
    ("own4", &[Field::Ipv4, Field::Ipv4], &[], true),
    ("own6", &[Field::Ipv6, Field::Ipv6], &[], true),
];

const fn nat(hook: i32, priority: i32) -> Option<Hook<'static>> {
    Some(Hook { kind: "nat", hook, priority })
}

/// The chains, those that are jumped to first.
pub const CHAINS: [(&str, Option<Hook<'static>>); 4] = [
    ("publish", None),
    ("prerouting", nat(libc::NF_INET_PRE_ROUTING, libc::NF_IP_PRI_NAT_DST)),
    ("output", nat(libc::NF_INET_LOCAL_OUT, libc::NF_IP_PRI_NAT_DST)),
    ("postrouting", nat(libc::NF_INET_POST_ROUTING, libc::NF_IP_PRI_NAT_SRC)),
];

/// Offsets and sizes of one family's header, and its sets.
struct Family {
    packet: [Expr<'static>; 2],
    number: u8,
    saddr: u32,
    daddr: u32,
    len: u32,
    /// Words of a register file that an address fills.
    words: u32,
    bound: &'static str,
    ports: &'static str,
    own: &'static str,
    masq: &'static str,
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
    saddr: 12,
    daddr: 16,
    len: 4,
    words: 1,
    bound: "bound4",
    ports: "ports4",
    own: "own4",
    masq: "masq4",
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
    saddr: 8,
    daddr: 24,
    len: 16,
    words: 4,
    bound: "bound6",
    ports: "ports6",
    own: "own6",
    masq: "masq6",
    to_many: &[ToMany { mask: None, value: &[0xff] }],
    loopback: &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
};

const R0: Reg = Reg::word(0);
const TO_HOST: [Expr<'static>; 3] = [
    Expr::FibDaddrType { to: R0 },
    Expr::Equal { reg: R0, value: &(libc::RTN_LOCAL as u32).to_ne_bytes() },
    Expr::Jump { chain: "publish" },
];

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
    let mut rules = vec![("prerouting", TO_HOST.to_vec())];
    for family in [IPV4, IPV6] {
        rules.push(("output", family.not_loopback()));
    }
    rules.push(("output", TO_HOST.to_vec()));
    for family in [IPV4, IPV6] {
        rules.extend(family.publish().map(|exprs| ("publish", exprs)));
        rules.extend(family.postrouting().into_iter().map(|exprs| ("postrouting", exprs)));
    }
    rules
}

impl Family {
    fn rule(&self, parts: &[&[Expr<'static>]]) -> Vec<Expr<'static>> {
        [&self.packet[..]].iter().chain(parts).flat_map(|part| part.iter().copied()).collect()
    }

    fn not_loopback(&self) -> Vec<Expr<'static>> {
        let len = self.loopback.len() as u32;
        self.rule(&[&[
            Expr::Network { offset: self.daddr, len, to: R0 },
            Expr::Equal { reg: R0, value: self.loopback },
            Expr::Return,
        ]])
    }

    fn publish(&self) -> [Vec<Expr<'static>>; 2] {
        let dnat = Expr::Dnat { family: self.number, addr: R0, port: Reg::word(self.words) };
        let proto_port = |at| {
            [
                Expr::Meta { key: libc::NFT_META_L4PROTO, to: Reg::word(at) },
                Expr::Transport { offset: 2, len: 2, to: Reg::word(at + 1) },
            ]
        };
        let find = |set| [Expr::Lookup { set, key: R0, to: Some(R0) }, dnat];
        [
            self.rule(&[&[self.daddr()], &proto_port(self.words), &find(self.bound)]),
            self.rule(&[&proto_port(0), &find(self.ports)]),
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
        let mut rules = vec![hairpin, self.rule(&[&within_own, &[Expr::Return]])];
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
        let is: Vec<_> =
            there.iter().filter(|r| r.chain == *chain).map(|r| r.exprs.join(" ")).collect();
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
