//! Cases of the plugins that add to an interface: portmap and tuning, after a bridge.

use serde_json::{Value, json};

use super::super::call::with;
use super::super::common::dirs;
use super::cases::{Case, br, conf};

/// All cases of this file.
pub(super) fn all() -> Vec<Case> {
    [portmap(), portmap_bad(), tuning(), tuning_bad()].concat()
}

/// A plugin after a bridge.
pub(super) fn after(version: &str, kind: &str, more: Value, label: &str) -> Case {
    let bridge = br(version, json!({"isGateway": true, "dns": {"nameservers": ["10.77.0.1"]}}));
    Case { before: vec![bridge], ..Case::new(conf(version, kind, more), label) }
}

fn ports(mappings: Value, more: Value, label: &str) -> Case {
    let asked = json!({"capabilities": {"portMappings": true}, "runtimeConfig": {"portMappings": mappings}});
    after("1.0.0", "portmap", with(asked, more), label)
}

fn tcp() -> Value {
    json!({"hostPort": 8080, "containerPort": 80, "protocol": "tcp"})
}

fn portmap() -> Vec<Case> {
    let mapping = |more: Value| json!([with(tcp(), more)]);
    let mut all: Vec<Case> = ["0.3.0", "0.3.1", "0.4.0", "1.0.0"]
        .iter()
        .map(|v| after(v, "portmap", json!({"runtimeConfig": {"portMappings": [tcp()]}}), "tcp"))
        .collect();
    all.extend([
        ports(mapping(json!({"protocol": "udp"})), json!({}), "udp"),
        ports(mapping(json!({"protocol": "sctp"})), json!({}), "sctp"),
        ports(mapping(json!({"protocol": "TCP"})), json!({}), "TCP"),
        ports(mapping(json!({"hostIP": "198.18.0.1"})), json!({}), "hostIP"),
        ports(mapping(json!({"hostIP": "127.0.0.1"})), json!({}), "hostIP of localhost"),
        ports(mapping(json!({"hostIP": "0.0.0.0"})), json!({}), "hostIP of all"),
        ports(mapping(json!({"hostIP": "::"})), json!({}), "hostIP of the other family"),
        ports(
            json!([tcp(), {"hostPort": 8081, "containerPort": 81, "protocol": "udp"}]),
            json!({}),
            "two",
        ),
        ports(
            json!([tcp(), {"hostPort": 8080, "containerPort": 80, "protocol": "udp"}]),
            json!({}),
            "a port of both protocols",
        ),
        ports(json!([]), json!({}), "none"),
        ports(json!(null), json!({}), "null"),
        ports(mapping(json!({"hostPort": 0})), json!({}), "hostPort of 0"),
        ports(mapping(json!({})), json!({"snat": false}), "no snat"),
        ports(mapping(json!({})), json!({"masqAll": true}), "masqAll"),
        ports(mapping(json!({})), json!({"backend": "iptables"}), "backend"),
        after("1.0.0", "portmap", json!({}), "no runtimeConfig"),
        Case { lost: true, ..ports(mapping(json!({})), json!({}), "netns lost") },
        ports(
            mapping(json!({})),
            json!({"conditionsV6": ["-s", "fd77::/64"]}),
            "conditionsV6 beside IPv4",
        ),
        ports(mapping(json!({})), json!({}), "ADD twice").verbs(&["ADD", "ADD", "DEL"]),
    ]);
    all.extend(conditions().into_iter().chain(marks()));
    all
}

/// Conditions of a port, as words of iptables.
fn conditions() -> Vec<Case> {
    let given = [
        "-s 198.18.0.0/24",
        "-s 198.18.0.2,10.77.0.0/24",
        "! -d 10.0.0.0/8",
        "-d 198.18.0.1 -i up+",
        "-o lo",
        "! -s 198.18.0.2 ! -i lo",
        "-m addrtype ! --src-type LOCAL",
        "-m iprange --src-range 198.18.0.2-198.18.0.9",
        "-m mark ! --mark 0x1/0x3 -m tcp --sport 1024: -m comment --comment x",
    ];
    let case = |words: &&str| {
        let words: Vec<&str> = words.split(' ').collect();
        let label = format!("conditionsV4 {}", words.join(" "));
        ports(json!([tcp()]), json!({"conditionsV4": words}), &label)
    };
    given.iter().map(case).collect()
}

