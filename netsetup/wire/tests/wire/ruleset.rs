//! A small ruleset of the shape that podkeel uses, as data: the same as
//! `tests/golden/nft/ruleset.nft` and `elements.nft`, through the wire crate.

use std::net::IpAddr;

use podkeel_wire::Batch;
use podkeel_wire::nf::{
    self, CREATE, ENSURE, Elem, Expr, Field, Hook, PACKET_V4, PACKET_V6, Reg, Set, Table,
};

pub(crate) const TABLE: Table<'static> = Table { family: nf::INET, name: "podkeel" };
pub(crate) const COMMENT: &str = "podkeel ruleset 1";

use Field::{Ipv4, Ipv6, Proto, Service};

/// Name, key, data, ranges.
pub(crate) type Shape = (&'static str, &'static [Field], &'static [Field], bool);

pub(crate) const SETS: [Shape; 8] = [
    ("ports4", &[Proto, Service], &[Ipv4, Service], false),
    ("ports6", &[Proto, Service], &[Ipv6, Service], false),
    ("bound4", &[Ipv4, Proto, Service], &[Ipv4, Service], false),
    ("bound6", &[Ipv6, Proto, Service], &[Ipv6, Service], false),
    ("masq4", &[Ipv4], &[], false),
    ("masq6", &[Ipv6], &[], false),
    ("own4", &[Ipv4, Ipv4], &[], true),
    ("own6", &[Ipv6, Ipv6], &[], true),
];

const fn nat(hook: i32, priority: i32) -> Option<Hook<'static>> {
    Some(Hook { kind: "nat", hook, priority })
}

