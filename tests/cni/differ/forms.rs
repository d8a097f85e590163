//! Cases of keys with a value of another form than theirs, and of values that are odd: for
//! bridge, ptp and loopback. Where netsetup is stricter than the reference, it shows here.

use serde_json::{Value, json};

use super::cases::{Case, br, conf, dual, leases, v4};

/// All cases of this file.
pub(super) fn all() -> Vec<Case> {
    [of_other_forms(), asked(), odd(), ptp(), loopback()].concat()
}

fn one(more: Value, label: &str) -> Case {
    Case::new(br("1.0.0", more), label)
}

/// The bridge's keys that are true or false, as words.
fn of_other_forms() -> Vec<Case> {
    let flags = [
        "isDefaultGateway",
        "ipMasq",
        "hairpinMode",
        "promiscMode",
        "preserveDefaultVlan",
        "enabledad",
        "portIsolation",
        "disableContainerInterface",
    ];
    let flags = flags.map(|key| one(json!({key: "x"}), &format!("bad: {key} in words")));
    let mut all = flags.to_vec();
    all.extend([
        one(json!({"ipMasq": true, "ipMasqBackend": "x"}), "bad: ipMasqBackend"),
        one(json!({"ipMasq": true, "ipMasqBackend": 7}), "bad: ipMasqBackend is a number"),
        one(json!({"vlanTrunk": "x"}), "bad: vlanTrunk in words"),
        one(
            json!({"vlanTrunk": [{"minID": 20, "maxID": 10}]}),
            "bad: vlanTrunk the wrong way round",
        ),
        one(json!({"vlanTrunk": [{"minID": 20}]}), "bad: vlanTrunk without an end"),
        one(json!({"vlan": 5, "vlanTrunk": [{"id": 7}]}), "bad: vlan beside vlanTrunk, none here"),
        one(json!({"bridge": 7}), "bad: bridge's name is a number"),
        one(json!({"bridge": ""}), "bad: no name for the bridge"),
    ]);
    all
}

/// What a runtime asks for, of another form.
fn asked() -> Vec<Case> {
    vec![
        one(json!({"args": "x"}), "bad: args in words"),
        one(json!({"args": {"cni": "x"}}), "bad: args.cni in words"),
        one(json!({"args": {"cni": {"mac": 7}}}), "bad: mac of args is a number"),
        one(json!({"runtimeConfig": "x"}), "bad: runtimeConfig in words"),
        one(json!({"runtimeConfig": {"mac": 7}}), "bad: mac of runtimeConfig is a number"),
        one(json!({"capabilities": "x"}), "bad: capabilities in words"),
        one(json!({"capabilities": {"mac": "x"}}), "bad: a capability in words"),
        one(json!({"dns": "x"}), "bad: dns in words"),
        one(json!({"dns": {"domain": 7}}), "bad: domain is a number"),
        one(json!({"ipam": {"type": 7}}), "bad: ipam's type is a number"),
    ]
}

/// What one may write, and does so seldom.
fn odd() -> Vec<Case> {
    let text =
        |text: &'static str, label: &str| Case { stdin: Some(text), ..one(json!({}), label) };
    let resolv = json!({"ranges": [[{"subnet": "10.77.0.0/24"}]], "resolvConf": "/run/resolv"});
    vec![
        one(json!({"ipam": leases(resolv)}), "dns of ipam")
            .given("printf 'nameserver 10.77.0.1\\nsearch a\\n' >/run/resolv"),
        one(json!({"mtu": 1000, "ipam": dual()}), "odd: mtu of 1000 beside IPv6"),
        one(json!({"bridge": "br%d"}), "odd: bridge's name with a percent sign"),
        one(json!({"bridge": "all"}), "odd: a bridge called all"),
        one(json!({"bridge": "default"}), "odd: a bridge called default"),
        one(
            json!({"disableContainerInterface": true}),
            "odd: disableContainerInterface beside ipam",
        ),
        text(
            r#"{"cniVersion": "1.0.0", "name": "net", "type": "bridge", "bridge": "br-one",
                "bridge": "br-cni", "ipam": {}}"#,
            "odd: a key twice",
        ),
        one(json!({}), "odd: IP and MAC of CNI_ARGS")
            .args("IgnoreUnknown=1;IP=10.77.0.9;MAC=02:00:00:00:00:01"),
    ]
}

fn ptp() -> Vec<Case> {
    let p = |more: Value, label: &str| Case::new(conf("1.0.0", "ptp", more), label);
    let mac = "02:00:00:00:00:01";
    vec![
        p(json!({"ipam": v4()}), "IP of CNI_ARGS").args("IP=10.77.0.9"),
        p(json!({"ipam": v4()}), "MAC of CNI_ARGS").args("IgnoreUnknown=1;MAC=02:00:00:00:00:01"),
        p(json!({"ipam": v4(), "runtimeConfig": {"mac": mac}}), "mac of runtimeConfig"),
        p(json!({"ipam": v4(), "args": {"cni": {"mac": mac}}}), "mac of args"),
        p(json!({"ipam": v4(), "ipMasqBackend": "x", "ipMasq": true}), "bad: ipMasqBackend"),
        p(json!({"ipam": "x"}), "bad: ipam in words"),
        p(json!({"ipam": {"type": "static", "addresses": []}}), "bad: no address"),
    ]
}

/// loopback answers with what came before it.
fn loopback() -> Vec<Case> {
    let lo = |more: Value, label: &str| Case::new(conf("1.0.0", "loopback", more), label);
    let before = json!({"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/run/netns/pod"}],
        "ips": [{"address": "10.77.0.9/24", "gateway": "10.77.0.1", "interface": 0}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.77.0.1"}], "dns": {"nameservers": ["10.77.0.1"]}});
    vec![
        lo(json!({"prevResult": before}), "prevResult"),
        lo(json!({"prevResult": 7}), "bad: prevResult is a number"),
        lo(json!({}), "netns lost").lost(),
        lo(json!({}), "ADD twice").verbs(&["ADD", "ADD", "DEL"]),
        lo(json!({}), "bad: unknown CNI_ARGS").args("X=y"),
        lo(json!({}), "bad: CNI_ARGS").args("X"),
    ]
}
