//! Our rtnetlink requests against those of `ip`, attribute by attribute.

use podkeel_wire::Batch;
use podkeel_wire::rt::{self, Addr, CREATE, Kind, Link, Port, REQUEST, Route};

use crate::golden::{self, cut};
use crate::tree::{Named, Rtnl, assert_same};

const LINK: Rtnl = Rtnl(16);
const ADDR: Rtnl = Rtnl(8);
const ROUTE: Rtnl = Rtnl(12);

/// Linux takes nested attributes with and without the flag; with it, strict checking passes too.
const FLAGGED: &str = "ip leaves NLA_F_NESTED out where we set it";
const FD: &str = "the number of an open file: whichever is free";
const PROTO: &str = "our addresses carry IFA_PROTO; this ip can't say it";
const NODAD: &str =
    "IFA_F_NODAD: the same description makes and deletes; a deletion looks at no flags";
const ORDER: Named =
    Named { lines: &[], why: "the same attributes in another order, which has no meaning" };
const ANY: &str = "a prefix of no bits needs no RTA_DST";
const FILTER: &str = "IFLA_EXT_MASK: ip asks for virtual functions, too, or for statistics";
const SLAVE: &str = "the kernel reads IFLA_INFO_SLAVE_DATA as the master's kind says; ip names that \"bridge_slave\", we as the kernel's own answers do";
const FAMILY: &str = "`table all` asks for both families, we for one";
const EXACT: &str = "ip deletes a route of any scope and type, we only one like ours";
const PACKET: &str = "ip asks for AF_PACKET's links, which are all links too";

/// One command of `tests/capture` and the message that we make for it.
struct Case {
    golden: &'static str,
    schema: Rtnl,
    ours: Batch,
    named: &'static [Named],
}

fn batch(fill: impl FnOnce(&mut Batch) -> u32) -> Batch {
    let mut batch = Batch::new(1);
    fill(&mut batch);
    batch
}

fn new_link(link: &Link<'_>) -> Batch {
    batch(|b| rt::new_link(b, CREATE, link))
}

fn set_link(link: &Link<'_>) -> Batch {
    batch(|b| rt::new_link(b, REQUEST, link))
}

/// Fails unless the golden message and ours differ exactly as named. Like ip's,
/// ours asks for an acknowledgement where no object is the answer.
fn check(case: Case) {
    let golden = golden::load(&format!("ip/{}", case.golden));
    let mut ours = case.ours;
    let kind = u16::from_ne_bytes([ours.bytes()[4], ours.bytes()[5]]);
    let gets = kind % 4 == 2; // RTM_NEW*, RTM_DEL*, RTM_GET*, RTM_SET*
    if !gets {
        ours.ack_last();
    }
    let ours = cut(ours.bytes())[0];
    let theirs = golden.request(kind);
    assert_same(&golden.command, theirs, ours, &case.schema, case.named);
    if case.named.is_empty() {
        // The header but for its numbering, and all the rest.
        let same = theirs[..8] == ours[..8] && theirs[16..] == ours[16..];
        assert!(same, "{}: the same attributes in another order", golden.command);
    }
}

const fn mac(last: u8) -> Option<[u8; 6]> {
    Some([2, 0, 0, 0, 0, last])
}

#[test]
fn links_are_made_as_ip_makes_them() {
    check(Case {
        golden: "link-add-bridge",
        schema: LINK,
        ours: new_link(&Link {
            index: 10,
            name: Some("br0"),
            mac: mac(0x10),
            mtu: Some(1400),
            kind: Kind::Bridge,
            ..Link::default()
        }),
        named: &[Named { lines: &["-18 {", "+18 { NLA_F_NESTED"], why: FLAGGED }],
    });
    let peer = Link {
        name: Some("eth0"),
        mac: mac(0x12),
        mtu: Some(1400),
        netns: Some(FD_NUMBER),
        ..Link::default()
    };
    check(Case {
        golden: "link-add-veth",
        schema: LINK,
        ours: new_link(&Link {
            index: 11,
            name: Some("v0"),
            mac: mac(0x11),
            mtu: Some(1400),
            kind: Kind::Veth(&peer),
            ..Link::default()
        }),
        named: &[
            Named { lines: VETH_NESTS, why: FLAGGED },
            Named { lines: &["-18.2.1.28 = *", "+18.2.1.28 = 0f270000"], why: FD },
        ],
    });
    let peer = Link { index: 13, name: Some("v2"), ..Link::default() };
    check(Case {
        golden: "link-add-veth-here",
        schema: LINK,
        ours: new_link(&Link {
            index: 12,
            name: Some("v1"),
            kind: Kind::Veth(&peer),
            ..Link::default()
        }),
        named: &[Named { lines: VETH_INDEXED_NESTS, why: FLAGGED }],
    });
    let end = Link { queues: Some(1), ..Link::default() };
    let peer = Link { name: Some("v4"), ..end };
    check(Case {
        golden: "link-add-veth-queues",
        schema: LINK,
        ours: new_link(&Link { index: 14, name: Some("v3"), kind: Kind::Veth(&peer), ..end }),
        named: &[Named { lines: VETH_NESTS, why: FLAGGED }],
    });
}

