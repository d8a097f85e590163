//! Cases of the plugins that make one link in the pod, or lend it one: macvlan, host-device;
//! of ipvlan, vlan and vrf, which many kernels lack, what is refused without a look at it.

use serde_json::{Value, json};

use super::super::call::with;
use super::cases::{Case, VERSIONS, conf, dual, leases, v4};

/// The cases of this file that any kernel can do.
pub(super) fn all() -> Vec<Case> {
    [macvlan(), host_device(), of_no_kind()].concat()
}

/// A link on the host's uplink.
pub(super) fn on_up0(version: &str, kind: &str, more: Value) -> Value {
    conf(version, kind, with(json!({"master": "up0", "ipam": v4()}), more))
}

/// What all of them share: every version, addresses, masters, and what is harmed.
fn usual(of: &dyn Fn(&str, Value, &str) -> Case) -> Vec<Case> {
    let one = |more: Value, label: &str| of("1.0.0", more, label);
    let mut all: Vec<Case> = VERSIONS.iter().map(|v| of(v, json!({}), "plain")).collect();
    all.extend([
        one(json!({"ipam": dual()}), "dual"),
        one(json!({"ipam": leases(json!({"ranges": [[{"subnet": "fd77::/64"}]]}))}), "IPv6 alone"),
        one(json!({"dns": {"nameservers": ["10.77.0.1"]}}), "dns"),
        one(json!({}), "netns lost").lost(),
        one(json!({}), "ADD twice").verbs(&["ADD", "ADD", "DEL"]),
        one(json!({}), "DEL alone").verbs(&["DEL"]),
        one(json!({"unknown": 7}), "an unknown key"),
        one(json!({}), "unknown CNI_ARGS, ignored").args("IgnoreUnknown=1;X=y"),
        one(json!({"ipam": {"type": "none-such"}}), "bad: ipam's type"),
        one(json!({"ipam": {"type": "static", "addresses": []}}), "bad: no address"),
        one(json!({}), "bad: the pod has an eth0")
            .given("ip -n pod link add eth0 type veth peer name x"),
        one(json!({}), "harmed: eth0 is gone").harm("ip -n pod link del eth0"),
        one(json!({}), "harmed: no address").harm("ip -n pod addr flush dev eth0"),
        one(json!({}), "harmed: no default route").harm("ip -n pod route del default"),
        one(json!({}), "harmed: another MAC")
            .harm("ip -n pod link set eth0 down address 02:00:00:00:00:77"),
    ]);
    all
}

/// What those that stand on another link share.
fn standing(of: &dyn Fn(&str, Value, &str) -> Case) -> Vec<Case> {
    let one = |more: Value, label: &str| of("1.0.0", more, label);
    let inside = "ip -n pod link add x0 type veth peer name x1; ip -n pod link set x0 up";
    vec![
        one(json!({"mtu": 1400}), "mtu"),
        one(json!({"mtu": 0}), "mtu of 0"),
        one(json!({"mtu": -1}), "bad: mtu of -1"),
        one(json!({"mtu": 1500}), "bad: mtu above its master's"),
        one(json!({"mtu": "x"}), "bad: mtu in words"),
        one(json!({"master": "none0"}), "bad: no such master"),
        one(json!({"master": 7}), "bad: master is a number"),
        one(json!({"master": "x0", "linkInContainer": true}), "linkInContainer").given(inside),
        one(json!({"linkInContainer": "x"}), "bad: linkInContainer in words"),
    ]
}

fn macvlan() -> Vec<Case> {
    let of = |version: &str, more: Value, label: &str| {
        Case::new(on_up0(version, "macvlan", more), label)
    };
    let one = |more: Value, label: &str| of("1.0.0", more, label);
    let mac = "02:00:00:00:00:01";
    let mut all = [usual(&of), standing(&of)].concat();
    all.extend(
        ["bridge", "private", "vepa", "passthru"]
            .map(|mode| one(json!({"mode": mode}), &format!("mode {mode}"))),
    );
    all.extend([
        one(json!({"master": null}), "the default route's master"),
        one(json!({"ipam": {}}), "no ipam"),
        one(json!({"mac": mac}), "mac"),
        one(json!({"runtimeConfig": {"mac": mac}}), "mac of runtimeConfig"),
        one(json!({"args": {"cni": {"mac": mac}}}), "mac of args"),
        one(json!({"ipam": {}}), "MAC of CNI_ARGS").args("MAC=02:00:00:00:00:01"),
        one(json!({"bcqueuelen": 500}), "bcqueuelen"),
        one(json!({"mode": "x"}), "bad: mode"),
        one(json!({"mode": 7}), "bad: mode is a number"),
        one(json!({"mac": "x"}), "bad: mac"),
        one(json!({"mac": 7}), "bad: mac is a number"),
        one(json!({"runtimeConfig": {"mac": "x"}}), "bad: mac of runtimeConfig"),
        one(json!({"bcqueuelen": "x"}), "bad: bcqueuelen in words"),
        one(json!({}), "bad: unknown CNI_ARGS").args("X=y"),
        one(json!({"master": null}), "bad: no default route").given("ip route del default"),
    ]);
    all
}

/// A link of the host's that it can do without.
const SPARE: &str = "ip link add up1 address 02:00:00:00:00:f1 type veth peer name up2";

