//! Cases where somebody took away or changed what ADD had made: what CHECK says then, and
//! whether DEL still takes away the rest. And DEL alone, where there is nothing at all.

use serde_json::{Value, json};

use super::cases::{Case, br, conf, leases, v4};
use super::chained::after;

/// All cases of this file.
pub(super) fn all() -> Vec<Case> {
    [bridge(), ptp(), alone(), chained(), del_alone()].concat()
}

/// A part of a line of [`bridge`] or [`ptp`]: the host's end of the pod's veth.
const PORT: &str = "$(ip -br link show type veth | grep -v ^up0 | cut -d@ -f1)";

fn each(make: impl Fn(&str) -> Case, harms: &[(&str, &str)]) -> Vec<Case> {
    harms.iter().map(|(label, harm)| make(&format!("harmed: {label}")).harm(harm)).collect()
}

fn bridge() -> Vec<Case> {
    let more = json!({"isGateway": true, "ipMasq": true, "hairpinMode": true});
    each(
        |label| Case::new(br("1.0.0", more.clone()), label),
        &[
            ("eth0 is gone", "ip -n pod link del eth0"),
            ("no address", "ip -n pod addr flush dev eth0"),
            (
                "another address",
                "ip -n pod addr flush dev eth0; ip -n pod addr add 10.77.0.9/24 dev eth0",
            ),
            ("no default route", "ip -n pod route del default"),
            ("another MAC", "ip -n pod link set eth0 address 02:00:00:00:00:77"),
            ("the port left its bridge", &format!("ip link set {PORT} nomaster")),
            ("the bridge is gone", "ip link del br-cni"),
            ("no gateway", "ip addr flush dev br-cni"),
            ("no rules", "nft flush ruleset"),
            ("no lease", "rm /run/rootless/leases/net/10.77.0.2"),
        ],
    )
}

fn ptp() -> Vec<Case> {
    each(
        |label| Case::new(conf("1.0.0", "ptp", json!({"ipam": v4(), "ipMasq": true})), label),
        &[
            ("eth0 is gone", "ip -n pod link del eth0"),
            ("no address", "ip -n pod addr flush dev eth0"),
            ("no default route", "ip -n pod route del default"),
            ("no route to the pod", "ip route del 10.77.0.2"),
            ("no rules", "nft flush ruleset"),
        ],
    )
}

/// Plugins that stand alone.
fn alone() -> Vec<Case> {
    let lo = |label: &str| Case::new(conf("1.0.0", "loopback", json!({})), label);
    let ipam = leases(json!({"subnet": "10.77.0.0/24"}));
    let lease = |label: &str| Case::new(conf("1.0.0", "host-local", json!({"ipam": ipam})), label);
    [
        each(lo, &[("lo is down", "ip -n pod link set lo down")]),
        each(
            lease,
            &[
                ("no lease", "rm /run/rootless/leases/net/10.77.0.2"),
                ("another's lease", "printf 'x\\r\\neth0' >/run/rootless/leases/net/10.77.0.2"),
                ("an empty lease", ": >/run/rootless/leases/net/10.77.0.2"),
                ("no leases at all", "rm -r /run/rootless/leases/net"),
            ],
        ),
    ]
    .concat()
}

fn chained() -> Vec<Case> {
    let port = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]);
    let published = json!({"runtimeConfig": {"portMappings": port}});
    let tuned = json!({"mtu": 1400, "promisc": true, "mac": "02:00:00:00:00:01",
                       "sysctl": {"net.core.somaxconn": "77"}});
    let of = |kind: &'static str, more: Value| {
        move |label: &str| after("1.0.0", kind, more.clone(), label)
    };
    [
        each(
            of("portmap", published),
            &[
                ("no rules", "nft flush ruleset"),
                ("no route_localnet", "sysctl -qw net.ipv4.conf.br-cni.route_localnet=0"),
            ],
        ),
        each(
            |label| of("firewall", json!({}))(label).given("iptables -P FORWARD DROP"),
            &[("no rules", "nft flush ruleset; iptables -P FORWARD DROP")],
        ),
        each(
            of("tuning", tuned),
            &[
                ("another mtu", "ip -n pod link set eth0 mtu 1300"),
                ("another MAC", "ip -n pod link set eth0 address 02:00:00:00:00:77"),
                ("another sysctl", "ip netns exec pod sysctl -qw net.core.somaxconn=99"),
                ("eth0 is gone", "ip -n pod link del eth0"),
            ],
        ),
    ]
    .concat()
}

/// Nothing was added, or nobody knows any more what.
fn del_alone() -> Vec<Case> {
    let chained = |kind: &str| after("1.0.0", kind, json!({}), "DEL alone");
    let alone = [
        br("1.0.0", json!({"isGateway": true, "ipMasq": true})),
        conf("1.0.0", "ptp", json!({"ipam": v4(), "ipMasq": true})),
        conf("1.0.0", "loopback", json!({})),
        conf("1.0.0", "host-local", json!({"ipam": v4()})),
    ];
    let alone = alone.map(|conf| Case::new(conf, "DEL alone"));
    let chained = ["portmap", "firewall", "tuning"].map(chained);
    alone.into_iter().chain(chained).map(|case| case.verbs(&["DEL"])).collect()
}
