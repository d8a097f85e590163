//! netlink-packet-route as an independent judge: it decodes what we write, and
//! what the kernel answered is decoded by it and by us, field by field.

use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressProtocol,
};
use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, BridgePortState, In6AddrGenMode, InfoBridgePort,
    InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkExtentMask,
    LinkFlags, LinkHeader, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use podkeel_wire::rt::{self, Addr, AddrInfo, Kind, Link, Port, Route, RouteInfo};
use podkeel_wire::{Batch, messages};

use crate::golden::{self, cut};

fn judge(message: &[u8]) -> (u16, RouteNetlinkMessage) {
    let decoded = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message)
        .expect("the judge understands it");
    match decoded.payload {
        NetlinkPayload::InnerMessage(inner) => (decoded.header.flags, inner),
        other => panic!("no rtnetlink message: {other:?}"),
    }
}

/// What the judge makes of the one message that `fill` writes; its flags must be these.
pub(crate) fn written(flags: u16, fill: impl FnOnce(&mut Batch) -> u32) -> RouteNetlinkMessage {
    let mut batch = Batch::new(77);
    let seq = fill(&mut batch);
    assert_eq!(seq, 77);
    let (found, message) = judge(batch.bytes());
    assert_eq!(found, flags);
    message
}

pub(crate) fn link(wanted: &Link<'_>) -> LinkMessage {
    match written(rt::REQUEST, |b| rt::new_link(b, rt::REQUEST, wanted)) {
        RouteNetlinkMessage::NewLink(m) => m,
        other => panic!("no RTM_NEWLINK: {other:?}"),
    }
}

#[test]
fn a_veth_pair() {
    let peer = Link {
        name: Some("eth0"),
        mac: Some([2, 0, 0, 0, 0, 2]),
        netns: Some(9),
        ..Link::default()
    };
    let m = link(&Link {
        name: Some("pk0123456789"),
        mac: Some([2, 0, 0, 0, 0, 1]),
        mtu: Some(1400),
        master: Some(5),
        up: Some(true),
        promisc: Some(false),
        kind: Kind::Veth(&peer),
        ..Link::default()
    });
    assert_eq!((m.header.interface_family, m.header.index), (AddressFamily::Unspec, 0));
    assert_eq!(
        (m.header.flags, m.header.change_mask),
        (LinkFlags::Up, LinkFlags::Up | LinkFlags::Promisc)
    );
    let mut inside = LinkMessage::default();
    inside.attributes = vec![
        LinkAttribute::IfName("eth0".into()),
        LinkAttribute::Address(vec![2, 0, 0, 0, 0, 2]),
        LinkAttribute::NetNsFd(9),
    ];
    let wanted = [
        LinkAttribute::IfName("pk0123456789".into()),
        LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
        LinkAttribute::Mtu(1400),
        LinkAttribute::Controller(5),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(inside))),
        ]),
    ];
    assert_eq!(m.attributes, wanted);
}

#[test]
fn a_bridge_a_port_and_an_alias() {
    let m = link(&Link { name: Some("br0"), kind: Kind::Bridge, ..Link::default() });
    let kind = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]);
    assert_eq!(m.attributes, [LinkAttribute::IfName("br0".into()), kind]);

    let port = Port { hairpin: Some(true), isolated: Some(false) };
    let m =
        link(&Link { index: 4, alias: Some("podkeel web"), port: Some(port), ..Link::default() });
    assert_eq!(m.header.index, 4);
    let data = InfoPortData::BridgePort(vec![
        InfoBridgePort::HairpinMode(true),
        InfoBridgePort::Isolated(false),
    ]);
    let wanted = [
        LinkAttribute::IfAlias("podkeel web".into()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(data),
        ]),
    ];
    assert_eq!(m.attributes, wanted);
}

#[test]
fn links_looked_up_listed_and_deleted() {
    match written(rt::REQUEST, |b| rt::get_link(b, "eth0")) {
        RouteNetlinkMessage::GetLink(m) => {
            let no_counters = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
            assert_eq!(m.attributes, [LinkAttribute::IfName("eth0".into()), no_counters])
        }
        other => panic!("{other:?}"),
    }
    match written(rt::DUMP, rt::dump_links) {
        RouteNetlinkMessage::GetLink(m) => {
            let no_counters = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
            assert_eq!((m.header, m.attributes), (LinkHeader::default(), vec![no_counters]));
        }
        other => panic!("{other:?}"),
    }
    match written(rt::REQUEST, |b| rt::del_link(b, 12)) {
        RouteNetlinkMessage::DelLink(m) => assert_eq!((m.header.index, m.attributes), (12, vec![])),
        other => panic!("{other:?}"),
    }
    let of_group = (0, vec![LinkAttribute::Group(77)]);
    match written(rt::REQUEST, |b| rt::del_group(b, 77)) {
        RouteNetlinkMessage::DelLink(m) => assert_eq!((m.header.index, m.attributes), of_group),
        other => panic!("{other:?}"),
    }
}

