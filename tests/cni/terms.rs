//! Ports that are published on terms: conditions, marks.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::call::{Plugins, bridge, ours, who, with};
use super::common::traffic::{tcp, tcp_server};
use super::common::{Kind, dirs, neighbour, ns_add, sh, sh_out, world};

const SHORT: Duration = Duration::from_millis(300);

/// portmap with these keys and port 8080, behind a result.
fn portmap(result: &Value, more: Value) -> Value {
    let mapping = json!({"hostPort": 8080, "containerPort": 80, "protocol": "tcp"});
    let base = json!({"cniVersion": "1.0.0", "name": "net", "type": "portmap",
        "runtimeConfig": {"portMappings": [mapping]}, "prevResult": result});
    with(base, more)
}

fn pod(plugins: &Plugins, name: &str) -> (super::common::Ns, Value) {
    let ns = ns_add(name);
    (ns, plugins.ok("ADD", &who(name), &bridge("1.0.0")))
}

fn table() -> String {
    sh_out("nft list table inet podkeel 2>&1 || true")
}

/// Two pods may have one port if their conditions tell packets apart; a third has what is
/// left. Both families.
#[test]
fn conditions_tell_packets_apart() {
    world(Kind::User, || {
        let (far, near, plugins) = (neighbour("far", 0), neighbour("near", 1), ours());
        let of = |far: &super::common::Neighbour| {
            json!({"conditionsV4": ["-s", format!("{}/32", far.v4)],
                   "conditionsV6": ["-s", format!("{}/128", far.v6)]})
        };
        let terms = [("a", of(&far)), ("b", of(&near)), ("c", json!({}))];
        let mut servers = Vec::new();
        let mut confs = Vec::new();
        for (name, more) in terms {
            let (ns, result) = pod(&plugins, name);
            for i in 0..2 {
                let ip = result["ips"][i]["address"].as_str().expect("an address");
                let ip = ip.split("/").next().expect("an address");
                let ip: IpAddr = ip.parse().expect("an address");
                servers.push(tcp_server(&ns, name, ip, 80));
            }
            let conf = portmap(&result, more);
            plugins.ok("ADD", &who(name), &conf);
            plugins.ok("CHECK", &who(name), &conf);
            confs.push((name, conf));
        }
        let ask = |from: &super::common::Neighbour| {
            let ips: [IpAddr; 2] = [from.host_v4.into(), from.host_v6.into()];
            ips.map(|ip| {
                let reply = tcp(&from.ns, (ip, 8080).into(), SHORT).expect("an answer");
                reply.server
            })
        };
        assert_eq!(ask(&far), ["a", "a"], "{}", table());
        assert_eq!(ask(&near), ["b", "b"], "{}", table());
        plugins.ok("DEL", &who("a"), &confs[0].1);
        assert_eq!(ask(&far), ["c", "c"], "{}", table());
        for (name, conf) in &confs {
            plugins.ok("DEL", &who(name), conf);
        }
        assert!(table().contains("No such file"), "{}", table());
    });
}

