//! Cases of bridge, ptp, loopback and the address managers.

use serde_json::{Value, json};

use super::super::call::with;
use super::super::common::dirs;
pub(super) use super::case::Case;

/// Versions that Debian's plugins know.
pub(super) const VERSIONS: &[&str] = &["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"];

/// All cases of this file.
pub(super) fn all() -> Vec<Case> {
    let each =
        [bridge(), bridge_bad(), ptp(), loopback(), host_local(), host_local_bad(), statics()];
    each.concat()
}

/// A configuration of a version.
pub(super) fn conf(version: &str, kind: &str, more: Value) -> Value {
    with(json!({"cniVersion": version, "name": "net", "type": kind}), more)
}

/// host-local with these keys, in the directory that dumps are taken of.
pub(super) fn leases(more: Value) -> Value {
    with(json!({"type": "host-local", "dataDir": dirs().leases}), more)
}

/// One range of IPv4 and a default route.
pub(super) fn v4() -> Value {
    leases(json!({"ranges": [[{"subnet": "10.77.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}))
}

/// One of each family, with default routes.
pub(super) fn dual() -> Value {
    leases(json!({"ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd77::/64"}]],
                  "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}))
}

/// A bridge with IPv4.
pub(super) fn br(version: &str, more: Value) -> Value {
    let base = json!({"bridge": "br-cni", "ipam": v4()});
    conf(version, "bridge", with(base, more))
}

fn one(more: Value, label: &str) -> Case {
    Case::new(br("1.0.0", more), label)
}

fn bridge() -> Vec<Case> {
    let mac = "02:00:00:00:00:01";
    let mut all: Vec<Case> = VERSIONS
        .iter()
        .flat_map(|version| {
            let of = |more: Value, label: &str| Case::new(br(version, more), label);
            [
                of(json!({"isGateway": true}), "isGateway"),
                of(json!({"isGateway": true, "ipMasq": true, "ipam": dual()}), "dual"),
                of(json!({"isDefaultGateway": true, "ipam": leases(json!({"subnet": "10.77.0.0/24"}))}), "isDefaultGateway"),
                of(json!({"dns": {"nameservers": ["10.77.0.1"], "domain": "d", "search": ["x"], "options": ["y"]}}), "dns"),
            ]
        })
        .collect();
    all.extend([
        one(json!({}), "plain"),
        one(json!({"isDefaultGateway": true}), "isDefaultGateway beside a default route"),
        one(json!({"isGateway": true, "ipMasq": true}), "masq"),
        one(json!({"isGateway": true, "ipMasq": true}), "masq, netns lost").lost(),
        one(json!({"isGateway": true}), "netns lost").lost(),
        one(json!({"hairpinMode": true}), "hairpinMode"),
        one(json!({"promiscMode": true}), "promiscMode"),
        one(json!({"mtu": 1400}), "mtu"),
        one(json!({"mtu": 0}), "mtu of 0"),
        one(json!({"mtu": 9000}), "mtu of 9000"),
        one(json!({"mtu": 68}), "mtu of 68"),
        one(json!({"args": {"cni": {"mac": mac}}}), "mac of args"),
        one(json!({"runtimeConfig": {"mac": mac}, "capabilities": {"mac": true}}), "mac of runtimeConfig"),
        one(json!({}), "bad: MAC for host-local").args("MAC=02:00:00:00:00:01"),
        one(json!({}), "unknown CNI_ARGS, ignored").args("IgnoreUnknown=1;X=y"),
        one(json!({"ipam": {}}), "no ipam"),
        one(json!({"ipam": dual()}), "two families"),
        one(json!({"ipam": dual(), "isGateway": true}), "two families, isGateway"),
        one(json!({"isGateway": true}), "bridge is there").given("ip link add br-cni type bridge"),
        one(json!({"isGateway": true}), "bridge is up")
            .given("ip link add br-cni mtu 1300 type bridge && ip link set br-cni up"),
        one(json!({"isGateway": true}), "bridge has the address")
            .given("ip link add br-cni type bridge && ip addr add 10.77.0.1/24 dev br-cni"),
        one(json!({"isGateway": true, "forceAddress": true}), "forceAddress")
            .given("ip link add br-cni type bridge && ip addr add 10.77.0.9/24 dev br-cni"),
        one(json!({"isGateway": true}), "bad: another address in the subnet")
            .given("ip link add br-cni type bridge && ip addr add 10.77.0.9/24 dev br-cni"),
        one(json!({"isGateway": true}), "bad: another address elsewhere")
            .given("ip link add br-cni type bridge && ip addr add 10.99.0.9/24 dev br-cni"),
        one(json!({"bridge": null}), "the bridge's usual name"),
        one(json!({"isGateway": true, "ipam": leases(json!({"ranges": [[{"subnet": "10.77.0.0/24"}]],
            "routes": [{"dst": "10.9.0.0/16", "gw": "10.77.0.9"}, {"dst": "10.10.0.0/16"}]}))}), "routes"),
        one(json!({"isGateway": true, "ipam": leases(json!({"ranges": [[{"subnet": "10.77.0.0/24", "gateway": "10.77.0.254"}]]}))}), "gateway"),
        one(json!({"isGateway": true, "ipam": {"type": "static", "addresses": [{"address": "10.77.0.9/24", "gateway": "10.77.0.1"}]}}), "static"),
        one(json!({"ipam": {"type": "static", "addresses": [{"address": "10.77.0.9/24"}]}}), "static without gateway"),
        one(json!({"ipam": leases(json!({"ranges": [[{"subnet": "fd77::/64"}]], "routes": [{"dst": "::/0"}]})), "isGateway": true, "ipMasq": true}), "IPv6 alone"),
        one(json!({"isGateway": true}), "ADD twice").verbs(&["ADD", "ADD", "DEL"]),
        one(json!({"unknown": 7}), "an unknown key"),
        one(json!({"vlan": 0}), "vlan of 0"),
        one(json!({"vlan": 100}), "a VLAN on a kernel without"),
        one(json!({"vlanTrunk": [{"id": 100}]}), "a trunk on a kernel without"),
        one(json!({"preserveDefaultVlan": false}), "preserveDefaultVlan without a VLAN"),
        one(json!({"macspoofchk": true}), "macspoofchk"),
        one(json!({"macspoofchk": true}), "macspoofchk, netns lost").lost(),
        one(json!({"enabledad": true, "ipam": dual()}), "enabledad"),
        one(json!({"portIsolation": true}), "portIsolation"),
        one(json!({"disableContainerInterface": true, "ipam": {}}), "disableContainerInterface"),
        one(json!({"isGateway": true, "ipMasq": true, "ipMasqBackend": "nftables"}), "ipMasqBackend"),
        one(json!({"runtimeConfig": {"mac": mac}, "args": {"cni": {"mac": "02:00:00:00:00:02"}}}), "mac of both"),
    ]);
    all
}

fn bridge_bad() -> Vec<Case> {
    vec![
        one(json!({"hairpinMode": true, "promiscMode": true}), "bad: hairpin and promisc"),
        one(json!({"mtu": "x"}), "bad: mtu in words"),
        one(json!({"mtu": -1}), "bad: mtu of -1"),
        one(json!({"mtu": 70000}), "bad: mtu of 70000"),
        one(json!({"isGateway": "yes"}), "bad: isGateway in words"),
        one(json!({"bridge": "a-name-that-is-too-long"}), "bad: bridge's name"),
        one(json!({"bridge": "up0"}), "bad: no bridge"),
        one(json!({"vlan": 5000}), "bad: vlan of 5000"),
        one(json!({"vlan": -1}), "bad: vlan of -1"),
        one(json!({"vlan": "x"}), "bad: vlan in words"),
        one(json!({"vlanTrunk": [{"id": 5000}]}), "bad: vlanTrunk"),
        one(json!({"macspoofchk": "x"}), "bad: macspoofchk in words"),
        one(json!({"forceAddress": "x"}), "bad: forceAddress in words"),
        one(json!({"bridge": "a/b"}), "bad: bridge's name is a path"),
        one(json!({"ipam": "x"}), "bad: ipam in words"),
        one(json!({"dns": {"nameservers": "x"}}), "bad: nameservers in words"),
        one(json!({"args": {"cni": {"mac": "x"}}}), "bad: mac of args"),
        one(json!({"ipam": {"type": "none-such"}}), "bad: ipam's type"),
        one(json!({"ipam": {"type": "../bridge"}}), "bad: ipam's type is a path"),
        one(json!({"ipam": leases(json!({"subnet": "10.77.0.0/33"}))}), "bad: subnet"),
        one(json!({"runtimeConfig": {"mac": "x"}}), "bad: mac"),
        one(json!({}), "bad: mac of CNI_ARGS").args("MAC=x"),
        one(json!({}), "bad: unknown CNI_ARGS").args("X=y"),
        one(json!({}), "bad: CNI_ARGS").args("X"),
        one(json!({}), "bad: address is taken on the host").given("ip addr add 10.77.0.2/24 dev up0"),
        one(json!({}), "bad: the pod has an eth0").given("ip -n pod link add eth0 type veth peer name x"),
        one(json!({"isDefaultGateway": true}), "bad: no gateway for it")
            .given("ip link add br-cni type bridge && ip link set br-cni up && ip addr add 10.77.0.1/16 dev br-cni"),
    ]
}

fn ptp() -> Vec<Case> {
    let p = |version: &str, more: Value, label: &str| {
        Case::new(conf(version, "ptp", with(json!({"ipam": v4()}), more)), label)
    };
    let mut all: Vec<Case> = VERSIONS.iter().map(|v| p(v, json!({}), "plain")).collect();
    let dns = json!({"nameservers": ["10.77.0.1"], "domain": "d"});
    let both = |v: &&str| p(v, json!({"ipam": dual(), "dns": dns}), "dual");
    all.extend(["0.1.0", "0.3.1", "0.4.0"].iter().map(both));
    all.extend([
        p("1.0.0", json!({"mtu": 0}), "mtu of 0"),
        p("1.0.0", json!({"ipMasq": true, "ipMasqBackend": "nftables"}), "ipMasqBackend"),
        p("1.0.0", json!({"ipam": leases(json!({"ranges": [[{"subnet": "fd77::/64"}]], "routes": [{"dst": "::/0"}]})), "ipMasq": true}), "IPv6 alone"),
        p("1.0.0", json!({}), "ADD twice").verbs(&["ADD", "ADD", "DEL"]),
        p("1.0.0", json!({"mtu": "x"}), "bad: mtu in words"),
        p("1.0.0", json!({"mtu": -1}), "bad: mtu of -1"),
        p("1.0.0", json!({"ipMasq": "x"}), "bad: ipMasq in words"),
        p("1.0.0", json!({}), "bad: unknown CNI_ARGS").args("X=y"),
        p("1.0.0", json!({"ipMasq": true}), "masq"),
        p("1.0.0", json!({"ipMasq": true}), "masq, netns lost").lost(),
        p("1.0.0", json!({"mtu": 1400}), "mtu"),
        p("1.0.0", json!({"ipam": dual()}), "two families"),
        p("1.0.0", json!({"ipam": dual(), "ipMasq": true}), "two families, masq"),
        p("1.0.0", json!({"dns": {"nameservers": ["10.77.0.1"]}}), "dns"),
        p("1.0.0", json!({"ipam": leases(json!({"ranges": [[{"subnet": "10.77.0.0/24"}]], "routes": [{"dst": "10.9.0.0/16"}, {"dst": "10.8.0.0/16", "gw": "10.77.0.9"}]}))}), "routes"),
        p("1.0.0", json!({"ipam": leases(json!({"subnet": "10.77.0.0/24"}))}), "no routes"),
        p("1.0.0", json!({"ipam": {"type": "static", "addresses": [{"address": "10.77.0.9/24", "gateway": "10.77.0.1"}]}}), "static"),
        p("1.0.0", json!({"ipam": {"type": "static", "addresses": [{"address": "10.77.0.9/24"}]}}), "static without gateway"),
        p("1.0.0", json!({"ipam": {}}), "bad: no ipam"),
        p("1.0.0", json!({"mtu": 70000}), "bad: mtu of 70000"),
        p("1.0.0", json!({"ipam": {"type": "none-such"}}), "bad: ipam's type"),
        p("1.0.0", json!({}), "bad: the pod has an eth0").given("ip -n pod link add eth0 type veth peer name x"),
    ]);
    all
}

fn loopback() -> Vec<Case> {
    let lo = |version: &str| Case::new(conf(version, "loopback", json!({})), "plain");
    VERSIONS.iter().map(|version| lo(version)).collect()
}

fn lease(version: &str, ipam: Value, more: Value, label: &str) -> Case {
    Case::new(with(conf(version, "host-local", json!({"ipam": ipam})), more), label)
}

fn host_local() -> Vec<Case> {
    let range = json!({"subnet": "10.77.0.0/24"});
    let flat = || leases(json!({"subnet": "10.77.0.0/24"}));
    let keys: Vec<(&str, Value)> = vec![
        ("subnet", flat()),
        ("ranges", leases(json!({"ranges": [[range]]}))),
        (
            "rangeStart",
            leases(
                json!({"subnet": "10.77.0.0/24", "rangeStart": "10.77.0.9", "rangeEnd": "10.77.0.20", "gateway": "10.77.0.254"}),
            ),
        ),
        ("ranges of a set", leases(json!({"ranges": [[range, {"subnet": "10.78.0.0/24"}]]}))),
        ("subnet beside ranges", leases(json!({"subnet": "10.79.0.0/24", "ranges": [[range]]}))),
        (
            "routes",
            leases(
                json!({"ranges": [[range]], "routes": [{"dst": "10.9.0.0/16", "gw": "10.77.0.9"}, {"dst": "0.0.0.0/0"}]}),
            ),
        ),
        ("resolvConf", leases(json!({"ranges": [[range]], "resolvConf": "/run/resolv"}))),
        (
            "range up to the broadcast address",
            leases(
                json!({"subnet": "10.77.0.0/24", "rangeStart": "10.77.0.254", "rangeEnd": "10.77.0.255"}),
            ),
        ),
        ("of IPv6", leases(json!({"subnet": "fd77::/64"}))),
        ("a small subnet", leases(json!({"subnet": "10.77.0.0/30"}))),
    ];
    let resolv =
        "printf 'nameserver 10.77.0.1\\nsearch a b\\ndomain d\\noptions ndots:2\\n' >/run/resolv";
    let mut all = Vec::new();
    for (label, ipam) in keys {
        for version in ["0.2.0", "0.4.0", "1.0.0"] {
            all.push(lease(version, ipam.clone(), json!({}), label).given(resolv));
        }
    }
    for version in VERSIONS {
        let capable =
            |more: Value| with(json!({"capabilities": {"ips": true, "ipRanges": true}}), more);
        all.extend([
            lease(
                version,
                flat(),
                capable(json!({"runtimeConfig": {"ips": ["10.77.0.15"]}})),
                "ips of runtimeConfig",
            ),
            lease(
                version,
                flat(),
                json!({"args": {"cni": {"ips": ["10.77.0.16/24"]}}}),
                "ips of args",
            ),
            lease(version, flat(), json!({}), "IP of CNI_ARGS").args("IP=10.77.0.17"),
        ]);
    }
    all.extend([
        lease("1.0.0", flat(), json!({"runtimeConfig": {"ipRanges": [[{"subnet": "10.80.0.0/24"}]]}}), "ipRanges of runtimeConfig"),
        lease("1.0.0", leases(json!({"ranges": [[range], [{"subnet": "fd77::/64"}]]})), json!({}), "two sets"),
        lease("1.0.0", leases(json!({"ranges": [[range], [{"subnet": "10.78.0.0/24"}]]})), json!({}), "two sets of IPv4"),
        lease("1.0.0", flat(), json!({}), "netns lost").lost(),
        lease("1.0.0", flat(), json!({}), "ADD twice").verbs(&["ADD", "ADD", "DEL"]),
        lease("1.0.0", flat(), json!({}), "ADD twice with an address").args("IP=10.77.0.17").verbs(&["ADD", "ADD", "DEL"]),
        lease("1.0.0", flat(), json!({}), "others' leases").given(
            "mkdir -p /run/rootless/leases/net; for i in 2 3; do printf 'x\\r\\neth0' >/run/rootless/leases/net/10.77.0.$i; done"),
        lease("1.0.0", flat(), json!({}), "last_reserved_ip").given(
            "mkdir -p /run/rootless/leases/net; printf 10.77.0.99 >/run/rootless/leases/net/last_reserved_ip.0"),
    ]);
    all
}

fn host_local_bad() -> Vec<Case> {
    let range = json!({"subnet": "10.77.0.0/24"});
    let keys: Vec<(&str, Value)> = vec![
        ("no range", json!({})),
        ("/31", json!({"subnet": "10.77.0.0/31"})),
        ("host bits", json!({"subnet": "10.77.0.1/24"})),
        ("no subnet at all", json!({"subnet": "x"})),
        ("rangeStart elsewhere", json!({"subnet": "10.77.0.0/24", "rangeStart": "10.78.0.1"})),
        ("rangeEnd elsewhere", json!({"subnet": "10.77.0.0/24", "rangeEnd": "10.78.0.1"})),
        (
            "the wrong way round",
            json!({"subnet": "10.77.0.0/24", "rangeStart": "10.77.0.9", "rangeEnd": "10.77.0.8"}),
        ),
        ("families in one set", json!({"ranges": [[range, {"subnet": "fd77::/64"}]]})),
        ("sets overlap", json!({"ranges": [[range], [{"subnet": "10.77.0.0/16"}]]})),
        ("an empty set", json!({"ranges": [[]]})),
        ("gateway in words", json!({"subnet": "10.77.0.0/24", "gateway": "x"})),
        ("route in words", json!({"ranges": [[range]], "routes": [{"dst": "x"}]})),
        (
            "route by words",
            json!({"ranges": [[range]], "routes": [{"dst": "10.9.0.0/16", "gw": "x"}]}),
        ),
        ("ranges in words", json!({"ranges": "x"})),
        ("rangeStart in words", json!({"subnet": "10.77.0.0/24", "rangeStart": "x"})),
        ("no resolvConf", json!({"ranges": [[range]], "resolvConf": "/run/none"})),
    ];
    let mut all: Vec<Case> = keys
        .into_iter()
        .map(|(label, more)| lease("1.0.0", leases(more), json!({}), &format!("bad: {label}")))
        .collect();
    let flat = || leases(json!({"subnet": "10.77.0.0/24"}));
    for (label, args) in [
        ("bad: IP elsewhere", "IP=10.81.0.1"),
        ("bad: IP is the gateway's", "IP=10.77.0.1"),
        ("bad: IP is the network's", "IP=10.77.0.0"),
        ("bad: IP is the broadcast address", "IP=10.77.0.255"),
        ("bad: IP in words", "IP=x"),
        ("bad: MAC for an address manager", "MAC=02:00:00:00:00:07"),
    ] {
        all.push(lease("1.0.0", flat(), json!({}), label).args(args));
    }
    all.push(lease("1.0.0", leases(json!({"subnet": "10.77.0.0/30"})), json!({}), "bad: all is leased").given(
        "mkdir -p /run/rootless/leases/net; printf 'x\\r\\neth0' >/run/rootless/leases/net/10.77.0.2"));
    all.push(lease("1.0.0", flat(), json!({}), "bad: IP is leased").args("IP=10.77.0.9").given(
        "mkdir -p /run/rootless/leases/net; printf 'x\\r\\neth0' >/run/rootless/leases/net/10.77.0.9"));
    all.push(lease(
        "0.2.0",
        leases(json!({"ranges": [[range], [{"subnet": "10.78.0.0/24"}]]})),
        json!({}),
        "bad: two of IPv4",
    ));
    all
}

fn statics() -> Vec<Case> {
    let of = |version: &str, more: Value, extra: Value, label: &str| {
        let ipam = json!({"type": "static", "addresses": [
            {"address": "10.77.0.9/24", "gateway": "10.77.0.1"}, {"address": "fd77::9/64"}]});
        Case::new(with(conf(version, "static", json!({"ipam": with(ipam, more)})), extra), label)
    };
    let mut all: Vec<Case> =
        VERSIONS.iter().map(|v| of(v, json!({}), json!({}), "plain")).collect();
    let dns =
        json!({"nameservers": ["10.77.0.1"], "domain": "x", "search": ["y"], "options": ["z"]});
    let one = |more: Value, label: &str| of("1.0.0", more, json!({}), label);
    let ask = |extra: Value, label: &str| of("1.0.0", json!({}), extra, label);
    all.extend([
        one(
            json!({"routes": [{"dst": "0.0.0.0/0", "gw": "10.77.0.1"}, {"dst": "10.9.0.0/16"}]}),
            "routes",
        ),
        one(json!({"dns": dns}), "dns"),
        one(json!({}), "IP of CNI_ARGS").args("IP=10.77.0.10/24,fd77::10/64;GATEWAY=10.77.0.2"),
        one(json!({"addresses": []}), "IP of CNI_ARGS alone")
            .args("IP=10.77.0.10/24;GATEWAY=10.77.0.2"),
        one(json!({"addresses": []}), "no address"),
        ask(json!({"runtimeConfig": {"ips": ["10.77.0.11/24"]}}), "ips of runtimeConfig"),
        ask(json!({"args": {"cni": {"ips": ["10.77.0.12/24"]}}}), "ips of args"),
        one(json!({"addresses": [{"address": "10.77.0.9"}]}), "bad: no length"),
        one(json!({"addresses": [{"address": "x/24"}]}), "bad: address"),
        one(json!({"addresses": [{"address": "10.77.0.9/24", "gateway": "x"}]}), "bad: gateway"),
        one(json!({"routes": [{"dst": "x"}]}), "bad: route"),
        one(json!({}), "bad: IP of CNI_ARGS").args("IP=10.77.0.10"),
        ask(json!({"runtimeConfig": {"ips": ["x"]}}), "bad: ips of runtimeConfig"),
        ask(json!({"args": {"cni": {"ips": ["x"]}}}), "bad: ips of args"),
        one(json!({"addresses": "x"}), "bad: addresses in words"),
        one(json!({}), "bad: GATEWAY of CNI_ARGS").args("IP=10.77.0.10/24;GATEWAY=x"),
    ]);
    all
}