/// These are all that a kernel without VLAN filtering can be asked: it refuses them.
#[test]
fn vlans_of_ports_are_as_bridge_has_them() {
    let of = |first, last, access| rt::PortVlan { first, last, access };
    let named = SPEC;
    for (golden, vlan) in [
        ("vlan-add-access", of(100, 100, true)),
        ("vlan-add-tagged", of(200, 200, false)),
        ("vlan-add-range", of(300, 310, false)),
    ] {
        let ours = batch(|b| rt::add_vlan(b, 11, &vlan));
        check(Case { golden, schema: LINK, ours, named });
    }
    let ours = batch(|b| rt::del_vlan(b, 11, &of(1, 1, false)));
    check(Case { golden: "vlan-del", schema: LINK, ours, named });
    let ours = batch(|b| rt::add_own_vlan(b, 10, 100));
    check(Case { golden: "vlan-own-add", schema: LINK, ours, named });
    let ours = batch(|b| rt::del_own_vlan(b, 10, 100));
    check(Case { golden: "vlan-own-del", schema: LINK, ours, named });
}

#[test]
fn a_bridges_settings_are_as_ip_has_them() {
    let bridge = Link { index: 20, name: Some("br1"), kind: Kind::Bridge, ..Link::default() };
    for (golden, link) in [
        ("vlan-filtering", Link { vlan_filtering: true, ..bridge }),
        ("link-add-unsnooping", Link { no_snooping: true, ..bridge }),
    ] {
        check(Case {
            golden,
            schema: LINK,
            ours: new_link(&link),
            named: &[Named {
                lines: &["-18 {", "+18 { NLA_F_NESTED", "-18.2 {", "+18.2 { NLA_F_NESTED"],
                why: FLAGGED,
            }],
        });
    }
}

const SPEC: &[Named] = &[Named { lines: &["-26 {", "+26 { NLA_F_NESTED"], why: FLAGGED }];
const PORT: &[Named] = &[
    Named {
        lines: &["-18 {", "+18 { NLA_F_NESTED", "-18.5 {", "+18.5 { NLA_F_NESTED"],
        why: FLAGGED,
    },
    // "bridge_slave", "bridge"
    Named { lines: &["-18.1 = 6272696467655f736c617665", "+18.4 = 627269646765"], why: SLAVE },
];

const FD_NUMBER: i32 = 9999;

const VETH_NESTS: &[&str] = &[
    "-18 {",
    "+18 { NLA_F_NESTED",
    "-18.2 {",
    "+18.2 { NLA_F_NESTED",
    "-18.2.1 {00000000000000000000000000000000",
    "+18.2.1 {00000000000000000000000000000000 NLA_F_NESTED",
];

const VETH_INDEXED_NESTS: &[&str] = &[
    "-18 {",
    "+18 { NLA_F_NESTED",
    "-18.2 {",
    "+18.2 { NLA_F_NESTED",
    "-18.2.1 {000000000d0000000000000000000000",
    "+18.2.1 {000000000d0000000000000000000000 NLA_F_NESTED",
];

