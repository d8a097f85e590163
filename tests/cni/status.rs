//! STATUS: what an ADD would say, without one.

use serde_json::{Value, json};

use super::call::{Plugins, answer, bridge, failed, ours, who, with};
use super::common::{Kind, dirs, ns_add, ns_del, sh, sh_out, told, world};

#[test]
fn status_tells_the_truth() {
    world(Kind::User, || {
        ns_add("a");
        let plugins = ours();
        let conf = with(bridge("1.1.0"), json!({"ipMasq": true}));
        assert_eq!(plugins.ok("STATUS", &who("a"), &conf), Value::Null);
        // One address for a pod, and it is given away.
        let tiny = json!({"type": "host-local", "subnet": "10.78.0.0/30"});
        let tiny = with(conf.clone(), json!({"ipam": tiny}));
        plugins.ok("ADD", &who("a"), &tiny);
        let (code, msg) = plugins.fails("STATUS", &who("a"), &tiny);
        assert_eq!(code, 50, "{msg}");
        assert!(msg.contains("none is free"), "{msg}");
        plugins.ok("DEL", &who("a"), &tiny);
        plugins.ok("STATUS", &who("a"), &tiny);
        sh("ip link add br-x type dummy 2>/dev/null || ip link add br-x type veth");
        let (code, msg) =
            plugins.fails("STATUS", &who("a"), &with(conf.clone(), json!({"bridge": "br-x"})));
        assert_eq!(code, 50, "{msg}");
        sh("ip link del br-cni");
        // With a pod that had its network by that bridge it is worse than that.
        plugins.ok("ADD", &who("a"), &conf);
        sh("ip link set br-cni name br-y && ip link set br-x name br-cni");
        let (code, msg) = plugins.fails("STATUS", &who("a"), &conf);
        assert_eq!(code, 51, "{msg}");
    });
}

/// A plugin's configuration.
fn conf(kind: &str, more: Value) -> Value {
    with(json!({"cniVersion": "1.1.0", "name": "net", "type": kind}), more)
}

fn ipam() -> Value {
    json!({"type": "host-local", "dataDir": super::call::lease_root(), "subnet": "10.79.0.0/24"})
}

/// What the host has.
fn host() -> String {
    let run = dirs().run.display().to_string();
    let (links, addrs) = ("ip -br link | cut -d' ' -f1", "ip -o -4 addr | cut -d' ' -f2,7");
    sh_out(&format!("{links}; {addrs}; nft list ruleset; find {run} 2>&1 || true"))
}

/// STATUS, and then ADD of the same for a pod: both succeed, or both fail and say the same. STATUS
/// changes nothing. Returns what they said.
#[track_caller]
fn as_add(plugins: &Plugins, conf: &Value) -> Option<String> {
    let kind = conf["type"].as_str().expect("a type");
    let before = host();
    let status = plugins.call(kind, "STATUS", &who("p"), conf);
    assert_eq!(host(), before, "{conf}");
    ns_add("p");
    let chained = ["portmap", "firewall", "tuning"].contains(&kind);
    let mut add = conf.clone();
    if chained {
        sh("ip -n p link add eth0 type veth peer name eth1");
        let ip = json!({"interface": 0, "address": "10.79.0.2/24"});
        let mapping = json!({"hostPort": 8080, "containerPort": 80, "protocol": "tcp"});
        let interface = json!({"name": "eth0", "sandbox": "/run/netns/p"});
        let prev = json!({"cniVersion": "1.1.0", "interfaces": [interface], "ips": [ip]});
        let runtime = json!({"portMappings": [mapping]});
        add = with(add, json!({"prevResult": prev, "runtimeConfig": runtime}));
    }
    let added = plugins.call(kind, "ADD", &who("p"), &add);
    plugins.ok("DEL", &who("p"), &add);
    ns_del("p");
    if added.status.success() {
        assert!(status.status.success(), "{}", told(&format!("STATUS {conf}"), &status));
        assert_eq!(answer(&status), Value::Null);
        return None;
    }
    let (_, reason) = failed(&format!("ADD {conf}"), &added);
    let (code, msg) = failed(&format!("STATUS {conf}"), &status);
    assert_eq!((code, &msg), (50, &reason), "{conf}");
    Some(msg)
}