/// A chain as Kubernetes has it, for which somebody else masquerades: with another address
/// than the link's, so that it shows who did.
const MARK_CHAIN: &str = "ip addr add 10.77.0.99/32 dev lo
    iptables -t nat -N X; iptables -t nat -A X -j MARK --or-mark 0x4000
    iptables -t nat -A POSTROUTING -m mark --mark 0x4000/0x4000 -j SNAT --to-source 10.77.0.99";
/// Whoever drops what has the mark shows that it is there.
const DROP_MARKED: &str = "iptables -t mangle -A POSTROUTING -m mark --mark 0x80/0x80 -j DROP";
/// Another program's mark, of which only the other bits may change.
const OTHER_MARKS: &str = "iptables -t mangle -A PREROUTING -j MARK --or-mark 0x100
    iptables -t mangle -A POSTROUTING -o br-cni -m mark ! --mark 0x100/0x100 -s 10.77.0.0/24 -j DROP";

fn marks() -> Vec<Case> {
    let case = |more: Value, label: &str| ports(json!([tcp()]), more, label);
    let bit = json!({"markMasqBit": 7});
    let chain = json!({"externalSetMarkChain": "X"});
    vec![
        case(bit.clone(), "markMasqBit"),
        case(bit.clone(), "markMasqBit, others drop it").given(DROP_MARKED),
        case(bit.clone(), "markMasqBit beside other marks").given(OTHER_MARKS),
        case(with(bit.clone(), json!({"snat": false})), "markMasqBit, no snat").given(DROP_MARKED),
        case(
            with(bit, json!({"conditionsV4": ["-s", "10.77.0.0/16"]})),
            "markMasqBit, conditionsV4",
        )
        .given(DROP_MARKED),
        case(chain.clone(), "externalSetMarkChain").given(MARK_CHAIN),
        case(with(chain.clone(), json!({"snat": false})), "externalSetMarkChain, no snat")
            .given(MARK_CHAIN),
        case(
            with(chain.clone(), json!({"conditionsV4": ["-s", "10.77.0.0/16"]})),
            "externalSetMarkChain, conditionsV4",
        )
        .given(MARK_CHAIN),
        ports(
            json!([{"hostPort": 8080, "containerPort": 80, "protocol": "udp"}]),
            chain.clone(),
            "externalSetMarkChain, udp",
        )
        .given(MARK_CHAIN),
        case(chain, "bad: externalSetMarkChain without its chain"),
        case(json!({"externalSetMarkChain": "X"}), "bad: externalSetMarkChain that does more")
            .given("iptables -t nat -N X; iptables -t nat -A X -j RETURN"),
    ]
}

fn portmap_bad() -> Vec<Case> {
    let mapping = |more: Value| json!([with(tcp(), more)]);
    let bad = |more: Value, label: &str| ports(mapping(more), json!({}), &format!("bad: {label}"));
    let mut all = vec![
        bad(json!({"hostPort": 70000}), "hostPort of 70000"),
        bad(json!({"hostPort": -1}), "hostPort of -1"),
        bad(json!({"containerPort": 0}), "containerPort of 0"),
        bad(json!({"containerPort": 70000}), "containerPort of 70000"),
        bad(json!({"protocol": "x"}), "protocol"),
        bad(json!({"protocol": ""}), "no protocol"),
        bad(json!({"hostIP": "x"}), "hostIP"),
        bad(json!({"hostPort": "x"}), "hostPort in words"),
        ports(mapping(json!({})), json!({"snat": "x"}), "bad: snat in words"),
        ports(mapping(json!({})), json!({"conditionsV4": "x"}), "bad: conditionsV4 in words"),
        ports(mapping(json!({})), json!({"markMasqBit": -1}), "bad: markMasqBit of -1"),
        ports(mapping(json!({})), json!({"backend": "x"}), "bad: backend"),
        ports(mapping(json!({})), json!({"markMasqBit": 32}), "bad: markMasqBit"),
        ports(
            mapping(json!({})),
            json!({"markMasqBit": 7, "externalSetMarkChain": "X"}),
            "bad: both marks",
        ),
        ports(json!([tcp(), tcp()]), json!({}), "bad: the same twice"),
        ports(json!("x"), json!({}), "bad: portMappings in words"),
        ports(mapping(json!({})), json!({"conditionsV4": ["-x"]}), "bad: condition"),
        ports(mapping(json!({})), json!({"conditionsV4": ["-s"]}), "bad: condition without value"),
        ports(
            mapping(json!({})),
            json!({"conditionsV4": ["-m", "set", "--match-set", "x", "src"]}),
            "bad: condition of another set",
        ),
    ];
    let mut alone = ports(mapping(json!({})), json!({}), "bad: no prevResult");
    alone.before = Vec::new();
    all.push(alone);
    all
}

