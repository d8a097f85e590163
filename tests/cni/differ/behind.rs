//! More cases of plugins that add to an interface: behind a ptp, in IPv6, in old versions,
//! with values of other forms, and DEL by one that has forgotten the result.

use serde_json::{Value, json};

use super::super::call::with;
use super::cases::{Case, br, conf, dual, v4};
use super::chained::after;
use super::firewall::DROP;

/// All cases of this file.
pub(super) fn all() -> Vec<Case> {
    [ptp(), six(), old(), portmap(), tuning(), firewall(), again()].concat()
}

fn port(more: Value) -> Value {
    json!({"runtimeConfig": {"portMappings": [
        with(json!({"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}), more)]}})
}

/// The chain of some clouds' nodes.
fn ptp() -> Vec<Case> {
    let behind = |kind: &str, more: Value, label: &str| {
        let ptp = conf("1.0.0", "ptp", json!({"ipam": v4()}));
        Case { before: vec![ptp], ..Case::new(conf("1.0.0", kind, more), label) }
    };
    let mut tcp = port(json!({}));
    tcp["snat"] = json!(true);
    vec![
        behind("portmap", tcp.clone(), "behind ptp"),
        behind("portmap", tcp, "behind ptp, netns lost").lost(),
        behind("tuning", json!({"mtu": 1400}), "behind ptp"),
        behind("firewall", json!({}), "behind ptp").given(DROP),
    ]
}

/// A plugin behind a bridge with these addresses.
fn on(ipam: Value, kind: &str, more: Value, label: &str) -> Case {
    let mut case = after("1.0.0", kind, more, label);
    case.before[0] = with(case.before[0].clone(), json!({"ipam": ipam}));
    case
}

/// A chain of each family, for which somebody else masquerades, with another address than the
/// link's.
const MARK_CHAINS: &str = "ip addr add 10.77.0.99/32 dev lo; ip addr add fd77::99/128 dev lo nodad
    for t in iptables ip6tables; do $t -t nat -N X; $t -t nat -A X -j MARK --or-mark 0x4000; done
    iptables -t nat -A POSTROUTING -m mark --mark 0x4000/0x4000 -j SNAT --to-source 10.77.0.99
    ip6tables -t nat -A POSTROUTING -m mark --mark 0x4000/0x4000 -j SNAT --to-source fd77::99";

/// Ports of IPv6, and of both families.
fn six() -> Vec<Case> {
    let both = |more: Value, label: &str| on(dual(), "portmap", with(port(json!({})), more), label);
    let at = |ip: &str, label: &str| on(dual(), "portmap", port(json!({"hostIP": ip})), label);
    vec![
        both(json!({}), "two families"),
        both(json!({"snat": false}), "two families, no snat"),
        both(json!({"markMasqBit": 7}), "two families, markMasqBit"),
        both(json!({"masqAll": true}), "two families, masqAll"),
        both(json!({"externalSetMarkChain": "X"}), "two families, externalSetMarkChain")
            .given(MARK_CHAINS),
        both(json!({"conditionsV6": ["-s", "2001:db8:18::/64"]}), "two families, conditionsV6"),
        both(
            json!({"conditionsV6": ["!", "-s", "2001:db8:18::/64"]}),
            "two families, conditionsV6 of others",
        ),
        at("2001:db8:18::1", "two families, hostIP"),
        at("::", "two families, hostIP of all"),
        on(dual(), "portmap", port(json!({"protocol": "udp"})), "two families, udp"),
        both(json!({"conditionsV6": "x"}), "bad: conditionsV6 in words"),
        both(json!({"conditionsV6": ["-s", "10.0.0.0/8"]}), "bad: conditionsV6 of IPv4"),
    ]
}

/// Versions whose results have no interfaces.
fn old() -> Vec<Case> {
    let mut all = Vec::new();
    for version in ["0.1.0", "0.2.0"] {
        let of = |kind: &str, more: Value| after(version, kind, more, "behind a bridge");
        all.push(of("portmap", port(json!({}))));
        all.push(of("tuning", json!({"mtu": 1400})));
        all.push(of("firewall", json!({})).given(DROP));
    }
    all.push(after("0.3.0", "firewall", json!({}), "plain").given(DROP));
    let two = json!({"prevResult": {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "x"}],
        "ips": [{"address": "10.77.0.5/24", "interface": 0}, {"address": "10.77.0.6/24", "interface": 0}]}});
    for (kind, more) in
        [("loopback", json!({})), ("tuning", json!({"sysctl": {"net.core.somaxconn": "77"}}))]
    {
        let conf = conf("0.2.0", kind, with(two.clone(), more));
        all.push(Case::new(conf, "bad: prevResult of two addresses"));
    }
    all
}

fn portmap() -> Vec<Case> {
    let of =
        |more: Value, label: &str| after("1.0.0", "portmap", with(port(json!({})), more), label);
    vec![
        of(json!({"backend": 7}), "bad: backend is a number"),
        of(json!({"masqAll": "x"}), "bad: masqAll in words"),
        of(json!({"markMasqBit": "x"}), "bad: markMasqBit in words"),
        of(json!({"externalSetMarkChain": 7}), "bad: externalSetMarkChain is a number"),
        of(json!({"runtimeConfig": "x"}), "bad: runtimeConfig in words"),
        of(json!({}), "unknown CNI_ARGS").args("X=y"),
        of(json!({}), "CNI_ARGS of another form").args("X"),
    ]
}

fn tuning() -> Vec<Case> {
    let of = |more: Value, label: &str| after("1.0.0", "tuning", more, label);
    let args = |more: Value| json!({"args": {"cni": more}});
    vec![
        of(args(json!({"sysctl": {"net.core.somaxconn": "77"}})), "sysctl of args"),
        of(args(json!({"mtu": 1400})), "mtu of args"),
        of(args(json!({"promisc": true})), "promisc of args"),
        of(args(json!({"allmulti": true})), "allmulti of args"),
        of(args(json!({"txQLen": 500})), "txQLen of args"),
        of(args(json!({"mtu": "x"})), "bad: mtu of args in words"),
        of(json!({"allmulti": "x"}), "bad: allmulti in words"),
        of(json!({"dataDir": 7}), "bad: dataDir is a number"),
        of(json!({"mtu": 1400}), "bad: unknown CNI_ARGS").args("X=y"),
        of(json!({"mtu": 1400}), "bad: CNI_ARGS").args("X"),
    ]
}

fn firewall() -> Vec<Case> {
    let of = |more: Value, label: &str| after("1.0.0", "firewall", more, label).given(DROP);
    let mut forgotten = of(json!({}), "DEL has no prevResult");
    forgotten.forgets = true;
    vec![
        of(json!({"iptablesAdminChainName": 7}), "bad: iptablesAdminChainName is a number"),
        of(json!({"iptablesAdminChainName": "a name"}), "bad: iptablesAdminChainName"),
        of(json!({"firewalldZone": 7}), "bad: firewalldZone is a number"),
        of(json!({}), "unknown CNI_ARGS").args("X=y"),
        of(json!({}), "CNI_ARGS of another form").args("X"),
        forgotten,
        Case {
            forgets: true,
            ..after("1.0.0", "portmap", port(json!({})), "DEL has no prevResult")
        },
        Case {
            forgets: true,
            ..after("1.0.0", "tuning", json!({"mtu": 1400}), "DEL has no prevResult")
        },
        Case {
            forgets: true,
            ..Case::new(
                br("1.0.0", json!({"isGateway": true, "ipMasq": true})),
                "DEL has no prevResult",
            )
        },
        Case {
            forgets: true,
            ..Case::new(
                conf("1.0.0", "ptp", json!({"ipam": v4(), "ipMasq": true})),
                "DEL has no prevResult",
            )
        },
    ]
}

/// ADD of what is there, as a runtime asks it that has forgotten: without the result, and by
/// the first plugin of a chain while the others' parts are there.
fn again() -> Vec<Case> {
    let twice = |case: Case| Case { forgets: true, ..case.verbs(&["ADD", "ADD", "DEL"]) };
    let label = "ADD twice, no prevResult";
    let bridge = br("1.0.0", json!({"isGateway": true, "ipMasq": true}));
    let ptp = conf("1.0.0", "ptp", json!({"ipam": v4(), "ipMasq": true}));
    let chained = |kind: &str, more: Value| after("1.0.0", kind, more, label);
    let tuned = json!({"mtu": 1400, "sysctl": {"net.core.somaxconn": "77"}});
    let behind = |first: &Value| {
        let before = vec![
            first.clone(),
            conf("1.0.0", "portmap", port(json!({}))),
            conf("1.0.0", "tuning", tuned.clone()),
        ];
        let case = Case::new(first.clone(), "ADD of a chain that is there").verbs(&["ADD"]);
        Case { before, ..case }
    };
    let chains = [behind(&bridge), behind(&ptp)];
    let all = [
        Case::new(bridge, label),
        Case::new(ptp, label),
        Case::new(conf("1.0.0", "loopback", json!({})), label),
        chained("portmap", port(json!({}))),
        chained("tuning", tuned.clone()),
        chained("firewall", json!({})).given(DROP),
    ];
    all.map(twice).into_iter().chain(chains).collect()
}
