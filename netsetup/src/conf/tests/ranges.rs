//! host-local: what is filled in, and what can be wrong with a range.

use super::*;

const HEAD: &str = "cannot read network \"web\" (/n/web.conflist): plugins[0].ipam.";

#[test]
fn what_is_left_out_is_filled_in() {
    for (given, expected) in [
        (r#""subnet": "10.1.0.0/24""#, range("10.1.0.0/24", "10.1.0.1", "10.1.0.254", "10.1.0.1")),
        (r#""subnet": "10.1.0.4/30""#, range("10.1.0.4/30", "10.1.0.5", "10.1.0.6", "10.1.0.5")),
        (
            r#""subnet": "fd00::/64""#,
            range("fd00::/64", "fd00::1", "fd00::ffff:ffff:ffff:ffff", "fd00::1"),
        ),
        (r#""subnet": "fd00::4/126""#, range("fd00::4/126", "fd00::5", "fd00::7", "fd00::5")),
        (
            r#""subnet": "10.1.0.0/16", "rangeStart": "10.1.2.0", "rangeEnd": "10.1.2.255", "gateway": "10.1.9.9""#,
            range("10.1.0.0/16", "10.1.2.0", "10.1.2.255", "10.1.9.9"),
        ),
        // One address is a range.
        (
            r#""subnet": "10.1.0.0/24", "rangeStart": "10.1.0.7", "rangeEnd": "10.1.0.7""#,
            range("10.1.0.0/24", "10.1.0.7", "10.1.0.7", "10.1.0.1"),
        ),
        // podman writes ranges that end with the broadcast address.
        (
            r#""subnet": "10.1.0.0/24", "rangeStart": "10.1.0.0", "rangeEnd": "10.1.0.255""#,
            range("10.1.0.0/24", "10.1.0.1", "10.1.0.254", "10.1.0.1"),
        ),
        (
            r#""subnet": "fd00::/64", "rangeStart": "fd00::", "rangeEnd": "fd00::ff""#,
            range("fd00::/64", "fd00::1", "fd00::ff", "fd00::1"),
        ),
        // As in the reference, a gateway may be elsewhere, and IPv4 may come mapped.
        (
            r#""subnet": "10.1.0.0/24", "gateway": "::ffff:10.2.0.1""#,
            range("10.1.0.0/24", "10.1.0.1", "10.1.0.254", "10.2.0.1"),
        ),
    ] {
        let flat = host_local(&format!(", {given}")).unwrap();
        assert_eq!(flat.sets, [[expected.clone()]], "{given}");
        let nested = host_local(&format!(r#", "ranges": [[{{{given}}}]]"#)).unwrap();
        assert_eq!(nested, flat, "{given}");
    }
}

#[test]
fn sets_keep_their_order_and_the_flat_one_is_first() {
    let read = host_local(
        r#", "subnet": "10.3.0.0/24", "dataDir": "/var/x",
           "ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "10.2.0.0/24"}], [{"subnet": "fd00::/64"}]]"#,
    );
    let read = read.unwrap();
    let subnets: Vec<Vec<String>> = read
        .sets
        .iter()
        .map(|set| set.iter().map(|range| range.subnet.to_string()).collect())
        .collect();
    assert_eq!(
        subnets,
        [vec!["10.3.0.0/24"], vec!["10.1.0.0/24", "10.2.0.0/24"], vec!["fd00::/64"]]
    );
    assert_eq!(read.data_dir, Some("/var/x".into()));
}

#[test]
fn parts_of_one_subnet_do_not_overlap() {
    let parts = r#", "ranges": [[{"subnet": "10.1.0.0/24", "rangeEnd": "10.1.0.99"},
                                 {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.100"}]]"#;
    assert_eq!(host_local(parts).unwrap().sets[0].len(), 2);
}

#[test]
fn bad_ranges() {
    for (given, why) in [
        (r#"{}"#, "subnet: is missing"),
        (r#"{"subnet": 7}"#, "subnet: must be a string, not a number"),
        (r#"{"subnet": "10.1.0.0/33"}"#, "subnet: \"10.1.0.0/33\" is not a subnet"),
        (r#"{"subnet": "10.1.0.0"}"#, "subnet: \"10.1.0.0\" is not a subnet"),
        (r#"{"subnet": "fd00::/129"}"#, "subnet: \"fd00::/129\" is not a subnet"),
        (
            r#"{"subnet": "10.1.0.5/24"}"#,
            "subnet: 10.1.0.5/24 has host bits set: the network is 10.1.0.0/24",
        ),
        (
            r#"{"subnet": "fd00::1/64"}"#,
            "subnet: fd00::1/64 has host bits set: the network is fd00::/64",
        ),
        (
            r#"{"subnet": "::ffff:10.1.0.0/120"}"#,
            "subnet: ::ffff:10.1.0.0/120 is an IPv4 subnet in IPv6's clothes; write it as IPv4",
        ),
        (r#"{"subnet": "10.1.0.0/31"}"#, "subnet: 10.1.0.0/31 is too small to lease from"),
        (r#"{"subnet": "10.1.0.0/32"}"#, "subnet: 10.1.0.0/32 is too small to lease from"),
        (r#"{"subnet": "fd00::/127"}"#, "subnet: fd00::/127 is too small to lease from"),
        (r#"{"subnet": "0.0.0.0/0"}"#, "subnet: 0.0.0.0/0 cannot be a subnet of pods"),
        (r#"{"subnet": "127.0.0.0/8"}"#, "subnet: 127.0.0.0/8 cannot be a subnet of pods"),
        (r#"{"subnet": "ff00::/64"}"#, "subnet: ff00::/64 cannot be a subnet of pods"),
        (r#"{"subnet": "10.1.0.0/24", "rangeStart": "x"}"#, "rangeStart: \"x\" is not an address"),
        (
            r#"{"subnet": "10.1.0.0/24", "rangeStart": "10.2.0.1"}"#,
            "rangeStart: 10.2.0.1 is not in 10.1.0.0/24",
        ),
        (
            r#"{"subnet": "10.1.0.0/24", "rangeStart": "fd00::1"}"#,
            "rangeStart: fd00::1 is not of the family of 10.1.0.0/24",
        ),
        (
            r#"{"subnet": "10.1.0.0/24", "rangeEnd": "10.1.1.0"}"#,
            "rangeEnd: 10.1.1.0 is not in 10.1.0.0/24",
        ),
        (
            r#"{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8"}"#,
            "rangeEnd: 10.1.0.8 is before the range's start, 10.1.0.9",
        ),
        (
            r#"{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.255"}"#,
            "rangeEnd: 10.1.0.254 is before the range's start, 10.1.0.255",
        ),
        (
            r#"{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.255", "rangeEnd": "10.1.0.255"}"#,
            "rangeStart: no address of 10.1.0.0/24 is left to lease",
        ),
        (
            r#"{"subnet": "10.1.0.0/24", "gateway": "fd00::1"}"#,
            "gateway: fd00::1 is not of the family of 10.1.0.0/24",
        ),
        (
            r#"{"subnet": "10.1.0.0/24", "gateway": "0.0.0.0"}"#,
            "gateway: 0.0.0.0 cannot be a gateway",
        ),
    ] {
        let read = host_local(&format!(r#", "ranges": [[{given}]]"#));
        assert_error(read, Kind::Input, &format!("{HEAD}ranges[0][0].{why}"));
    }
}

#[test]
fn bad_sets_routes_and_managers() {
    for (keys, why) in [
        ("", "ranges: is missing: host-local needs a subnet"),
        (r#", "ranges": []"#, "ranges: is missing: host-local needs a subnet"),
        (r#", "ranges": [[]]"#, "ranges[0]: is empty: a set needs a range"),
        (
            r#", "ranges": [{"subnet": "10.1.0.0/24"}]"#,
            "ranges[0]: must be an array, not an object",
        ),
        (r#", "rangeStart": "10.1.0.1""#, "rangeStart: stands without a subnet"),
        (
            r#", "ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "fd00::/64"}]]"#,
            "ranges[0][1]: fd00::/64 is not of the family of plugins[0].ipam.ranges[0][0], 10.1.0.0/24",
        ),
        (
            r#", "ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "10.1.0.128/25"}]]"#,
            "ranges[0][1]: 10.1.0.129-10.1.0.254 overlaps plugins[0].ipam.ranges[0][0], 10.1.0.1-10.1.0.254",
        ),
        (
            r#", "subnet": "10.1.0.0/24", "ranges": [[{"subnet": "fd00::/64"}], [{"subnet": "10.1.0.0/16"}]]"#,
            "ranges[1][0]: 10.1.0.1-10.1.255.254 overlaps plugins[0].ipam.subnet, 10.1.0.1-10.1.0.254",
        ),
        (r#", "subnet": "10.1.0.0/24", "dataDir": "x""#, "dataDir: \"x\" is not an absolute path"),
        (r#", "subnet": "10.1.0.0/24", "routes": [{}]"#, "routes[0].dst: is missing"),
        (
            r#", "subnet": "10.1.0.0/24", "routes": [{"dst": "0.0.0.0"}]"#,
            "routes[0].dst: \"0.0.0.0\" is not a subnet",
        ),
        (
            r#", "subnet": "10.1.0.0/24", "routes": [{"dst": "10.2.0.1/16"}]"#,
            "routes[0].dst: 10.2.0.1/16 has host bits set: the network is 10.2.0.0/16",
        ),
        (
            r#", "subnet": "10.1.0.0/24", "routes": [{"dst": "::/0", "gw": "10.1.0.1"}]"#,
            "routes[0].gw: 10.1.0.1 is not of the family of ::/0",
        ),
        (
            r#", "subnet": "10.1.0.0/24", "routes": [{"dst": "0.0.0.0/0"}, {"dst": "0.0.0.0/0", "gw": "10.1.0.9"}]"#,
            "routes[1]: a second route to 0.0.0.0/0",
        ),
    ] {
        assert_error(host_local(keys), Kind::Input, &format!("{HEAD}{why}"));
    }
    let dhcp = format!(
        "{HEAD}type: \"dhcp\" is not an address manager that podkeel has: host-local, static"
    );
    assert_error(bridge(r#", "ipam": {"type": "dhcp"}"#), Kind::Unsupported, &dhcp);
    assert_error(
        bridge(r#", "ipam": {"subnet": "10.1.0.0/24"}"#),
        Kind::Input,
        &format!("{HEAD}type: is missing"),
    );
}

#[test]
fn routes_with_all_that_can_be_said_of_them() {
    let routes =
        |routes: &str| host_local(&format!(r#", "subnet": "10.1.0.0/24", "routes": [{routes}]"#));
    let read = routes(r#"{"dst": "10.2.0.0/16", "gw": "10.1.0.9", "mtu": 0, "priority": 0}"#);
    let gw = Some("10.1.0.9".parse().unwrap());
    let dst = "10.2.0.0/16".parse().unwrap();
    assert_eq!(read.unwrap().routes, [Route { gw, ..Route::to(dst) }]);
    let read = routes(
        r#"{"dst": "10.2.0.0/16", "mtu": 1400, "advmss": 1300, "priority": 5, "table": 7, "scope": 253}"#,
    );
    let (mtu, advmss, priority) = (Some(1400), Some(1300), Some(5));
    let wanted =
        Route { mtu, advmss, priority, table: Some(7), scope: Some(253), ..Route::to(dst) };
    assert_eq!(read.unwrap().routes, [wanted]);
    let twice = routes(r#"{"dst": "10.2.0.0/16"}, {"dst": "10.2.0.0/16", "gw": "10.1.0.9"}"#);
    assert_error(twice, Kind::Input, &format!("{HEAD}routes[1]: a second route to 10.2.0.0/16"));
}

#[test]
fn old_versions_have_room_for_one_address_of_a_family() {
    let list = |version: &str, second: &str| {
        web(&format!(
            r#"{{"cniVersion": "{version}", "name": "web", "plugins": [{{"type": "bridge", "ipam": {{
                "type": "host-local", "ranges": [[{{"subnet": "10.1.0.0/24"}}], [{{"subnet": "{second}"}}]]}}}}]}}"#
        ))
    };
    for version in ["0.1.0", "0.2.0"] {
        let why =
            format!("cniVersion {version} has room for one address of a family; write \"1.0.0\"");
        assert_error(list(version, "10.2.0.0/24"), Kind::Input, &format!("{HEAD}ranges: {why}"));
        assert!(list(version, "fd00::/64").is_ok());
    }
    assert!(list("0.3.0", "10.2.0.0/24").is_ok());
}
