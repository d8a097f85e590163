//! docs/walkthrough.md, done both ways: the lines that stand there, run as they are.
//!
//! Links, addresses and routes of the host and of the pod are equal by `ip -d -j`, and so
//! is what packets see: the way out through the bridge, the masquerade, the way back, on a
//! host whose FORWARD drops.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::bed::{NETSETUP, reaches};
use super::common::dump::{assert_same_world, dump};
use super::common::flatten::items;
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
    "stats",
    "stats64",
    "ifalias",
    "protocol",
    "bridge_id",
    "root_id",
    "designated_bridge",
    "designated_root",
    "hello_timer",
    "tcn_timer",
    "topology_change_timer",
    "gc_timer",
    "hold_timer",
    "message_age_timer",
    "forward_delay_timer",
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
        // Link-local addresses are made of link-layer addresses.
        let own =
            |v: &Value| !v.to_string().contains("fe80") && !v.to_string().contains("ff00::/8");
        for mut object in list {
            if let Some(addrs) = object.get_mut("addr_info").and_then(Value::as_array_mut) {
                addrs.retain(|a| a["scope"] != "link");
            }
            if own(&object) {
                lines.push(plain(&object).to_string());
            }
        }
    }
    lines.sort();
    lines
}

/// One network of the text, both ways.
struct Walk {
    name: &'static str,
    list: &'static str,
    by_hand: [&'static str; 2],
    by_us: [&'static str; 2],
    /// The bridge's address, the pod's, the subnet.
    gateway: &'static str,
    pod: &'static str,
    subnet: &'static str,
    /// What is forwarded then: IPv4, IPv6.
    forwards: &'static str,
}

/// The text's `n`th network: one list, four blocks of commands.
fn walk(n: usize, [name, gateway, pod, subnet, forwards]: [&'static str; 5]) -> Walk {
    let (lists, commands) = (blocks("json"), blocks("sh"));
    assert_eq!((lists.len(), commands.len()), (2, 8), "two networks, with four blocks each");
    let [make, away, by_us, away_by_us] = commands[4 * n..][..4] else { panic!("four blocks") };
    let (by_hand, by_us) = ([make, away], [by_us, away_by_us]);
    Walk { name, list: lists[n], by_hand, by_us, gateway, pod, subnet, forwards }
}

/// Out through the bridge and back, for ping, traceroute and TCP; and nobody comes in.
fn packets(walk: &Walk, far: &Neighbour, web: &Ns, [own, there]: [IpAddr; 2]) {
    let to = there.to_string();
    // A bridge's port may take a moment on a busy machine.
    assert!((0..5).any(|_| reaches(web, &to)), "ping");
    let hops = web.sh_out(&format!("traceroute -n -q 1 -w 2 {to}"));
    let hops: Vec<&str> =
        hops.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(hops, [walk.gateway, &to], "from the pod over the bridge to the neighbour");
    let server = tcp_server(&far.ns, "far", there, 0);
    let answer = tcp(web, server.addr, SOON).expect("an answer");
    assert_eq!(answer.peer.ip(), own, "masqueraded");
    let route = format!("{} via {own}", walk.subnet);
    far.ns.sh(&format!("ip route add {route}"));
    assert!(!reaches(&far.ns, walk.pod), "FORWARD lets answers in, and nothing else");
    far.ns.sh(&format!("ip route del {route}"));
}

/// Waits until the kernel's link watch, which may lag by a second, has come by.
fn all_up() {
    let is_up = |link: &Value| link["ifname"] == "lo" || link["operstate"] == "UP";
    let all_in = |ns: Ns| items(&ns.sh_json("ip -j link")).iter().all(is_up);
    for _ in 0..300 {
        if all_in(Ns::host()) && all_in(Ns::named("web")) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("not all links come up: {}", sh_out("ip link"));
}

/// As a host is that has never had a pod.
const NO_FORWARDING: &str =
    "sysctl -qw net.ipv4.ip_forward=0 && sysctl -qw net.ipv6.conf.all.forwarding=0";

/// Does it both ways and compares; `ends` are the host's address and the neighbour's.
fn both_ways(walk: &Walk, far: &Neighbour, ends: [IpAddr; 2]) {
    sh("iptables -P FORWARD DROP && ip6tables -P FORWARD DROP");
    std::fs::write(dirs().conf.join(format!("{}.conflist", walk.name)), walk.list).expect("a list");
    let web = Ns::named("web");
    // Where leases are is there from the first one on.
    walk.by_us.iter().for_each(|block| run(block));
    sh(NO_FORWARDING);
    let before = dump(std::slice::from_ref(&far.ns));
    let mut worlds = Vec::new();
    for [make, away] in [walk.by_hand, walk.by_us] {
        sh(&format!("rm -f /var/lib/cni/networks/{}/last_reserved_ip.0", walk.name));
        run(make);
        packets(walk, far, &web, ends);
        let forwards = sh_out("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding | xargs");
        assert_eq!(forwards, walk.forwards, "{make}");
        all_up();
        worlds.push((seen(&Ns::host()), seen(&web)));
        run(away);
        // That stays: somebody else may need it by now.
        sh(NO_FORWARDING);
        assert_same_world(&before, &dump(std::slice::from_ref(&far.ns)), &[]);
    }
    let [(host, pod), (our_host, our_pod)] = &worlds[..] else { panic!("two worlds") };
    assert_eq!(our_pod, pod);
    assert_eq!(our_host, host);
    assert!(sh_out("ip -br link").lines().count() == 2, "lo and up0 are left");
}

#[test]
#[ignore = "needs root"]
fn both_ways_make_the_same_network() {
    world(Kind::Root, || {
        let far = neighbour("far", 0);
        let ends = [far.host_v4.into(), far.v4.into()];
        both_ways(&walk(0, ["walk", "10.77.0.1", "10.77.0.2", "10.77.0.0/24", "1 0"]), &far, ends);
    });
}

#[test]
#[ignore = "needs root"]
fn both_ways_make_the_same_network_over_ipv6() {
    world(Kind::Root, || {
        let far = neighbour("far", 0);
        let ends = [far.host_v6.into(), far.v6.into()];
        both_ways(&walk(1, ["walk6", "fd77::1", "fd77::2", "fd77::/64", "0 1"]), &far, ends);
    });
}
