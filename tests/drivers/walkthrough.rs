//! docs/walkthrough.md, done both ways: the lines that stand there, run as they are.
//!
//! Links, addresses and routes of the host and of the pod are equal by `ip -d -j`, and so
//! is what packets see: the way out through the bridge, the masquerade, the way back, on a
//! host whose FORWARD drops.

use serde_json::{Map, Value};

use super::bed::{NETSETUP, reaches};
use super::common::dump::{assert_same_world, dump};
use super::common::traffic::{SOON, tcp, tcp_server};
use super::common::{Kind, Neighbour, Ns, dirs, neighbour, sh, sh_out, world};

const TEXT: &str = include_str!("../../docs/walkthrough.md");

/// The code blocks of this kind, in order.
fn blocks(kind: &str) -> Vec<&'static str> {
    let start = format!("```{kind}\n");
    let parts = TEXT.split(start.as_str()).skip(1);
    parts.map(|part| part.split("```").next().unwrap_or_default()).collect()
}

/// Runs the lines of a block, each of which must succeed.
fn run(block: &str) {
    let program = std::path::Path::new(NETSETUP).parent().expect("a directory").display();
    for line in block.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        sh(&format!("PATH={program}:$PATH; {line}"));
    }
}

/// What is given out anew each time, or tells whose it is.
const GIVEN: &[&str] = &[
    "ifindex",
    "link_index",
    "link_netnsid",
    "address",
    "permaddr",
    "stats",
    "stats64",
    "ifalias",
    "protocol",
    "operstate",
    "flags",
    "bridge_id",
    "root_id",
    "designated_bridge",
    "designated_root",
    "fdb_n_learned",
    "hello_timer",
    "tcn_timer",
    "topology_change_timer",
    "gc_timer",
    "hold_timer",
    "message_age_timer",
    "forward_delay_timer",
    "state",
    "port",
    "no",
    "id",
    "qdisc",
];

/// A value without [`GIVEN`], and with one name for the veth.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| !GIVEN.contains(&key.as_str()));
            let kept: Map<String, Value> = kept.map(|(k, v)| (k.clone(), plain(v))).collect();
            Value::Object(kept)
        }
        Value::Array(list) => list.iter().map(plain).collect(),
        Value::String(text) if text == "vethweb" => Value::String("VETH".into()),
        Value::String(text) if text.len() == 14 && text.starts_with("pk") => {
            Value::String("VETH".into())
        }
        other => other.clone(),
    }
}

/// Links with their addresses, and routes, as `ip -d -j` has them.
fn seen(ns: &Ns) -> Vec<String> {
    let mut lines = Vec::new();
    for what in ["addr", "-4 route show table all", "-6 route show table all"] {
        let (family, what) = what.split_at(if what.starts_with('-') { 2 } else { 0 });
        let text = ns.sh_out(&format!("ip {family} -d -j {what}"));
        let Value::Array(list) = serde_json::from_str(&text).expect("JSON") else {
            panic!("{text}")
        };
        let up = |link: &Value| link["flags"].to_string().contains("\"UP\"");
        // Link-local addresses are made of link-layer addresses.
        let own =
            |v: &Value| !v.to_string().contains("fe80") && !v.to_string().contains("ff00::/8");
        for mut object in list {
            if let Some(addrs) = object.get_mut("addr_info").and_then(Value::as_array_mut) {
                addrs.retain(|a| a["scope"] != "link");
            }
            if own(&object) {
                lines.push(format!("{} up={}", plain(&object), up(&object)));
            }
        }
    }
    lines.sort();
    lines
}

/// Out through the bridge and back, for ping, traceroute and TCP; and nobody comes in.
fn packets(far: &Neighbour, web: &Ns) {
    // A bridge's port may take a moment on a busy machine.
    assert!((0..5).any(|_| reaches(web, "198.18.0.2")), "ping");
    let hops = web.sh_out("traceroute -n -q 1 -w 2 198.18.0.2");
    let hops: Vec<&str> =
        hops.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(hops, ["10.77.0.1", "198.18.0.2"], "from the pod over the bridge to the neighbour");
    let server = tcp_server(&far.ns, "far", far.v4, 0);
    let answer = tcp(web, server.addr, SOON).expect("an answer");
    assert_eq!(answer.peer.ip().to_string(), "198.18.0.1", "masqueraded");
    far.ns.sh("ip route add 10.77.0.0/24 via 198.18.0.1");
    assert!(!reaches(&far.ns, "10.77.0.2"), "FORWARD lets answers in, and nothing else");
    far.ns.sh("ip route del 10.77.0.0/24");
}

#[test]
fn both_ways_make_the_same_network() {
    world(Kind::Root, || {
        let far = neighbour("far", 0);
        sh("echo 1 >/proc/sys/net/ipv4/ip_forward; iptables -P FORWARD DROP");
        let [conf] = blocks("json")[..] else { panic!("one list") };
        std::fs::write(dirs().conf.join("walk.conflist"), conf).expect("a list");
        let [by_hand, away_by_hand, by_us, away_by_us] = blocks("sh")[..] else {
            panic!("four blocks of commands")
        };
        let web = Ns::named("web");
        // Where leases are is there from the first one on.
        run(by_us);
        run(away_by_us);
        let before = dump(std::slice::from_ref(&far.ns));
        let mut worlds = Vec::new();
        for (make, away) in [(by_hand, away_by_hand), (by_us, away_by_us)] {
            sh("rm -f /var/lib/cni/networks/walk/last_reserved_ip.0");
            run(make);
            packets(&far, &web);
            worlds.push((seen(&Ns::host()), seen(&web)));
            run(away);
            assert_same_world(&before, &dump(std::slice::from_ref(&far.ns)), &[]);
        }
        let [(host, pod), (our_host, our_pod)] = &worlds[..] else { panic!("two worlds") };
        assert_eq!(our_pod, pod);
        assert_eq!(our_host, host);
        assert!(sh_out("ip -br link").lines().count() == 2, "lo and up0 are left");
    });
}
