//! Cases that ask for what many kernels lack: ipvlan, vlan, vrf, and VLANs of a bridge's ports.
//! Few, with several keys each: an emulated processor takes seconds for a case.

use serde_json::{Value, json};

use super::super::call::with;
use super::cases::{Case, br, conf, dual, v4};
use super::links::{behind, in_vrf, on_up0};

/// All cases of this file.
pub(super) fn all() -> Vec<Case> {
    [bridge(), vrf(), ipvlan(), vlan()].concat()
}

/// Each verb once: that a second DEL finds nothing shows in one case of a kind.
const ONCE: &[&str] = &["ADD", "CHECK", "DEL"];

/// The host's part in the VLAN has another gateway's address.
const OTHER_GATEWAY: &str = "ip link add br-cni type bridge vlan_filtering 1
    ip link set br-cni up; bridge vlan add dev br-cni vid 100 self
    ip link add br-cni.100 link br-cni type vlan id 100
    ip link set br-cni.100 up; ip addr add 10.99.0.1/24 dev br-cni.100";

fn bridge() -> Vec<Case> {
    let of = |version: &str, more: Value, label: &str| {
        Case::new(br(version, with(json!({"vlan": 100}), more)), label)
    };
    let gateway = |version: &str, more: Value, label: &str| {
        of(version, with(json!({"isGateway": true}), more), label)
    };
    let out = "for port in $(ip -br link show master br-cni | cut -d@ -f1)
        do bridge vlan del dev $port vid 100; done";
    vec![
        gateway("0.4.0", json!({"ipMasq": true, "ipam": dual()}), "vlan, isGateway, masq, dual"),
        gateway("0.2.0", json!({}), "vlan, isGateway, two pods").verbs(&["ADD", "DEL"]).second(),
        gateway("1.0.0", json!({"macspoofchk": true}), "vlan, isGateway, macspoofchk, netns lost")
            .verbs(ONCE)
            .lost(),
        gateway("1.0.0", json!({"forceAddress": true}), "vlan, isGateway, forceAddress")
            .given(OTHER_GATEWAY)
            .verbs(&["ADD"]),
        gateway("1.0.0", json!({}), "bad: vlan, isGateway, another address")
            .given(OTHER_GATEWAY)
            .verbs(&["ADD"]),
        gateway("1.0.0", json!({"ipam": {}}), "vlan, isGateway, no ipam").verbs(ONCE),
        of("0.3.1", json!({"preserveDefaultVlan": false}), "vlan, preserveDefaultVlan off"),
        of("1.0.0", json!({}), "vlan, bridge is there")
            .given("ip link add br-cni type bridge")
            .verbs(&["ADD"]),
        of("1.0.0", json!({}), "harmed: out of the VLAN").harm(out).verbs(ONCE),
    ]
}

fn vrf() -> Vec<Case> {
    let there = "ip -n pod link add blue type vrf table 9; ip -n pod link set blue up";
    let mut bridged = in_vrf(dual(), json!({"table": 100}), "behind a bridge, table, dual");
    bridged.before = vec![br("1.0.0", json!({"isGateway": true, "ipam": dual()}))];
    vec![
        bridged,
        in_vrf(v4(), json!({}), "vrf is there, netns lost").given(there).verbs(ONCE).lost(),
    ]
}

fn ipvlan() -> Vec<Case> {
    let of =
        |version: &str, more: Value, label: &str| Case::new(on_up0(version, "ipvlan", more), label);
    let prev = behind(&["up0"])["prevResult"].clone();
    let tuning = json!({"sysctl": {"net.core.somaxconn": "77"}, "prevResult": prev});
    let chained = of("1.0.0", json!({"master": null, "ipam": {}}), "behind tuning").verbs(ONCE);
    vec![
        of("0.2.0", json!({"mode": "l3", "mtu": 1400, "ipam": dual()}), "mode l3, mtu, dual"),
        of("0.4.0", json!({"mode": "l3s", "master": null}), "mode l3s, default master, netns lost")
            .verbs(ONCE)
            .lost(),
        Case { before: vec![conf("1.0.0", "tuning", tuning)], ..chained },
    ]
}

/// A neighbour behind the same tag.
const TAGGED: &str = "ip -n far link add far0.100 link far0 type vlan id 100
    ip -n far addr add 10.77.0.1/24 dev far0.100; ip -n far link set far0.100 up
    ip -n far route del 10.77.0.0/24 via 198.18.0.1";

fn vlan() -> Vec<Case> {
    let of = |version: &str, more: Value, label: &str| {
        Case::new(on_up0(version, "vlan", with(json!({"vlanId": 100}), more)), label)
    };
    vec![
        of("0.1.0", json!({"ipam": dual(), "mtu": 1400}), "mtu, dual"),
        of("1.0.0", json!({}), "a neighbour behind the tag, netns lost")
            .given(TAGGED)
            .verbs(ONCE)
            .lost(),
        of("0.3.1", json!({}), "bad: the tag is taken")
            .given("ip link add up0.100 link up0 type vlan id 100")
            .verbs(&["ADD"]),
    ]
}
