//! Links by themselves, and neighbours: what the judge makes of our bytes, and what we
//! read of its.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::{
    BondMode, InfoBond, InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVlan, InfoVrf, InfoVxlan,
    IpVlanMode, LinkAttribute, LinkInfo, LinkMessage, MacVlanMode,
};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use podkeel_wire::rt::{self, Device, Kind, Link, Neigh, Vxlan};
use podkeel_wire::{Batch, messages};

use crate::judge::{link, written};

/// Each kind, with what the judge calls it.
fn kinds() -> Vec<(Device, InfoKind, Option<InfoData>)> {
    let vxlan =
        |local: IpAddr, learning| Device::Vxlan(Vxlan { id: 42, port: 4789, local, learning });
    let (v4, v6) = (Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
    let ours = |local, learning| {
        vec![InfoVxlan::Id(42), local, InfoVxlan::Learning(learning), InfoVxlan::Port(4789)]
    };
    vec![
        (
            Device::Macvlan { mode: 8, queue: None },
            InfoKind::MacVlan,
            Some(InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Passthrough)])),
        ),
        (
            Device::Macvlan { mode: 4, queue: Some(77) },
            InfoKind::MacVlan,
            Some(InfoData::MacVlan(vec![
                InfoMacVlan::Mode(MacVlanMode::Bridge),
                InfoMacVlan::BcQueueLen(77),
            ])),
        ),
        (
            Device::Ipvlan { mode: 2 },
            InfoKind::IpVlan,
            Some(InfoData::IpVlan(vec![InfoIpVlan::Mode(IpVlanMode::L3S)])),
        ),
        (Device::Vlan { id: 4094 }, InfoKind::Vlan, Some(InfoData::Vlan(vec![InfoVlan::Id(4094)]))),
        (Device::Dummy, InfoKind::Dummy, None),
        (
            Device::Vrf { table: 1001 },
            InfoKind::Vrf,
            Some(InfoData::Vrf(vec![InfoVrf::TableId(1001)])),
        ),
        (
            Device::Bond { mode: 4, miimon: 100 },
            InfoKind::Bond,
            Some(InfoData::Bond(vec![InfoBond::Mode(BondMode::Ieee8023Ad), InfoBond::MiiMon(100)])),
        ),
        (
            vxlan(v4.into(), false),
            InfoKind::Vxlan,
            Some(InfoData::Vxlan(ours(InfoVxlan::Local(v4), false))),
        ),
        (
            vxlan(v6.into(), true),
            InfoKind::Vxlan,
            Some(InfoData::Vxlan(ours(InfoVxlan::Local6(v6), true))),
        ),
    ]
}

#[test]
fn links_by_themselves() {
    for (device, kind, data) in kinds() {
        let m = link(&Link {
            name: Some("eth0"),
            mac: Some([2, 0, 0, 0, 0, 1]),
            mtu: Some(1400),
            link: Some(7),
            netns: Some(9),
            kind: Kind::Device(device),
            ..Link::default()
        });
        let info = std::iter::once(LinkInfo::Kind(kind)).chain(data.map(LinkInfo::Data)).collect();
        let wanted = [
            LinkAttribute::IfName("eth0".into()),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
            LinkAttribute::Mtu(1400),
            LinkAttribute::Link(7),
            LinkAttribute::NetNsFd(9),
            LinkAttribute::LinkInfo(info),
        ];
        assert_eq!(m.attributes, wanted, "{device:?}");
    }
}

/// The other way round: the judge writes what a kernel would answer.
#[test]
fn links_by_themselves_read_back() {
    for (device, kind, data) in kinds() {
        let info = std::iter::once(LinkInfo::Kind(kind)).chain(data.map(LinkInfo::Data)).collect();
        let mut message = LinkMessage::default();
        message.header.index = 5;
        message.attributes =
            vec![LinkAttribute::IfName("eth0".into()), LinkAttribute::LinkInfo(info)];
        let mut whole = NetlinkMessage::from(RouteNetlinkMessage::NewLink(message));
        whole.finalize();
        let mut bytes = vec![0; whole.buffer_len()];
        whole.serialize(&mut bytes);
        let read = messages(&bytes).next().unwrap().unwrap();
        let read = rt::LinkInfo::read(&read).unwrap();
        assert_eq!((read.device, read.kind.as_deref()), (Some(device), Some(device.name())));
    }
}

#[test]
fn neighbours_and_forwarding_tables() {
    let mac = [2, 0, 0, 0, 0, 7];
    for (ip, fdb) in
        [("192.0.2.2", false), ("fe80::7", false), ("192.0.2.2", true), ("2001:db8::2", true)]
    {
        let ip: IpAddr = ip.parse().unwrap();
        let neigh = Neigh { index: 3, mac, ip, fdb };
        let RouteNetlinkMessage::NewNeighbour(m) =
            written(rt::CREATE, |b| rt::new_neigh(b, &neigh))
        else {
            panic!("no RTM_NEWNEIGH")
        };
        let family = match (fdb, ip.is_ipv4()) {
            (true, _) => AddressFamily::Bridge,
            (false, true) => AddressFamily::Inet,
            (false, false) => AddressFamily::Inet6,
        };
        // NUD_PERMANENT, and in a forwarding table NUD_NOARP.
        let state = if fdb { 0xc0 } else { 0x80 };
        assert_eq!((m.header.family, m.header.ifindex), (family, 3));
        assert_eq!(u16::from(m.header.state), state);
        assert_eq!(m.header.flags.contains(NeighbourFlags::Own), fdb, "NTF_SELF");
        let bytes = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let to = match (fdb, ip) {
            (true, _) => NeighbourAddress::Other(bytes),
            (false, IpAddr::V4(ip)) => NeighbourAddress::Inet(ip),
            (false, IpAddr::V6(ip)) => NeighbourAddress::Inet6(ip),
        };
        let wanted =
            [NeighbourAttribute::Destination(to), NeighbourAttribute::LinkLayerAddress(mac.into())];
        assert_eq!(m.attributes, wanted);
        // What we write of one is what a kernel says of it.
        let mut batch = Batch::new(1);
        rt::new_neigh(&mut batch, &neigh);
        let message = messages(batch.bytes()).next().unwrap().unwrap();
        assert_eq!(Neigh::read(&message), Some(neigh));
    }
    for family in [libc::AF_INET, libc::AF_BRIDGE] {
        match written(rt::DUMP, |b| rt::dump_neighs(b, family as u8)) {
            RouteNetlinkMessage::GetNeighbour(m) => {
                assert_eq!(u8::from(m.header.family), family as u8);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// An entry that the kernel will forget by itself is none of ours.
#[test]
fn entries_that_do_not_stay_are_passed_over() {
    let neigh = Neigh { index: 3, mac: [2; 6], ip: [192, 0, 2, 2].into(), fdb: false };
    let mut batch = Batch::new(1);
    rt::new_neigh(&mut batch, &neigh);
    let mut bytes = batch.bytes().to_vec();
    bytes[16 + 8] = 0x02; // NUD_REACHABLE
    let decoded = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes).unwrap();
    assert!(matches!(decoded.payload, NetlinkPayload::InnerMessage(_)));
    assert_eq!(Neigh::read(&messages(&bytes).next().unwrap().unwrap()), None);
}