#[test]
fn links_are_changed_as_ip_changes_them() {
    let of = |index| Link { index, ..Link::default() };
    let port = Port { hairpin: Some(true), isolated: Some(true) };
    let changes: [(&str, Link<'_>, &[Named]); 11] = [
        ("link-set-up", Link { up: Some(true), ..of(11) }, &[]),
        ("link-set-down", Link { up: Some(false), ..of(11) }, &[]),
        ("link-set-promisc", Link { promisc: Some(true), ..of(11) }, &[]),
        ("link-set-alias", Link { alias: Some("podkeel web eth0"), ..of(11) }, &[]),
        ("link-set-master", Link { master: Some(10), ..of(11) }, &[]),
        ("link-set-addrgenmode", Link { no_link_local: true, ..of(11) }, SPEC),
        ("link-set-port", Link { port: Some(port), ..of(11) }, PORT),
        ("link-set-mtu", Link { mtu: Some(1300), ..of(12) }, &[]),
        ("link-set-mac", Link { mac: mac(0x21), ..of(12) }, &[]),
        ("link-set-name", Link { name: Some("v9"), ..of(12) }, &[]),
        (
            "link-set-netns",
            Link { netns: Some(FD_NUMBER), ..of(13) },
            &[Named { lines: &["-28 = *", "+28 = 0f270000"], why: FD }],
        ),
    ];
    for (golden, link, named) in changes {
        check(Case { golden, schema: LINK, ours: set_link(&link), named });
    }
    check(Case {
        golden: "link-del",
        schema: LINK,
        ours: batch(|b| rt::del_link(b, 11)),
        named: &[],
    });
}

#[test]
fn links_are_looked_up_and_listed_as_ip_does() {
    check(Case {
        golden: "link-get",
        schema: LINK,
        ours: batch(|b| rt::get_link(b, "v0")),
        named: &[Named { lines: &["-29 = 09000000", "+29 = 08000000"], why: FILTER }],
    });
    check(Case {
        golden: "link-dump",
        schema: LINK,
        ours: batch(rt::dump_links),
        named: &[
            Named { lines: &["-29 = *", "+29 = 08000000"], why: FILTER },
            Named { lines: &["-body = 11*", "+body = 00*"], why: PACKET },
        ],
    });
    check(Case {
        golden: "addr-dump",
        schema: ADDR,
        ours: batch(|b| rt::dump_addrs(b, 0)),
        named: &[],
    });
    check(Case {
        golden: "route-dump-v4",
        schema: ROUTE,
        ours: batch(|b| rt::dump_routes(b, 2)),
        named: &[Named { lines: &["-body = 00*", "+body = 02*"], why: FAMILY }],
    });
    check(Case {
        golden: "route-dump-v6",
        schema: ROUTE,
        ours: batch(|b| rt::dump_routes(b, 10)),
        named: &[],
    });
}

fn addr(ip: &str, prefix: u8, broadcast: Option<&str>) -> Addr {
    let broadcast = broadcast.map(|b| b.parse().unwrap());
    Addr {
        index: 10,
        ip: ip.parse().unwrap(),
        prefix,
        broadcast,
        nodad: ip.contains(':'),
        no_route: false,
    }
}

#[test]
fn addresses_are_made_and_deleted_as_ip_does() {
    let (v4, v6) = (addr("10.1.0.1", 24, Some("10.1.0.255")), addr("fd00::1", 64, None));
    for (golden, a) in [("addr-add-v4", v4), ("addr-add-v6", v6)] {
        check(Case {
            golden,
            schema: ADDR,
            ours: batch(|b| rt::new_addr(b, &a)),
            named: &[Named { lines: &["+11 = 70"], why: PROTO }],
        });
    }
    let body: &[Named] =
        &[Named { lines: &["-body = 0a400000*", "+body = 0a400200*"], why: NODAD }];
    for (golden, a, named) in [("addr-del-v4", v4, &[ORDER][..]), ("addr-del-v6", v6, body)] {
        check(Case { golden, schema: ADDR, ours: batch(|b| rt::del_addr(b, &a)), named });
    }
}

fn route(dst: &str, prefix: u8, gateway: Option<&str>, priority: Option<u32>) -> Route {
    let gateway = gateway.map(|g| g.parse().unwrap());
    Route { priority, ..Route::new((dst.parse().unwrap(), prefix), gateway, 10) }
}

#[test]
fn routes_are_made_and_deleted_as_ip_does() {
    let default =
        [route("0.0.0.0", 0, Some("10.1.0.2"), None), route("::", 0, Some("fd00::2"), None)];
    let made = [
        ("route-add-default-v4", default[0]),
        ("route-add-default-v6", default[1]),
        ("route-add-via-v4", route("10.2.0.0", 16, Some("10.1.0.2"), None)),
        ("route-add-link-v4", route("10.3.0.0", 16, None, Some(50))),
        ("route-add-link-v6", route("fd01::", 64, None, Some(50))),
    ];
    for (golden, r) in made {
        check(Case {
            golden,
            schema: ROUTE,
            ours: batch(|b| rt::new_route(b, &r)),
            named: add_named(golden),
        });
    }
    for (golden, r) in [("route-del-default-v4", default[0]), ("route-del-default-v6", default[1])]
    {
        check(Case {
            golden,
            schema: ROUTE,
            ours: batch(|b| rt::del_route(b, &r)),
            named: del_named(r.dst.0.is_ipv6()),
        });
    }
}

const NO_DST: Named = Named { lines: &["-1 = 00000000000000000000000000000000"], why: ANY };

fn add_named(golden: &str) -> &'static [Named] {
    match golden {
        "route-add-default-v6" => &[NO_DST],
        "route-add-link-v4" | "route-add-link-v6" => &[ORDER],
        _ => &[],
    }
}

fn del_named(v6: bool) -> &'static [Named] {
    const V4: &[Named] =
        &[Named { lines: &["-body = 02000000fe70ff00*", "+body = 02000000fe700001*"], why: EXACT }];
    const V6: &[Named] = &[
        NO_DST,
        Named { lines: &["-body = 0a000000fe700000*", "+body = 0a000000fe700001*"], why: EXACT },
    ];
    if v6 { V6 } else { V4 }
}
