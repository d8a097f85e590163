//! More cases of the address managers: what is asked for, and what makes no sense.

use serde_json::{Value, json};

use super::super::call::with;
use super::cases::{Case, VERSIONS, conf, leases};

/// All cases of this file.
pub(super) fn all() -> Vec<Case> {
    [asked(), bad(), odd(), statics()].concat()
}

fn lease(ipam: Value, more: Value, label: &str) -> Case {
    Case::new(with(conf("1.0.0", "host-local", json!({"ipam": ipam})), more), label)
}

fn flat() -> Value {
    leases(json!({"subnet": "10.77.0.0/24"}))
}

/// What a runtime asks for that can't be.
fn asked() -> Vec<Case> {
    let runtime = |more: Value, label: &str| lease(flat(), json!({"runtimeConfig": more}), label);
    let args = |more: Value, label: &str| lease(flat(), json!({"args": {"cni": more}}), label);
    let ranges = |more: Value, label: &str| runtime(json!({"ipRanges": more}), label);
    vec![
        runtime(json!({"ips": ["x"]}), "bad: ips of runtimeConfig"),
        runtime(json!({"ips": "x"}), "bad: ips of runtimeConfig in words"),
        runtime(json!({"ips": ["10.81.0.1"]}), "bad: ips of runtimeConfig elsewhere"),
        runtime(json!({"ips": ["fd77::9"]}), "bad: ips of runtimeConfig of another family"),
        args(json!({"ips": ["x"]}), "bad: ips of args"),
        args(json!({"ips": "x"}), "bad: ips of args in words"),
        ranges(json!("x"), "bad: ipRanges in words"),
        ranges(json!([[]]), "bad: ipRanges with an empty set"),
        ranges(json!([[{"subnet": "x"}]]), "bad: ipRanges in other words"),
        ranges(json!([[{"subnet": "10.77.0.0/25"}]]), "bad: ipRanges overlap"),
    ]
}

fn bad() -> Vec<Case> {
    let keys = [
        ("an IPv6 subnet", json!({"subnet": "fd77::/129"})),
        ("an IPv6 address", json!({"subnet": "fd77::/64", "rangeStart": "fd77::g"})),
        ("rangeStart of IPv6 elsewhere", json!({"subnet": "fd77::/64", "rangeStart": "fd78::1"})),
        ("an IPv6 subnet with host bits", json!({"subnet": "fd77::1/64"})),
        ("a small IPv6 subnet", json!({"subnet": "fd77::/127"})),
        (
            "rangeStart of another family",
            json!({"subnet": "10.77.0.0/24", "rangeStart": "fd77::9"}),
        ),
        ("dataDir is a number", json!({"subnet": "10.77.0.0/24", "dataDir": 7})),
        ("dataDir is a file", json!({"subnet": "10.77.0.0/24", "dataDir": "/etc/hostname"})),
        ("subnet is a number", json!({"subnet": 7})),
        ("resolvConf is a number", json!({"subnet": "10.77.0.0/24", "resolvConf": 7})),
        ("routes in words", json!({"subnet": "10.77.0.0/24", "routes": "x"})),
        ("a range without a subnet", json!({"ranges": [[{"rangeStart": "10.77.0.9"}]]})),
    ];
    keys.into_iter()
        .map(|(label, more)| lease(leases(more), json!({}), &format!("bad: {label}")))
        .collect()
}

/// What one may write, and does so seldom.
fn odd() -> Vec<Case> {
    let routes = |list: Value| json!({"subnet": "10.77.0.0/24", "routes": list});
    let range = json!([[{"subnet": "10.77.0.0/24"}]]);
    let keys = [
        (
            "gateway outside of the subnet",
            json!({"subnet": "10.77.0.0/24", "gateway": "10.99.0.1"}),
        ),
        ("gateway of another family", json!({"subnet": "10.77.0.0/24", "gateway": "fd77::1"})),
        (
            "two routes to one destination",
            routes(json!([{"dst": "10.9.0.0/16"}, {"dst": "10.9.0.0/16"}])),
        ),
        ("a route's host bits", routes(json!([{"dst": "10.9.0.1/16"}]))),
        ("a route of another family", routes(json!([{"dst": "fd99::/64"}]))),
        ("rangeStart beside ranges", json!({"ranges": range, "rangeStart": "10.77.0.9"})),
        ("gateway beside ranges", json!({"ranges": range, "gateway": "10.77.0.9"})),
        ("a subnet of all", json!({"subnet": "0.0.0.0/0"})),
        ("a subnet of loopback", json!({"subnet": "127.0.0.0/8"})),
        ("a subnet of multicast", json!({"subnet": "224.0.0.0/24"})),
    ];
    let mut all: Vec<Case> = keys
        .into_iter()
        .map(|(label, more)| lease(leases(more), json!({}), &format!("odd: {label}")))
        .collect();
    all.push(lease(
        with(flat(), json!({"dataDir": "run/here"})),
        json!({}),
        "odd: a relative dataDir",
    ));
    all
}

fn statics() -> Vec<Case> {
    let of = |version: &str, more: Value, label: &str| {
        let ipam = json!({"type": "static", "addresses": [{"address": "10.77.0.9/24"}]});
        Case::new(conf(version, "static", json!({"ipam": with(ipam, more)})), label)
    };
    let one = |more: Value, label: &str| of("1.0.0", more, label);
    let mut all: Vec<Case> = VERSIONS
        .iter()
        .map(|v| of(v, json!({}), "IP of CNI_ARGS beside one").args("IP=10.77.0.10/24"))
        .collect();
    all.extend([
        one(json!({}), "bad: unknown CNI_ARGS").args("X=y"),
        one(json!({}), "unknown CNI_ARGS, ignored").args("IgnoreUnknown=1;X=y"),
        one(json!({"dns": "x"}), "bad: dns in words"),
        one(json!({"dns": {"nameservers": 7}}), "bad: nameservers is a number"),
        one(json!({"dns": {"nameservers": ["x"]}}), "odd: nameservers are no addresses"),
        one(json!({"addresses": [{}]}), "bad: an empty entry"),
        one(json!({"addresses": [{"address": "0.0.0.0/0"}]}), "odd: an address of all"),
        one(json!({"routes": [{"dst": "10.9.0.0/16", "gw": "x"}]}), "bad: a route's gw"),
        one(
            json!({"addresses": [{"address": "10.77.0.9/24", "gateway": "10.99.0.1"}]}),
            "odd: gateway outside of the subnet",
        ),
        one(json!({}), "netns lost").lost(),
        one(json!({}), "ADD twice").verbs(&["ADD", "ADD", "DEL"]),
    ]);
    all
}