/// A second pod on the same terms adds no rule; what lost its record, or its last holder, goes.
#[test]
fn pods_on_the_same_terms_share_them() {
    world(Kind::User, || {
        let plugins = ours();
        let more = |port: u16| {
            json!({"markMasqBit": 7, "conditionsV4": ["!", "-d", "10.0.0.0/8"],
                   "runtimeConfig": {"portMappings": [{"hostPort": port, "containerPort": 80}]}})
        };
        let rules = || {
            let text = table();
            let is_rule = |line: &&str| {
                ["jump", "dnat", "masquerade", "mark set", "return", "drop"]
                    .iter()
                    .any(|w| line.contains(w))
            };
            text.lines().filter(is_rule).count()
        };
        let confs = [("a", 8080), ("b", 8081), ("c", 8082)].map(|(name, port)| {
            let (_, result) = pod(&plugins, name);
            (name, portmap(&result, more(port)))
        });
        plugins.ok("ADD", &who("a"), &confs[0].1);
        let count = rules();
        let text = table();
        for words in ["ip daddr != 10.0.0.0/8 jump terms4-", "meta mark set meta mark | 0x00000080"]
        {
            assert!(text.contains(words), "{words}: {text}");
        }
        plugins.ok("ADD", &who("b"), &confs[1].1);
        plugins.ok("ADD", &who("c"), &confs[2].1);
        assert_eq!(rules(), count, "{}", table());
        // Somebody takes the way to the ports out: CHECK says it, and so does a second look.
        let conf = &confs[0].1;
        sh("nft flush chain inet podkeel publish");
        let (code, msg) = plugins.fails("CHECK", &who("a"), conf);
        assert!(code == 103, "{code}: {msg}");
        // The record of one is lost: its elements are known by their comments.
        sh(&format!("rm -r {}/net/net/b", dirs().run.display()));
        plugins.ok("DEL", &who("b"), &confs[1].1);
        assert!(!table().contains("8081"), "{}", table());
        plugins.ok("DEL", &who("c"), &confs[2].1);
        assert!(table().contains("chain terms4-"), "{}", table());
        // The last one's is lost with all that says who holds what.
        sh(&format!("rm -r {0}/net {0}/held", dirs().run.display()));
        plugins.ok("DEL", &who("a"), conf);
        let gc = format!(
            "PODKEEL_RUN_DIR={} {} gc",
            dirs().run.display(),
            env!("CARGO_BIN_EXE_netsetup")
        );
        let said = sh_out(&gc);
        assert!(said.contains("terms4-"), "{said}");
        assert!(table().contains("No such file"), "{}", table());
    });
}

/// Marks over IPv4 and IPv6: packets from the pods' own network carry the bit, and the pod sees
/// the host; others' carry none, and the pod sees whose they are.
#[test]
fn marks_of_both_families() {
    for (more, bit) in [
        (json!({"markMasqBit": 7}), "0x80/0x80"),
        (json!({"externalSetMarkChain": "MARKS"}), "0x4000/0x4000"),
    ] {
        world(Kind::User, || {
            let (far, plugins) = (neighbour("far", 0), ours());
            for command in ["iptables", "ip6tables"] {
                sh(&format!(
                    "{command} -t nat -N MARKS && {command} -t nat -A MARKS -j MARK --or-mark 0x4000 && \
                     {command} -t nat -A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE && \
                     {command} -t mangle -A POSTROUTING -p tcp -m mark --mark {bit}"
                ));
            }
            let (ns, result) = pod(&plugins, "a");
            let (asker, _) = pod(&plugins, "b");
            let conf = portmap(&result, more.clone());
            plugins.ok("ADD", &who("a"), &conf);
            let hosts: [IpAddr; 2] = [far.host_v4.into(), far.host_v6.into()];
            let fars: [IpAddr; 2] = [far.v4.into(), far.v6.into()];
            for (i, command) in ["iptables", "ip6tables"].into_iter().enumerate() {
                let text = |key: &str| result["ips"][i][key].as_str().expect("text").to_owned();
                let ip: IpAddr =
                    text("address").split('/').next().expect("one").parse().expect("one");
                let gateway: IpAddr = text("gateway").parse().expect("an address");
                tcp_server(&ns, "a", ip, 80);
                let marked = || {
                    let list = format!("{command} -t mangle -nvxL POSTROUTING | tail -1");
                    sh_out(&list).split_whitespace().next().expect("a count").to_owned()
                };
                let seen = |from: &super::common::Ns| {
                    tcp(from, (hosts[i], 8080).into(), SHORT).expect("an answer").peer.ip()
                };
                assert_eq!((seen(&far.ns), marked()), (fars[i], "0".into()), "{more}: {}", table());
                assert_eq!(seen(&asker), gateway, "{more}: {}", table());
                assert_ne!(marked(), "0", "{more}: {}", table());
            }
            plugins.ok("DEL", &who("a"), &conf);
        });
    }
}
