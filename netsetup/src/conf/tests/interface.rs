//! Keys of the plugins that make one link, of vxlan and of vrf: good ones, and every bad one.

use super::*;
use crate::conf::json::Node;
use crate::conf::{Bond, BondMode};

fn one(text: &str) -> Result<Plugin> {
    Ok(plugins(text)?.plugins.remove(0))
}

fn interface(text: &str) -> Interface {
    match one(text).unwrap() {
        Plugin::Interface(interface) => interface,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_said_has_a_default() {
    let macvlan = interface(r#"{"type": "macvlan"}"#);
    let InterfaceKind::Macvlan(conf) = &macvlan.kind else { panic!("{macvlan:?}") };
    assert_eq!((conf.mode, conf.queue), (MacvlanMode::Bridge, None));
    assert_eq!(conf.master, Master::default());
    assert_eq!((macvlan.mtu, macvlan.mac, macvlan.ipam.is_none()), (None, None, true));
    let ipvlan = interface(r#"{"type": "ipvlan", "mode": "", "master": "", "mtu": 0}"#);
    let InterfaceKind::Ipvlan(conf) = &ipvlan.kind else { panic!("{ipvlan:?}") };
    assert_eq!((conf.mode, &conf.master), (IpvlanMode::L2, &Master::default()));
    let tap = interface(r#"{"type": "tap"}"#);
    assert_eq!(tap.kind, InterfaceKind::Tap(Tap::default()));
    let vlan = interface(r#"{"type": "vlan", "master": "eth0"}"#);
    let InterfaceKind::Vlan(conf) = &vlan.kind else { panic!("{vlan:?}") };
    assert_eq!((conf.id, conf.master.name.as_deref()), (0, Some("eth0")));
}

#[test]
fn all_that_can_be_said() {
    let macvlan = interface(
        r#"{"type": "macvlan", "master": "eth0.100", "mode": "vepa", "mtu": 1400,
            "mac": "02:00:00:00:00:07", "linkInContainer": true, "bcqueuelen": 5000}"#,
    );
    assert_eq!((macvlan.mtu, macvlan.mac), (Some(1400), Some(Mac([2, 0, 0, 0, 0, 7]))));
    let InterfaceKind::Macvlan(conf) = &macvlan.kind else { panic!("{macvlan:?}") };
    assert_eq!((conf.mode, conf.queue), (MacvlanMode::Vepa, Some(5000)));
    assert_eq!(conf.master, Master { name: Some("eth0.100".into()), in_pod: true, bond: None });
    let bond = interface(
        r#"{"type": "ipvlan", "master": "bond0.7", "bond": {"links": ["eth1", "eth2"],
            "mode": "802.3ad", "miimon": 50}}"#,
    );
    let described = bond.master().and_then(|master| master.bond.clone());
    let links = vec!["eth1".to_owned(), "eth2".to_owned()];
    assert_eq!(described, Some(Bond { links, mode: BondMode::Lacp, miimon: 50 }));
    // What a runtime says counts more than the file.
    let asked = r#"{"type": "macvlan", "mac": "02:00:00:00:00:07",
                    "args": {"cni": {"mac": "02:00:00:00:00:08"}}}"#;
    assert_eq!(interface(asked).mac, Some(Mac([2, 0, 0, 0, 0, 8])));
    // Where there are neighbours, the kernel can be made to ask them.
    for (keys, asks) in [
        (r#""type": "macvlan""#, true),
        (r#""type": "ipvlan""#, true),
        (r#""type": "vlan", "master": "eth0""#, true),
        (r#""type": "host-device", "device": "eth1""#, true),
        (r#""type": "tap""#, false),
    ] {
        let read = interface(&format!("{{{keys}, \"enabledad\": true}}"));
        assert_eq!(read.enable_dad, asks, "{keys}");
        assert!(!interface(&format!("{{{keys}}}")).enable_dad, "{keys}");
    }
    let tap = interface(
        r#"{"type": "tap", "owner": 0, "group": 4294967295, "multiQueue": true, "bridge": "br0",
            "selinuxContext": "system_u:system_r:container_t:s0"}"#,
    );
    let InterfaceKind::Tap(conf) = &tap.kind else { panic!("{tap:?}") };
    assert_eq!((conf.owner, conf.group, conf.multi_queue), (Some(0), Some(u32::MAX), true));
    assert_eq!(conf.bridge.as_deref(), Some("br0"));
    for (keys, wanted) in [
        (r#""device": "eth1", "hwaddr": "02:00:00:00:00:01""#, HostDevice::Name("eth1".into())),
        (
            r#""hwaddr": "02:00:00:00:00:01", "kernelpath": "/sys/devices/x""#,
            HostDevice::Mac(Mac([2, 0, 0, 0, 0, 1])),
        ),
        (
            r#""kernelpath": "/sys/devices/x", "pciBusID": "0000:00:1f.6""#,
            HostDevice::KernelPath("/sys/devices/x".into()),
        ),
        (r#""pciBusID": "0000:00:1f.6""#, HostDevice::Pci("0000:00:1f.6".into())),
    ] {
        let read = interface(&format!(r#"{{"type": "host-device", {keys}}}"#));
        assert_eq!(read.kind, InterfaceKind::HostDevice(wanted), "{keys}");
    }
}

#[test]
fn a_tunnel() {
    let text = r#"{"type": "vxlan", "id": 42, "remotes": [
        {"host": "192.0.2.1", "subnets": ["10.42.1.0/24", "fd42:1::/64"], "mac": "02:00:00:00:00:01"},
        {"host": "192.0.2.2", "subnets": ["10.42.2.0/24"]}]}"#;
    let Plugin::Vxlan(vxlan) = one(text).unwrap() else { panic!("no vxlan") };
    assert_eq!((vxlan.id, vxlan.port, vxlan.local, vxlan.nolearning), (42, 4789, None, true));
    assert_eq!((vxlan.device.as_str(), vxlan.bridge.bridge.as_str()), ("vxlan42", "pkvx42"));
    assert!(vxlan.bridge.is_gateway && vxlan.remotes.len() == 2);
    assert_eq!(vxlan.remotes[0].mac, Some(Mac([2, 0, 0, 0, 0, 1])));
}

#[test]
fn what_is_refused() {
    let host = r#"{"host": "192.0.2.1", "subnets": ["10.1.0.0/24"]}"#;
    for (keys, says) in [
        (
            r#""type": "macvlan", "mode": "x""#,
            "mode: unknown macvlan mode: \"x\": there are bridge, private, vepa, passthru",
        ),
        (r#""type": "macvlan", "mode": 4"#, "mode: must be a string, not a number"),
        (r#""type": "macvlan", "master": "a b""#, "master: \"a b\""),
        (r#""type": "macvlan", "mtu": 60"#, "mtu: 60 is not from 68 to 65535"),
        (r#""type": "macvlan", "mtu": -1"#, "mtu: -1 is not a whole number"),
        (
            r#""type": "macvlan", "mac": "x""#,
            "mac: \"x\": a MAC address is six pairs of hex digits",
        ),
        (
            r#""type": "macvlan", "mac": "01:00:5e:00:00:01""#,
            "mac: \"01:00:5e:00:00:01\": no interface can have",
        ),
        (
            r#""type": "macvlan", "mode": "passthru", "mac": "02:00:00:00:00:01""#,
            "mac: cannot be together with mode \"passthru\"",
        ),
        (
            r#""type": "macvlan", "linkInContainer": 1"#,
            "linkInContainer: must be true or false, not a number",
        ),
        (r#""type": "macvlan", "bcqueuelen": "x""#, "bcqueuelen: must be a number, not a string"),
        (
            r#""type": "macvlan", "ipam": {"type": "dhcp"}"#,
            "ipam.type: \"dhcp\" is not an address manager",
        ),
        (
            r#""type": "ipvlan", "mode": "l4""#,
            "mode: unknown ipvlan mode: \"l4\": there are l2, l3, l3s",
        ),
        (r#""type": "vlan", "vlanId": 5"#, "master: is missing"),
        (
            r#""type": "macvlan", "bond": {"links": ["eth1"]}"#,
            "master: is missing: it names the bond that \"bond\" describes",
        ),
        (r#""type": "macvlan", "master": "bond0", "bond": {}"#, "bond.links: is missing"),
        (
            r#""type": "macvlan", "master": "bond0", "bond": {"links": ["eth1", "a/b"]}"#,
            "bond.links[1]: \"a/b\"",
        ),
        (
            r#""type": "macvlan", "master": "bond0", "bond": {"links": ["eth1", "eth1"]}"#,
            "bond.links: eth1 is named twice",
        ),
        (
            r#""type": "ipvlan", "master": "bond0", "bond": {"links": ["eth1"], "mode": "lacp"}"#,
            "bond.mode: unknown bond mode: \"lacp\": there are balance-rr, active-backup,",
        ),
        (
            r#""type": "vlan", "master": "bond0", "linkInContainer": true, "bond": {"links": ["eth1"]}"#,
            "bond: cannot be together with \"linkInContainer\"",
        ),
        (
            r#""type": "vlan", "master": "eth0", "vlanId": 4095"#,
            "vlanId: invalid VLAN ID 4095 (must be between 0 and 4094)",
        ),
        (r#""type": "dummy""#, "dummy interface requires an IPAM configuration"),
        (r#""type": "tap", "owner": -1"#, "owner: -1 is not a whole number"),
        (r#""type": "tap", "group": "root""#, "group: must be a number, not a string"),
        (r#""type": "tap", "bridge": "a/b""#, "bridge: \"a/b\""),
        (
            r#""type": "host-device""#,
            "specify either \"device\", \"hwaddr\", \"kernelpath\" or \"pciBusID\"",
        ),
        (r#""type": "host-device", "device": "a/b""#, "device: \"a/b\""),
        (r#""type": "host-device", "hwaddr": "x""#, "hwaddr: \"x\": a MAC address"),
        (
            r#""type": "host-device", "kernelpath": "/etc""#,
            "kernelpath: \"/etc\" must be absolute and begin with /sys/devices/",
        ),
        (
            r#""type": "host-device", "kernelpath": "/sys/devices/../../etc""#,
            "must be absolute and begin",
        ),
        (
            r#""type": "host-device", "pciBusID": "../x""#,
            "pciBusID: \"../x\" is not an address on the PCI bus",
        ),
        (r#""type": "vxlan""#, "id: is missing"),
        (r#""type": "vxlan", "id": 0"#, "id: 0 is not from 1 to 16777215"),
        (r#""type": "vxlan", "id": 16777216"#, "id: 16777216 is not from 1 to 16777215"),
        (r#""type": "vxlan", "id": 1, "port": 0"#, "port: 0 is not from 1 to 65535"),
        (r#""type": "vxlan", "id": 1, "port": 65536"#, "port: 65536 is not from 1 to 65535"),
        (r#""type": "vxlan", "id": 1, "local": "x""#, "local: \"x\" is not an address"),
        (
            r#""type": "vxlan", "id": 1, "local": "127.0.0.1""#,
            "local: 127.0.0.1 is not a host's address",
        ),
        (r#""type": "vxlan", "id": 1"#, "remotes: is missing"),
        (r#""type": "vxlan", "id": 1, "remotes": [{}]"#, "remotes[0].host: is missing"),
        (
            r#""type": "vxlan", "id": 1, "remotes": [{"host": "192.0.2.1"}]"#,
            "remotes[0].subnets: is missing",
        ),
        (
            &format!(r#""type": "vxlan", "id": 1, "remotes": [{host}, {host}]"#),
            "remotes: 192.0.2.1 is named twice",
        ),
        (
            &format!(r#""type": "vxlan", "id": 1, "local": "fd00::1", "remotes": [{host}]"#),
            "remotes: 192.0.2.1 is of the other family",
        ),
        (
            &format!(
                r#""type": "vxlan", "id": 1, "remotes": [{host}, {{"host": "192.0.2.2", "subnets": ["10.1.0.128/25"]}}]"#
            ),
            "remotes: 10.1.0.128/25 of 192.0.2.2 overlaps a subnet of 192.0.2.1",
        ),
        (
            &format!(r#""type": "vxlan", "id": 1, "vxlan": "a b", "remotes": [{host}]"#),
            "vxlan: \"a b\"",
        ),
        (
            &format!(r#""type": "vxlan", "id": 1, "nolearning": 1, "remotes": [{host}]"#),
            "nolearning: must be true or false",
        ),
        (r#""type": "bridge"}, {"type": "vrf""#, "vrfname: is missing"),
        (r#""type": "bridge"}, {"type": "vrf", "vrfname": "a b""#, "vrfname: \"a b\""),
        (
            r#""type": "bridge"}, {"type": "vrf", "vrfname": "blue", "table": -1"#,
            "table: -1 is not a whole number",
        ),
        (
            r#""type": "vrf", "vrfname": "blue""#,
            "\"vrf\" needs a plugin before it that makes an interface",
        ),
        (r#""type": "bridge"}, {"type": "macvlan""#, "a second plugin that makes an interface"),
    ] {
        let error = plugins(&format!("{{{keys}}}")).unwrap_err();
        assert!(error.to_string().contains(says), "{keys}: {error}");
        assert!([Kind::Input, Kind::Unsupported].contains(&error.kind), "{keys}");
    }
}

#[test]
fn every_key_of_the_wrong_type_or_out_of_range() {
    let remote = |keys: &str| {
        format!(r#""type": "vxlan", "id": 1, "remotes": [{{"host": "192.0.2.1", {keys}}}]"#)
    };
    let subnets = r#""subnets": ["10.1.0.0/24"]"#;
    let ipvlan = |keys| format!(r#""type": "ipvlan", {keys}"#);
    let vlan = |keys| format!(r#""type": "vlan", {keys}"#);
    let tap = |keys| format!(r#""type": "tap", {keys}"#);
    let bond = |keys| {
        format!(r#""type": "macvlan", "master": "bond0", "bond": {{"links": ["eth1"], {keys}}}"#)
    };
    let lent = |keys| format!(r#""type": "host-device", {keys}"#);
    for (keys, says) in [
        (ipvlan(r#""master": "a b""#), "master: \"a b\""),
        (ipvlan(r#""master": 7"#), "master: must be a string, not a number"),
        (ipvlan(r#""mtu": 60"#), "mtu: 60 is not from 68 to 65535"),
        (ipvlan(r#""mtu": "1400""#), "mtu: must be a number, not a string"),
        (ipvlan(r#""linkInContainer": "no""#), "linkInContainer: must be true or false"),
        (vlan(r#""master": "eth0", "mtu": 65536"#), "mtu: 65536 is not from 68 to 65535"),
        (vlan(r#""master": "eth0", "mtu": true"#), "mtu: must be a number"),
        (vlan(r#""master": "eth0", "linkInContainer": 1"#), "linkInContainer: must be true or"),
        (vlan(r#""master": "eth0", "vlanId": -1"#), "vlanId: -1 is not a whole number"),
        (vlan(r#""master": "eth0", "vlanId": "7""#), "vlanId: must be a number, not a string"),
        (vlan(r#""master": "a/b", "vlanId": 7"#), "master: \"a/b\""),
        (vlan(r#""master": [], "vlanId": 7"#), "master: must be a string"),
        (tap(r#""multiQueue": 1"#), "multiQueue: must be true or false, not a number"),
        (tap(r#""mac": "x""#), "mac: \"x\": a MAC address is six pairs of hex digits"),
        (tap(r#""mac": "03:00:00:00:00:01""#), "no interface can have"),
        (tap(r#""mac": 7"#), "mac: must be a string, not a number"),
        (tap(r#""mtu": 67"#), "mtu: 67 is not from 68 to 65535"),
        (tap(r#""owner": true"#), "owner: must be a number"),
        (tap(r#""group": 4294967296"#), "group: 4294967296 is not a whole number"),
        (tap(r#""selinuxContext": 7"#), "selinuxContext: must be a string, not a number"),
        (tap(r#""bridge": 7"#), "bridge: must be a string, not a number"),
        (lent(r#""device": 7"#), "device: must be a string, not a number"),
        (lent(r#""hwaddr": 7"#), "hwaddr: must be a string, not a number"),
        (lent(r#""kernelpath": 7"#), "kernelpath: must be a string, not a number"),
        (lent(r#""pciBusID": 7"#), "pciBusID: must be a string, not a number"),
        (bond(r#""miimon": -1"#), "bond.miimon: -1 is not a whole number"),
        (bond(r#""miimon": "100""#), "bond.miimon: must be a number, not a string"),
        (bond(r#""mode": 1"#), "bond.mode: must be a string, not a number"),
        (remote(&format!(r#""mac": "x", {subnets}"#)), "remotes[0].mac: \"x\": a MAC address"),
        (remote(&format!(r#""mac": 7, {subnets}"#)), "remotes[0].mac: must be a string"),
        (
            remote(r#""subnets": "10.1.0.0/24""#),
            "remotes[0].subnets: must be an array, not a string",
        ),
        (remote(r#""subnets": ["x"]"#), "remotes[0].subnets[0]: \"x\""),
        (format!(r#"{}, "mtu": 70000"#, remote(subnets)), "mtu: 70000 is not from 68 to 65535"),
    ] {
        let error = plugins(&format!("{{{keys}}}")).expect_err(&keys);
        assert!(error.to_string().contains(says), "{keys}: {error}");
        assert_eq!(error.kind, Kind::Input, "{keys}");
    }
}

/// A runtime's word on which device it is counts more than the list's PCI address.
#[test]
fn a_runtime_says_which_device() {
    let call = |asked: &str| {
        let text = format!(
            r#"{{"cniVersion": "1.0.0", "name": "net", "type": "host-device",
                 "pciBusID": "0000:00:1f.6", "runtimeConfig": {asked}}}"#
        );
        super::call(&decode(&text).unwrap(), "host-device", &Args::default())
    };
    for (asked, is) in [
        (r#"{"deviceID": "0000:00:02.0"}"#, "0000:00:02.0"),
        (r#"{"deviceID": ""}"#, "0000:00:1f.6"),
        ("{}", "0000:00:1f.6"),
    ] {
        let kind = call(asked).unwrap().network.interface().unwrap().kind.clone();
        assert_eq!(kind, InterfaceKind::HostDevice(HostDevice::Pci(is.into())), "{asked}");
    }
    for (asked, says) in [
        ("7", "runtimeConfig: must be an object, not a number"),
        (r#"{"deviceID": 7}"#, "runtimeConfig.deviceID: must be a string, not a number"),
        (r#"{"deviceID": "../x"}"#, "\"../x\" is not an address on the PCI bus"),
    ] {
        let error = call(asked).unwrap_err().to_string();
        assert!(error.contains(says), "{asked}: {error}");
    }
}

/// As a runtime's call: an ipvlan may stand on what the plugins before it have made.
#[test]
fn an_ipvlans_master_may_be_the_one_before() {
    let call = |interfaces: &str| {
        let text = format!(
            r#"{{"cniVersion": "1.0.0", "name": "net", "type": "ipvlan",
                 "prevResult": {{"interfaces": [{interfaces}], "dns": {{}}}}}}"#
        );
        let value = decode(&text).unwrap();
        assert!(Node::root(&value).object().is_ok());
        super::call(&value, "ipvlan", &Args::default())
    };
    let read = call(r#"{"name": "eth7"}"#).unwrap();
    let master = read.network.interface().unwrap().master().unwrap().name.clone();
    assert_eq!(master.as_deref(), Some("eth7"));
    for bad in ["", r#"{"name": ""}"#, r#"{"name": "a"}, {"name": "b"}"#] {
        let error = call(bad).unwrap_err().to_string();
        assert!(error.contains("chained master failure"), "{bad}: {error}");
    }
}

#[test]
fn networks_without_an_interface() {
    for (name, host) in [("none", false), ("host", true)] {
        let roots = Roots { conf: Vec::new(), ..Roots::default() };
        let network = find(name, &roots).unwrap();
        assert_eq!((network.name.as_str(), network.is_host()), (name, host));
        assert!(!network.plugins[0].makes_interface());
    }
}
