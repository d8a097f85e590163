//! Links by themselves and neighbours: our requests against those of `ip` and `bridge`.
//! Some kinds are lacked by the kernel that was asked; what was sent to it is what counts.

use std::net::IpAddr;

use podkeel_wire::Batch;
use podkeel_wire::rt::{self, CREATE, Device, Kind, Link, Neigh, Vxlan};

use crate::golden::{self, cut};
use crate::tree::{Named, Rtnl, Schema, assert_same};

/// A link whose kind has numbers for settings, where a veth has its other end.
struct Alone;

impl Schema for Alone {
    fn fixed(&self) -> usize {
        16
    }
    fn nested(&self, path: &str, _: bool) -> Option<usize> {
        matches!(path, "18" | "18.2").then_some(0)
    }
}

const FLAGGED: Named = Named {
    lines: &["-18 {", "+18 { NLA_F_NESTED", "-18.2 {", "+18.2 { NLA_F_NESTED"],
    why: "ip leaves NLA_F_NESTED out where we set it",
};
const FD: Named = Named {
    lines: &["-28 = *", "+28 = 0f270000"],
    why: "the number of an open file: whichever is free",
};
const FD_NUMBER: i32 = 9999;

/// Fails unless the golden request and ours differ exactly as named.
fn check(golden: &str, schema: &impl Schema, mut ours: Batch, named: &[Named]) {
    let golden = golden::load(&format!("ip/{golden}"));
    ours.ack_last();
    let ours = cut(ours.bytes())[0];
    let theirs = golden.request(u16::from_ne_bytes([ours[4], ours[5]]));
    assert_same(&golden.command, theirs, ours, schema, named);
}

fn made(device: Device, link: Option<u32>) -> Batch {
    let mut batch = Batch::new(1);
    let link = Link {
        name: Some("eth0"),
        mac: Some([2, 0, 0, 0, 0, 0x30]),
        mtu: Some(1400),
        link,
        netns: link.map(|_| FD_NUMBER),
        kind: Kind::Device(device),
        ..Link::default()
    };
    rt::new_link(&mut batch, CREATE, &link);
    batch
}

#[test]
fn links_on_another_are_made_as_ip_makes_them() {
    let macvlan = Device::Macvlan { mode: 4, queue: Some(77) };
    let flags = Named {
        lines: &["-18.2.2 = 0000"],
        why: "ip says that no flag of IFLA_IPVLAN_FLAGS is set, which is the default",
    };
    for (golden, device, named) in [
        ("link-add-macvlan", macvlan, &[FLAGGED, FD][..]),
        ("link-add-ipvlan", Device::Ipvlan { mode: 2 }, &[FLAGGED, FD, flags]),
        ("link-add-vlan", Device::Vlan { id: 100 }, &[FLAGGED, FD]),
    ] {
        check(golden, &Alone, made(device, Some(10)), named);
    }
}

#[test]
fn links_by_themselves_are_made_as_ip_makes_them() {
    let vxlan = |local: &str, learning| {
        let local = local.parse().unwrap();
        Device::Vxlan(Vxlan { id: 42, port: 4789, local, learning })
    };
    for (golden, device) in [
        ("link-add-vrf", Device::Vrf { table: 77 }),
        ("link-add-bond", Device::Bond { mode: 1, miimon: 100 }),
        ("link-add-vxlan", vxlan("192.0.2.1", false)),
        ("link-add-vxlan6", vxlan("2001:db8::1", true)),
    ] {
        check(golden, &Alone, made(device, None), &[FLAGGED]);
    }
    // A kind without settings.
    let named = [Named { lines: &["-18 {", "+18 { NLA_F_NESTED"], why: FLAGGED.why }];
    check("link-add-dummy", &Alone, made(Device::Dummy, None), &named);
}

#[test]
fn neighbours_are_added_as_ip_and_bridge_add_them() {
    for (golden, ip) in
        [("neigh-add-v4", "10.1.0.2"), ("neigh-add-v6", "fe80::31"), ("fdb-add", "192.0.2.2")]
    {
        let ip: IpAddr = ip.parse().unwrap();
        let neigh = Neigh { index: 10, mac: [2, 0, 0, 0, 0, 0x31], ip, fdb: golden == "fdb-add" };
        let mut batch = Batch::new(1);
        rt::new_neigh(&mut batch, &neigh);
        check(golden, &Rtnl(12), batch, &[]);
    }
}