pub(crate) const CHAINS: [(&str, Option<Hook<'static>>); 4] = [
    ("publish", None),
    ("prerouting", nat(libc::NF_INET_PRE_ROUTING, -100)),
    ("output", nat(libc::NF_INET_LOCAL_OUT, -100)),
    ("postrouting", nat(libc::NF_INET_POST_ROUTING, 100)),
];

/// Chain, expressions, comment.
pub(crate) type Rule = (&'static str, Vec<Expr<'static>>, Option<&'static str>);

const R0: Reg = Reg::word(0);

/// One family's packet test, number, offsets and sets.
struct Family {
    packet: [Expr<'static>; 2],
    number: u8,
    saddr: u32,
    daddr: u32,
    words: u32,
    sets: [&'static str; 4],
}

const FAMILIES: [Family; 2] = [
    Family {
        packet: PACKET_V4,
        number: nf::IP,
        saddr: 12,
        daddr: 16,
        words: 1,
        sets: ["bound4", "ports4", "own4", "masq4"],
    },
    Family {
        packet: PACKET_V6,
        number: nf::IP6,
        saddr: 8,
        daddr: 24,
        words: 4,
        sets: ["bound6", "ports6", "own6", "masq6"],
    },
];

impl Family {
    /// The address at `offset`, or its first `len` bytes.
    fn load(&self, offset: u32, to: Reg) -> Expr<'static> {
        Expr::Network { offset, len: self.words * 4, to }
    }

    fn dnat(&self, set: &'static str, host: bool) -> Vec<Expr<'static>> {
        let at = if host { self.words } else { 0 };
        let mut exprs = self.packet.to_vec();
        exprs.extend(host.then(|| self.load(self.daddr, R0)));
        exprs.extend([
            Expr::Meta { key: libc::NFT_META_L4PROTO, to: Reg::word(at) },
            Expr::Transport { offset: 2, len: 2, to: Reg::word(at + 1) },
            Expr::Lookup { set, key: R0, to: Some(R0) },
            Expr::Dnat { family: self.number, addr: R0, port: Reg::word(self.words) },
        ]);
        exprs
    }

    fn own(&self, verdict: Expr<'static>) -> Vec<Expr<'static>> {
        let mut exprs = self.packet.to_vec();
        exprs.extend([
            self.load(self.saddr, R0),
            self.load(self.daddr, Reg::word(self.words)),
            Expr::Lookup { set: self.sets[2], key: R0, to: None },
            verdict,
        ]);
        exprs
    }

    /// `return` for destinations that begin with these bytes (after the mask).
    fn away(&self, mask: Option<&'static [u8]>, value: &'static [u8]) -> Vec<Expr<'static>> {
        let mut exprs = self.packet.to_vec();
        exprs.push(Expr::Network { offset: self.daddr, len: value.len() as u32, to: R0 });
        exprs.extend(mask.map(|mask| Expr::And { reg: R0, mask }));
        exprs.extend([Expr::Equal { reg: R0, value }, Expr::Return]);
        exprs
    }

    fn masquerade(&self) -> Vec<Expr<'static>> {
        let look = Expr::Lookup { set: self.sets[3], key: R0, to: None };
        [&self.packet[..], &[self.load(self.saddr, R0), look, Expr::Masquerade]].concat()
    }
}

const TO_HOST: [Expr<'static>; 3] = [
    Expr::FibDaddrType { to: R0 },
    Expr::Equal { reg: R0, value: &(libc::RTN_LOCAL as u32).to_ne_bytes() },
    Expr::Jump { chain: "publish" },
];

/// IPS_DST_NAT, linux/netfilter/nf_conntrack_common.h.
pub(crate) const IPS_DST_NAT: u32 = 1 << 5;

const DNATED: [Expr<'static>; 3] = [
    Expr::Ct { key: libc::NFT_CT_STATUS, to: R0 },
    Expr::And { reg: R0, mask: &IPS_DST_NAT.to_ne_bytes() },
    Expr::Differs { reg: R0, value: &[0; 4] },
];

/// The rules in the order of the text.
pub(crate) fn rules() -> Vec<Rule> {
    let [v4, v6] = &FAMILIES;
    let mut rules: Vec<Rule> = Vec::new();
    for family in [v4, v6] {
        rules.push(("publish", family.dnat(family.sets[0], true), None));
        rules.push(("publish", family.dnat(family.sets[1], false), None));
    }
    rules.push(("prerouting", TO_HOST.to_vec(), None));
    rules.push(("output", v4.away(None, &[127]), None));
    rules.push(("output", v6.away(None, &LOOPBACK6), None));
    rules.push(("output", TO_HOST.to_vec(), None));
    for family in [v4, v6] {
        let hairpin = [&DNATED[..], &family.own(Expr::Masquerade)].concat();
        rules.push(("postrouting", hairpin, None));
        rules.push(("postrouting", family.own(Expr::Return), None));
        let is4 = family.number == nf::IP;
        let multicast = if is4 {
            v4.away(Some(&[0xf0, 0, 0, 0]), &[0xe0, 0, 0, 0])
        } else {
            v6.away(None, &[0xff])
        };
        rules.push(("postrouting", multicast, None));
        rules.push(("postrouting", family.masquerade(), is4.then_some("pods")));
    }
    rules
}

const LOOPBACK6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// The messages of the whole table in nft's order, sets numbered from `first_id`.
pub(crate) fn make(batch: &mut Batch, first_id: u32) {
    nf::begin(batch, None);
    TABLE.make(batch, ENSURE, COMMENT);
    for (name, hook) in &CHAINS {
        TABLE.make_chain(batch, name, hook.as_ref());
    }
    for (n, (name, key, data, interval)) in SETS.iter().enumerate() {
        TABLE.make_set(
            batch,
            &Set { name, id: first_id + n as u32, key, data, interval: *interval },
        );
    }
    for (chain, exprs, comment) in rules() {
        TABLE.make_rule(batch, chain, &exprs, comment);
    }
    nf::end(batch);
}

/// A field of an element: an address, a protocol, a port; padded to four bytes.
pub(crate) enum Part {
    Ip(&'static str),
    Proto(u8),
    Port(u16),
}

pub(crate) fn join(parts: &[Part]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        match part {
            Part::Ip(text) => match text.parse().unwrap() {
                IpAddr::V4(ip) => bytes.extend(ip.octets()),
                IpAddr::V6(ip) => bytes.extend(ip.octets()),
            },
            Part::Proto(number) => bytes.push(*number),
            Part::Port(port) => bytes.extend(port.to_be_bytes()),
        }
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// Set, flags and element, in the order of `elements.nft`.
pub(crate) fn elements() -> Vec<(&'static str, u16, Elem)> {
    use Part::{Ip, Port, Proto};
    let map = |key: &[Part], data: &[Part]| Elem {
        key: join(key),
        data: Some(join(data)),
        ..Elem::default()
    };
    let one = |key: &[Part]| Elem { key: join(key), ..Elem::default() };
    let range = |first: &[Part], last: &[Part]| Elem { key_end: Some(join(last)), ..one(first) };
    let noted = |elem: Elem, text: &str| Elem { comment: Some(text.into()), ..elem };
    let last6 = "fd00::ffff:ffff:ffff:ffff";
    vec![
        (
            "ports4",
            CREATE,
            noted(map(&[Proto(6), Port(8080)], &[Ip("10.89.0.2"), Port(80)]), "hello"),
        ),
        ("ports6", ENSURE, map(&[Proto(17), Port(53)], &[Ip("fd00::2"), Port(53)])),
        (
            "bound4",
            ENSURE,
            map(&[Ip("192.0.2.1"), Proto(6), Port(443)], &[Ip("10.89.0.2"), Port(8443)]),
        ),
        ("bound6", ENSURE, map(&[Ip("fd00::1"), Proto(17), Port(53)], &[Ip("fd00::2"), Port(53)])),
        ("masq4", ENSURE, noted(one(&[Ip("10.89.0.2")]), "x")),
        ("masq6", ENSURE, one(&[Ip("fd00::2")])),
        (
            "own4",
            ENSURE,
            range(&[Ip("10.89.0.0"), Ip("10.89.0.0")], &[Ip("10.89.255.255"), Ip("10.89.255.255")]),
        ),
        (
            "own6",
            ENSURE,
            noted(range(&[Ip("fd00::"), Ip("fd00::")], &[Ip(last6), Ip(last6)]), "pods"),
        ),
    ]
}

/// The transaction of all elements.
pub(crate) fn make_elements(batch: &mut Batch) {
    nf::begin(batch, None);
    for (set, flags, elem) in elements() {
        TABLE.make_elems(batch, set, flags, &[elem]);
    }
    nf::end(batch);
}