#[test]
fn addresses() {
    let v4 = IpAddr::from([10, 1, 0, 1]);
    let broadcast = Ipv4Addr::new(10, 1, 0, 255);
    let mut addr = Addr {
        index: 3,
        ip: v4,
        prefix: 24,
        broadcast: Some(broadcast),
        nodad: true,
        no_route: false,
    };
    let check = |m: &AddressMessage, addr: &Addr, flags| {
        let family = if addr.ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        assert_eq!(
            (m.header.family, m.header.prefix_len, m.header.index),
            (family, addr.prefix, addr.index)
        );
        assert_eq!((m.header.flags, u8::from(m.header.scope)), (flags, 0));
    };
    let both = [
        AddressAttribute::Local(v4),
        AddressAttribute::Address(v4),
        AddressAttribute::Broadcast(broadcast),
    ];
    let ours = AddressAttribute::Protocol(AddressProtocol::from(rt::PROTOCOL));
    match written(rt::CREATE, |b| rt::new_addr(b, &addr)) {
        RouteNetlinkMessage::NewAddress(m) => {
            check(&m, &addr, AddressHeaderFlags::empty());
            assert_eq!(m.attributes, [&both[..], std::slice::from_ref(&ours)].concat());
        }
        other => panic!("{other:?}"),
    }
    match written(rt::REQUEST, |b| rt::del_addr(b, &addr)) {
        RouteNetlinkMessage::DelAddress(m) => assert_eq!(m.attributes, both),
        other => panic!("{other:?}"),
    }
    let v6 = "fd00::1".parse().unwrap();
    addr = Addr { ip: v6, prefix: 64, broadcast: None, ..addr };
    match written(rt::CREATE, |b| rt::new_addr(b, &addr)) {
        RouteNetlinkMessage::NewAddress(m) => {
            check(&m, &addr, AddressHeaderFlags::Nodad);
            assert_eq!(
                m.attributes,
                [AddressAttribute::Local(v6), AddressAttribute::Address(v6), ours]
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn routes() {
    let judged = |route: &Route| match written(rt::CREATE, |b| rt::new_route(b, route)) {
        RouteNetlinkMessage::NewRoute(m) => m,
        other => panic!("{other:?}"),
    };
    let head = |m: &RouteMessage| {
        let h = &m.header;
        assert_eq!(
            (h.table, u8::from(h.protocol), h.kind),
            (254, rt::PROTOCOL, RouteType::Unicast)
        );
        (h.address_family, h.destination_prefix_length, h.scope)
    };
    let via = Ipv4Addr::new(10, 1, 0, 1);
    let m = judged(&Route::new((Ipv4Addr::UNSPECIFIED.into(), 0), Some(via.into()), 7));
    assert_eq!(head(&m), (AddressFamily::Inet, 0, RouteScope::Universe));
    assert_eq!(
        m.attributes,
        [RouteAttribute::Gateway(RouteAddress::Inet(via)), RouteAttribute::Oif(7)]
    );

    let dst = Ipv4Addr::new(10, 3, 0, 0);
    let m = judged(&Route { priority: Some(50), ..Route::new((dst.into(), 16), None, 7) });
    assert_eq!(head(&m), (AddressFamily::Inet, 16, RouteScope::Link));
    let on_link = [RouteAttribute::Oif(7), RouteAttribute::Priority(50)];
    assert_eq!(
        m.attributes,
        [&[RouteAttribute::Destination(RouteAddress::Inet(dst))], &on_link[..]].concat()
    );

    let dst: std::net::Ipv6Addr = "fd01::".parse().unwrap();
    let m = judged(&Route { priority: Some(50), ..Route::new((dst.into(), 64), None, 7) });
    assert_eq!(head(&m), (AddressFamily::Inet6, 64, RouteScope::Universe));
    assert_eq!(
        m.attributes,
        [&[RouteAttribute::Destination(RouteAddress::Inet6(dst))], &on_link[..]].concat()
    );
}

/// Every link, address and route of the golden dumps, as both decode it.
fn read_by_both<T>(
    name: &str,
    same: impl Fn(&podkeel_wire::Message<'_>, RouteNetlinkMessage) -> Option<T>,
) -> Vec<T> {
    let golden = golden::load(name);
    let mut all = Vec::new();
    for buffer in &golden.received {
        let ours = messages(buffer).map(|m| m.expect("a whole message"));
        for (message, raw) in ours.zip(cut(buffer)) {
            if message.kind >= libc::RTM_NEWLINK {
                all.extend(same(&message, judge(raw).1));
            }
        }
    }
    all
}

fn same_link(
    message: &podkeel_wire::Message<'_>,
    judged: RouteNetlinkMessage,
) -> Option<rt::LinkInfo> {
    let ours = rt::LinkInfo::read(message)?;
    let RouteNetlinkMessage::NewLink(m) = judged else { panic!("no link: {judged:?}") };
    let mut judged = rt::LinkInfo {
        family: m.header.interface_family.into(),
        index: m.header.index,
        flags: m.header.flags.bits(),
        ..rt::LinkInfo::default()
    };
    for attribute in m.attributes {
        match attribute {
            LinkAttribute::IfName(name) => judged.name = name,
            LinkAttribute::Address(mac) => judged.mac = mac.try_into().ok(),
            LinkAttribute::Mtu(mtu) => judged.mtu = mtu,
            LinkAttribute::TxQueueLen(packets) => judged.txqlen = packets,
            LinkAttribute::Controller(master) => judged.master = Some(master),
            LinkAttribute::Link(link) => judged.link = Some(link),
            LinkAttribute::LinkNetNsId(id) => judged.peer_netns = Some(id as u32),
            LinkAttribute::IfAlias(alias) => judged.alias = Some(alias),
            LinkAttribute::AfSpecUnspec(families) => {
                families.into_iter().for_each(|f| take_switches(&mut judged.switches, f));
            }
            LinkAttribute::LinkInfo(infos) => {
                infos.into_iter().for_each(|i| take_info(&mut judged, i))
            }
            _ => {}
        }
    }
    assert_eq!(ours, judged);
    Some(ours)
}

fn take_switches(switches: &mut rt::Switches, family: AfSpecUnspec) {
    match family {
        AfSpecUnspec::Inet(said) => said.into_iter().for_each(|said| {
            if let AfSpecInet::DevConf(conf) = said {
                switches.route_localnet = Some(conf.route_localnet as u32);
            }
        }),
        AfSpecUnspec::Inet6(said) => said.into_iter().for_each(|said| match said {
            AfSpecInet6::DevConf(conf) => switches.accept_ra = Some(conf.accept_ra as u32),
            AfSpecInet6::AddrGenMode(mode) => {
                switches.no_link_local = Some(mode == In6AddrGenMode::None);
            }
            _ => {}
        }),
        _ => {}
    }
}

fn take_info(link: &mut rt::LinkInfo, info: LinkInfo) {
    match info {
        LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
        LinkInfo::PortData(InfoPortData::BridgePort(data)) => {
            for setting in data {
                match setting {
                    InfoBridgePort::HairpinMode(on) => link.port.hairpin = Some(on),
                    InfoBridgePort::State(is) => {
                        link.forwards = Some(is == BridgePortState::Forwarding);
                    }
                    InfoBridgePort::Isolated(on) => link.port.isolated = Some(on),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

#[test]
fn links_of_the_kernel() {
    let links = read_by_both("ip/link-dump", same_link);
    let named = |name: &str| {
        links.iter().find(|l| l.name == name).unwrap_or_else(|| panic!("no {name} in {links:#?}"))
    };
    assert_eq!(named("br0").kind.as_deref(), Some("bridge"));
    assert_eq!((named("br0").mac, named("br0").mtu), (Some([2, 0, 0, 0, 0, 0x10]), 1400));
    let port = named("v0");
    assert_eq!((port.master, port.kind.as_deref()), (Some(10), Some("veth")));
    assert_eq!(port.port, Port { hairpin: Some(true), isolated: Some(true) });
    assert_eq!((port.alias.as_deref(), port.up()), (Some("podkeel web eth0"), true));
    assert!(port.link.is_some() && port.peer_netns.is_some());
    // The kernel tells both of a link that is up, and the judge agrees.
    assert!(port.switches.route_localnet.is_some() && port.switches.accept_ra.is_some());
    assert_eq!(read_by_both("ip/link-get", same_link)[0].name, "v0");
}

#[test]
fn addresses_of_the_kernel() {
    let all = read_by_both("ip/addr-dump", |message, judged| {
        let ours = AddrInfo::read(message)?;
        let RouteNetlinkMessage::NewAddress(m) = judged else { panic!("no address: {judged:?}") };
        let find =
            |pick: fn(&AddressAttribute) -> Option<IpAddr>| m.attributes.iter().find_map(pick);
        let local = find(|a| if let AddressAttribute::Local(ip) = a { Some(*ip) } else { None });
        let address =
            find(|a| if let AddressAttribute::Address(ip) = a { Some(*ip) } else { None });
        let proto = |a: &AddressAttribute| {
            if let AddressAttribute::Protocol(p) = a { Some(u8::from(*p)) } else { None }
        };
        let flags = |a: &AddressAttribute| {
            if let AddressAttribute::Flags(f) = a { Some(f.bits()) } else { None }
        };
        let judged = AddrInfo {
            index: m.header.index,
            ip: local.or(address).expect("an address"),
            prefix: m.header.prefix_len,
            proto: m.attributes.iter().find_map(proto),
            scope: m.header.scope.into(),
            flags: m.attributes.iter().find_map(flags).unwrap_or_default(),
        };
        assert_eq!(ours, judged);
        Some(ours)
    });
    for (ip, prefix) in [("10.1.0.1", 24), ("fd00::1", 64), ("127.0.0.1", 8), ("::1", 128)] {
        assert!(
            all.iter().any(|a| a.ip == ip.parse::<IpAddr>().unwrap() && a.prefix == prefix),
            "{ip} in {all:?}"
        );
    }
}

fn ip_of(address: &RouteAddress) -> IpAddr {
    match address {
        RouteAddress::Inet(ip) => (*ip).into(),
        RouteAddress::Inet6(ip) => (*ip).into(),
        other => panic!("no IP address: {other:?}"),
    }
}

fn same_route(
    message: &podkeel_wire::Message<'_>,
    judged: RouteNetlinkMessage,
) -> Option<RouteInfo> {
    let ours = RouteInfo::read(message)?;
    let RouteNetlinkMessage::NewRoute(m) = judged else { panic!("no route: {judged:?}") };
    let any = if m.header.address_family == AddressFamily::Inet { "0.0.0.0" } else { "::" };
    let mut judged = RouteInfo {
        dst: (any.parse().unwrap(), m.header.destination_prefix_length),
        gateway: None,
        oif: None,
        table: m.header.table.into(),
        protocol: m.header.protocol.into(),
        kind: m.header.kind.into(),
        scope: m.header.scope.into(),
        priority: 0,
        mtu: None,
        advmss: None,
    };
    for attribute in &m.attributes {
        match attribute {
            RouteAttribute::Metrics(metrics) => {
                for metric in metrics {
                    match metric {
                        RouteMetric::Mtu(bytes) => judged.mtu = Some(*bytes),
                        RouteMetric::Advmss(bytes) => judged.advmss = Some(*bytes),
                        _ => {}
                    }
                }
            }
            RouteAttribute::Destination(ip) => judged.dst.0 = ip_of(ip),
            RouteAttribute::Gateway(ip) => judged.gateway = Some(ip_of(ip)),
            RouteAttribute::Oif(index) => judged.oif = Some(*index),
            RouteAttribute::Table(table) => judged.table = *table,
            RouteAttribute::Priority(metric) => judged.priority = *metric,
            _ => {}
        }
    }
    assert_eq!(ours, judged);
    Some(ours)
}

#[test]
fn routes_of_the_kernel() {
    let v4 = read_by_both("ip/route-dump-v4", same_route);
    let v6 = read_by_both("ip/route-dump-v6", same_route);
    let to = |dst: &str, prefix| {
        let dst: (IpAddr, u8) = (dst.parse().unwrap(), prefix);
        let found = v4.iter().chain(&v6).find(|r| r.dst == dst);
        *found.unwrap_or_else(|| panic!("no route to {dst:?} in {v4:#?} {v6:#?}"))
    };
    let default = to("0.0.0.0", 0);
    assert_eq!((default.gateway, default.oif), (Some([10, 1, 0, 2].into()), Some(10)));
    assert_eq!((default.protocol, default.table), (rt::PROTOCOL, 254));
    assert_eq!(to("::", 0).gateway, Some("fd00::2".parse().unwrap()));
    assert_eq!(to("10.3.0.0", 16).priority, 50);
    assert_eq!((to("10.4.0.0", 16).kind, to("10.4.0.0", 16).oif), (libc::RTN_BLACKHOLE, None));
    assert_eq!(to("10.5.0.0", 16).table, 1000);
}