fn tune(more: Value, label: &str) -> Case {
    after("1.0.0", "tuning", more, label)
}

fn tuning() -> Vec<Case> {
    let mac = "02:00:00:00:00:01";
    let mut all: Vec<Case> = ["0.3.0", "0.3.1", "0.4.0", "1.0.0"]
        .iter()
        .map(|v| after(v, "tuning", json!({"mtu": 1400}), "mtu"))
        .collect();
    all.extend([
        tune(json!({}), "plain"),
        tune(json!({"promisc": true}), "promisc"),
        tune(json!({"promisc": false}), "promisc off"),
        tune(json!({"allmulti": true}), "allmulti"),
        tune(json!({"mtu": 1400}), "mtu, netns lost").verbs(&["ADD", "DEL"]),
        tune(json!({"mac": mac}), "mac"),
        tune(json!({"runtimeConfig": {"mac": mac}}), "mac of runtimeConfig"),
        tune(json!({"args": {"cni": {"mac": mac}}}), "mac of args"),
        tune(json!({}), "mac of CNI_ARGS").args("IgnoreUnknown=1;MAC=02:00:00:00:00:01"),
        tune(json!({"sysctl": {"net.core.somaxconn": "77"}}), "sysctl"),
        tune(json!({"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}), "sysctl of IFNAME"),
        tune(json!({"sysctl": {"net/ipv4/conf/eth0/arp_filter": "1"}}), "sysctl with slashes"),
        tune(json!({"sysctl": {"net.ipv4.conf.all.arp_filter": "1", "net.ipv4.conf.eth0.arp_announce": "2"}}), "two sysctls"),
        tune(json!({"sysctl": {}}), "no sysctl"),
        tune(json!({"dataDir": "/run/tuning"}), "dataDir"),
        tune(json!({"dataDir": dirs().leases, "mtu": 1400}), "dataDir with a value"),
        tune(json!({"dataDir": "/etc/hostname", "mtu": 1400}), "dataDir is a file"),
        tune(json!({"dataDir": "tuning", "mtu": 1400}), "dataDir of no root"),
        tune(json!({"txQLen": 500}), "txQLen"),
        tune(json!({"mtu": 1400, "promisc": true}), "netns lost").lost(),
        tune(json!({"mtu": 1400}), "ADD twice").verbs(&["ADD", "ADD", "DEL"]),
        tune(json!({"mtu": 0}), "mtu of 0"),
    ]);
    all
}

fn tuning_bad() -> Vec<Case> {
    let mut all = vec![
        tune(json!({"sysctl": {"net.none.such": "1"}}), "bad: no such sysctl"),
        tune(json!({"sysctl": {"kernel.hostname": "x"}}), "bad: a sysctl of the host"),
        tune(json!({"sysctl": {"net.core.somaxconn": "x"}}), "bad: a sysctl's value"),
        tune(json!({"sysctl": {"net.ipv4/../../kernel.hostname": "1"}}), "bad: a sysctl's path"),
        tune(json!({"sysctl": {"net.core.somaxconn": 77}}), "bad: a sysctl's value is a number"),
        tune(json!({"mac": "x"}), "bad: mac"),
        tune(json!({"mtu": -1}), "bad: mtu of -1"),
        tune(json!({"mtu": 99_999_999}), "bad: mtu of 99999999"),
        tune(json!({"promisc": "x"}), "bad: promisc in words"),
        tune(json!({"sysctl": "x"}), "bad: sysctl in words"),
        tune(json!({"txQLen": -1}), "bad: txQLen of -1"),
    ];
    let mut alone = tune(json!({"mtu": 1400}), "bad: no prevResult");
    alone.before = Vec::new();
    all.push(alone);
    all
}