fn host_device() -> Vec<Case> {
    let of = |version: &str, more: Value, label: &str| {
        let base = json!({"device": "up1", "ipam": v4()});
        Case::new(conf(version, "host-device", with(base, more)), label).given(SPARE)
    };
    let one = |more: Value, label: &str| of("1.0.0", more, label);
    let by = |more: Value, label: &str| one(with(json!({"device": null}), more), label);
    let mut all = usual(&of);
    for case in all.iter_mut().filter(|case| case.name.ends_with("has an eth0")) {
        case.given = "ip link add up1 type veth peer name up2
            ip -n pod link add eth0 type veth peer name x";
    }
    all.extend([
        one(json!({"ipam": {}}), "no ipam"),
        by(json!({"hwaddr": "02:00:00:00:00:f1"}), "hwaddr"),
        one(json!({"hwaddr": "02:00:00:00:00:99"}), "device beside hwaddr"),
        one(json!({}), "device is up").given(
            "ip link add up1 address 02:00:00:00:00:f1 type veth peer name up2
            ip link set up1 up; ip addr add 10.99.0.1/24 dev up1",
        ),
        one(json!({}), "device has an alias").given(
            "ip link add up1 address 02:00:00:00:00:f1 type veth peer name up2
            ip link set up1 alias x",
        ),
        one(json!({}), "device is up, with a queue and a neighbour").given(
            "ip link add up1 address 02:00:00:00:00:f1 type veth peer name up2
            ip link set up1 up
            ip neigh add 10.99.0.9 lladdr 02:00:00:00:00:99 dev up1 nud permanent
            tc qdisc add dev up1 root handle 1: htb; tc qdisc add dev up1 clsact
            tc filter add dev up1 ingress protocol ip u32 match u32 0 0 flowid 1:1",
        ),
        by(json!({}), "bad: no device"),
        one(json!({"device": "none0"}), "bad: no such device"),
        one(json!({"device": 7}), "bad: device is a number"),
        by(json!({"hwaddr": "x"}), "bad: hwaddr"),
        by(json!({"hwaddr": "02:00:00:00:00:99"}), "bad: no such hwaddr"),
        by(json!({"kernelpath": "/sys/devices/none"}), "bad: no such kernelpath"),
        by(json!({"kernelpath": "/etc"}), "bad: kernelpath elsewhere"),
        by(json!({"pciBusID": "0000:00:99.9"}), "bad: no such pciBusID"),
        by(json!({"pciBusID": "x"}), "bad: pciBusID"),
        one(json!({}), "unknown CNI_ARGS").args("X=y"),
    ]);
    all
}

/// What is refused whatever the kernel can do.
fn of_no_kind() -> Vec<Case> {
    let of = |kind: &str, more: Value, label: &str| Case::new(on_up0("1.0.0", kind, more), label);
    let tag = |more: Value, label: &str| of("vlan", with(json!({"vlanId": 100}), more), label);
    let ipvlan = |more: Value, label: &str| of("ipvlan", more, label);
    let mut alone = in_vrf(v4(), json!({}), "bad: no prevResult");
    alone.before = Vec::new();
    vec![
        ipvlan(json!({"mode": "x"}), "bad: mode"),
        ipvlan(json!({"mode": 7}), "bad: mode is a number"),
        ipvlan(json!({"mtu": 1500}), "bad: mtu above its master's"),
        ipvlan(json!({"master": "none0"}), "bad: no such master"),
        ipvlan(json!({"master": 7}), "bad: master is a number"),
        ipvlan(behind(&["up0", "lo"]), "bad: in a chain behind two interfaces"),
        tag(json!({"vlanId": 4095}), "bad: vlanId of 4095"),
        tag(json!({"vlanId": -1}), "bad: vlanId of -1"),
        tag(json!({"vlanId": "x"}), "bad: vlanId in words"),
        tag(json!({"master": null}), "bad: no master"),
        tag(json!({"master": "none0"}), "bad: no such master"),
        tag(json!({"mtu": 1500}), "bad: mtu above its master's"),
        in_vrf(v4(), json!({"vrfname": null}), "bad: no vrfname"),
        in_vrf(v4(), json!({"vrfname": 7}), "bad: vrfname is a number"),
        in_vrf(v4(), json!({"table": -1}), "bad: table of -1"),
        in_vrf(v4(), json!({"table": "x"}), "bad: table in words"),
        alone,
    ]
}

/// What an ipvlan in a chain has: neither master nor addresses, but a result with these
/// interfaces.
pub(super) fn behind(links: &[&str]) -> Value {
    let links: Vec<Value> = links.iter().map(|name| json!({"name": name})).collect();
    json!({"master": null, "ipam": {}, "prevResult": {"cniVersion": "1.0.0", "interfaces": links,
        "ips": [{"address": "10.77.0.5/24", "gateway": "10.77.0.1", "interface": 0}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.77.0.1"}]}})
}

/// vrf behind a ptp.
pub(super) fn in_vrf(ipam: Value, more: Value, label: &str) -> Case {
    let vrf = conf("1.0.0", "vrf", with(json!({"vrfname": "blue"}), more));
    let before = vec![conf("1.0.0", "ptp", json!({"ipam": ipam}))];
    Case { before, ..Case::new(vrf, label) }
}