/// Where ADD fails for whatever pod, STATUS says why; where it works, STATUS says nothing.
#[test]
fn status_says_what_an_add_would() {
    world(Kind::User, || {
        let plugins = ours();
        let check = |conf: Value, says: Option<&str>| match (as_add(&plugins, &conf), says) {
            (Some(msg), Some(says)) => assert!(msg.contains(says), "{conf}: {msg}"),
            (said, says) => assert_eq!(said.as_deref(), says, "{conf}"),
        };
        let gateway = |more: Value| {
            let base = json!({"bridge": "br-x", "isGateway": true, "ipam": ipam()});
            conf("bridge", with(base, more))
        };
        sh("ip link add br-x up type bridge && ip addr add 10.5.0.1/16 dev br-x");
        check(gateway(json!({})), Some("already has the address 10.5.0.1/16"));
        check(gateway(json!({"isGateway": false})), None);
        check(gateway(json!({"isGateway": false, "vlan": 5})), Some("br-x"));
        check(gateway(json!({"forceAddress": true})), None);
        // Whether this kernel filters VLANs is for both to find out.
        as_add(&plugins, &gateway(json!({"bridge": "br-new", "vlan": 5})));
        sh("ip link del br-new 2>/dev/null; ip link del br-x");
        let macvlan = || conf("macvlan", json!({"master": "under", "ipam": ipam()}));
        let lent = || conf("host-device", json!({"device": "under"}));
        check(macvlan(), Some("find master under: there is no such link"));
        check(lent(), Some("find the host's device under"));
        sh("ip link add under type veth peer name other");
        check(macvlan(), None);
        check(lent(), None);
        check(conf("ptp", json!({"ipMasq": true, "ipam": ipam()})), None);
        let one = json!({"type": "host-local", "dataDir": super::call::lease_root(), "subnet": "10.79.1.0/30"});
        check(conf("ptp", json!({"ipam": one})), None);
        for kind in ["portmap", "firewall"] {
            check(conf(kind, json!({})), None);
        }
        let marks = || conf("portmap", json!({"externalSetMarkChain": "KUBE-MARK-MASQ"}));
        check(marks(), Some("KUBE-MARK-MASQ"));
        sh(
            "iptables -t nat -N KUBE-MARK-MASQ && iptables -t nat -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
        );
        check(marks(), None);
        let sysctl = |key: &str| conf("tuning", json!({"sysctl": {key: "1"}, "mtu": 1400}));
        check(sysctl("net.ipv4.conf.IFNAME.arp_filter"), None);
        check(sysctl("net.ipv4.conf.IFNAME.no_such"), Some("no such sysctl"));
    });
}

/// Address managers by their own names; a lent device is away, which limits nobody.
#[test]
fn status_where_pods_have_it_all() {
    world(Kind::User, || {
        let plugins = ours();
        let one = json!({"type": "host-local", "dataDir": super::call::lease_root(), "subnet": "10.79.1.0/30"});
        let local = conf("host-local", json!({"ipam": one}));
        plugins.ok("STATUS", &who("a"), &local);
        plugins.ok("ADD", &who("a"), &local);
        for kind in ["host-local", "ptp"] {
            let (code, msg) =
                plugins.fails("STATUS", &who("a"), &with(local.clone(), json!({"type": kind})));
            assert!(code == 50 && msg.contains("none is free"), "{kind}: {code}: {msg}");
        }
        plugins.ok("DEL", &who("a"), &local);
        plugins.ok("STATUS", &who("a"), &local);
        let fixed = json!({"type": "static", "addresses": [{"address": "10.1.0.5/24"}]});
        plugins.ok("STATUS", &who("a"), &conf("static", json!({"ipam": fixed})));
        sh("ip link add under type veth peer name other");
        ns_add("a");
        let lent = conf("host-device", json!({"device": "under"}));
        plugins.ok("ADD", &who("a"), &lent);
        let (code, msg) = plugins.fails("STATUS", &who("b"), &lent);
        assert!(code == 50 && msg.contains("under"), "{code}: {msg}");
        plugins.ok("DEL", &who("a"), &lent);
        plugins.ok("STATUS", &who("b"), &lent);
        // A pod's macvlan has gone with its master.
        let macvlan = conf("macvlan", json!({"master": "under"}));
        plugins.ok("ADD", &who("a"), &macvlan);
        sh("ip link del under");
        let (code, msg) = plugins.fails("STATUS", &who("b"), &macvlan);
        assert!(code == 51 && msg.contains("under"), "{code}: {msg}");
    });
}
