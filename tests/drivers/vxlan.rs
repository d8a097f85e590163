//! vxlan: pods of two hosts, each a namespace of its own with netsetup run inside.

use std::process::Command;

use serde_json::{Value, json};

use super::bed::{
    Life, NETSETUP, add, counted, host, left, netsetup, network, reaches, refused, settled,
};
use super::common::flatten::{items, text};
use super::common::{Kind, Ns, dirs, ns_add, output, scratch, sh, sh_json, sh_out, told, world};

/// The same list for every host; each finds itself in it.
fn list(hosts: [&str; 2], own: usize) -> Value {
    let subnets = |i: usize| [format!("10.42.{i}.0/24"), format!("fd42:{i}::/64")];
    let remotes: Vec<Value> = hosts
        .iter()
        .enumerate()
        .map(|(i, host)| json!({"host": host, "subnets": subnets(i)}))
        .collect();
    let ranges: Vec<Value> = subnets(own).iter().map(|net| json!([{"subnet": net}])).collect();
    json!({"type": "vxlan", "id": 42, "remotes": remotes, "ipMasq": true, "isDefaultGateway": true,
           "ipam": {"type": "host-local", "ranges": ranges}})
}

#[test]
fn from_explain_to_del() {
    world(Kind::User, || {
        Life {
            plugins: vec![list(["198.18.0.1", "198.18.0.2"], 0)],
            explained: "
                PHASE HOLD WHERE WHAT
                close own host lease 10.42.0.3 for pod/eth0
                close own host lease fd42::3 for pod/eth0
                close share host nftables table inet podkeel
                close share host true addresses within 10.42.0.0/24
                close share host true addresses within fd42::/64
                close share host true addresses from 10.42.0.0/24 to 10.42.1.0/24
                close share host true addresses from fd42::/64 to fd42:1::/64
                build share host vxlan vxlan42 id 42 local 198.18.0.1 dstport 4789
                build share host sysctl net.ipv6.conf.vxlan42.accept_ra=0
                build share host link vxlan42 up
                build share host fdb 02:MAC dst 198.18.0.2 dev vxlan42
                build share host neighbour 198.18.0.2 lladdr 02:MAC dev vxlan42
                build share host route 10.42.1.0/24 via 198.18.0.2 dev vxlan42
                build share host neighbour fe80::MAC lladdr 02:MAC dev vxlan42
                build share host route fd42:1::/64 via fe80::MAC dev vxlan42
                build share host bridge pkvx42
                build share host sysctl net.ipv6.conf.pkvx42.accept_ra=0
                build share host link pkvx42 up
                build own host veth VETH on pkvx42 with peer eth0 in the pod
                build share host address 10.42.0.1/24 dev pkvx42
                build share host address fd42::1/64 dev pkvx42
                build ensure host sysctl net.ipv4.ip_forward=1
                build ensure host sysctl net.ipv6.conf.all.forwarding=1
                build own pod sysctl net.ipv6.conf.eth0.accept_ra=0
                build own pod address 10.42.0.3/24 dev eth0
                build own pod address fd42::3/64 dev eth0
                build ensure pod link lo up
                build own pod link eth0 up
                build own pod route default via 10.42.0.1 dev eth0
                build own pod route default via fd42::1 dev eth0
                open own host masquerade of 10.42.0.3
                open own host masquerade of fd42::3
                open ensure pod neighbours of eth0 told of it",
            ..Life::default()
        }
        .run();
    });
}

/// A host by itself: its namespace, its run directory, its lists.
struct Host {
    ns: Ns,
    name: &'static str,
}

impl Host {
    fn netsetup(&self, words: &str) -> String {
        let dir = scratch().join(self.name);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.name, NETSETUP]).args(words.split_whitespace());
        command
            .env("PODKEEL_RUN_DIR", dir.join("run"))
            .env("PODKEEL_LEASE_DIR", dir.join("leases"));
        let output = output(command.env("PODKEEL_CONF_DIR", dir.join("conf")));
        assert!(output.status.success(), "{}", told(words, &output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

/// Two hosts on one cable, which listens to no other protocol, each with a pod.
fn two_hosts(underlay: [&str; 2]) -> ([Host; 2], [Ns; 2]) {
    let hosts = ["left", "right"].map(|name| Host { ns: ns_add(name), name });
    sh("ip link add eth0 netns left type veth peer name eth0 netns right");
    for (i, host) in hosts.iter().enumerate() {
        host.ns.sh(&format!(
            "echo 1 >/proc/sys/net/ipv4/ip_forward; ip addr add {}/64 dev eth0 nodad 2>/dev/null || \
             ip addr add {}/24 dev eth0; ip link set eth0 up",
            underlay[i], underlay[i]
        ));
        let conf = scratch().join(host.name).join("conf");
        std::fs::create_dir_all(&conf).expect("a directory");
        let list = json!({"cniVersion": "1.0.0", "name": "net", "plugins": [list(underlay, i)]});
        std::fs::write(conf.join("net.conflist"), list.to_string()).expect("a list");
    }
    let pods = ["pod0", "pod1"].map(ns_add);
    for (host, pod) in hosts.iter().zip(&pods) {
        host.netsetup(&format!("add net --netns /run/netns/{}", pod.name));
    }
    (hosts, pods)
}

/// What leaves a host for the tunnel's port: all of it, what is as long as the cable takes, what
/// is longer or in pieces.
const LEAVES: [&str; 3] =
    ["udp dport 4789", "udp dport 4789 meta length 1500", "udp dport 4789 meta length > 1500"];

/// How many packets those are by now; the first call begins to count.
fn left_by(host: &Ns) -> Vec<u64> {
    let count = LEAVES.map(|what| format!("nft 'add rule inet seen post {what} counter'"));
    host.sh(&format!(
        "nft list table inet seen >/dev/null 2>&1 || {{ nft add table inet seen && nft 'add chain \
         inet seen post {{ type filter hook postrouting priority 500; }}' && {}; }}",
        count.join(" && ")
    ));
    counted(host)
}

/// Nobody is asked, nothing is flooded: there is no entry for everybody else, and what is for
/// all, or for an address that nobody has told of, goes nowhere.
fn floods_nothing(host: &Ns, other: &str) {
    let everybody = "00:00:00:00:00:00";
    let fdb = host.sh_out("bridge fdb show dev vxlan42");
    assert!(fdb.contains(&format!("dst {other}")) && !fdb.contains(everybody), "{fdb}");
    host.sh("ip route add 10.99.0.0/24 dev vxlan42 src 10.42.0.1");
    // A broadcast, a multicast, and who-has and a solicitation; of an address not asked for yet.
    let shouts = |n: u8| {
        let to = ["-b -I vxlan42 255.255.255.255", "ff02::1%vxlan42"].map(str::to_owned);
        let to = to.into_iter().chain([format!("10.99.0.{n}"), format!("fe80::{n}%vxlan42")]);
        to.map(|to| {
            let before = left_by(host)[0];
            host.sh_any(&format!("ping -c 1 -W 1 -n {to}"));
            left_by(host)[0] - before
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(shouts(8), [0; 4], "{fdb}");
    // With such an entry they would be seen.
    host.sh(&format!("bridge fdb append {everybody} dev vxlan42 dst {other}"));
    let seen = shouts(9);
    assert!(!seen.contains(&0), "{seen:?}");
    host.sh(&format!("bridge fdb del {everybody} dev vxlan42 dst {other}"));
    host.sh("ip route del 10.99.0.0/24 dev vxlan42");
}

/// What the pod may send fills a frame of the cable, and no byte of it is left or missing.
fn fills_the_cable(pod: &Ns, host: &Ns, mtu: u32) {
    assert_eq!(pod.sh_json("ip -j link show eth0")[0]["mtu"], mtu);
    for (to, header) in [("10.42.1.2", 20 + 8), ("fd42:1::2", 40 + 8)] {
        let ping = |more| {
            let most = mtu - header + more;
            pod.sh_any(&format!("ping -c 1 -W 2 -n -M do -s {most} {to}")).status.success()
        };
        let before = left_by(host);
        assert!(ping(0), "{to}");
        assert_eq!(left_by(host)[1], before[1] + 1, "{to}: {:?}", left_by(host));
        assert!(!ping(1), "{to}");
    }
    assert_eq!(left_by(host)[2], 0);
}

fn across(underlay: [&str; 2], mtu: u32) {
    let (hosts, [one, two]) = two_hosts(underlay);
    left_by(&hosts[0].ns);
    assert!(reaches(&one, "10.42.1.2"), "IPv4");
    assert!(reaches(&one, "fd42:1::2"), "IPv6");
    assert!(reaches(&two, "10.42.0.2") && reaches(&two, "fd42::2"));
    // Neither end hides the other, for all that leaves is masqueraded.
    let server = super::common::traffic::tcp_server(&two, "two", [10, 42, 1, 2], 80);
    let answer = super::common::traffic::tcp(&one, server.addr, super::common::traffic::SOON);
    assert_eq!(answer.expect("an answer").peer.ip().to_string(), "10.42.0.2");
    fills_the_cable(&one, &hosts[0].ns, mtu);
    floods_nothing(&hosts[0].ns, underlay[1]);
    for (host, pod) in hosts.iter().zip(["pod0", "pod1"]) {
        host.netsetup(&format!("check net --netns /run/netns/{pod}"));
        host.netsetup(&format!("del net --netns /run/netns/{pod}"));
        assert_eq!(host.ns.sh_out("ip -br link | wc -l"), "2", "lo and eth0");
    }
}

#[test]
#[ignore = "needs root"]
fn pods_of_two_hosts() {
    world(Kind::Root, || across(["192.0.2.1", "192.0.2.2"], 1450));
}

#[test]
#[ignore = "needs root"]
fn pods_of_two_hosts_over_ipv6() {
    world(Kind::Root, || across(["2001:db8::1", "2001:db8::2"], 1430));
}

#[test]
fn who_is_not_on_the_list() {
    world(Kind::User, || {
        host();
        network("net", &list(["192.0.2.1", "192.0.2.2"], 0));
        let said = refused("explain net --netns /run/netns/pod", 2);
        assert!(said.contains("it has no address of 192.0.2.1, 192.0.2.2"), "{said}");
        let mut large = list(["198.18.0.1", "192.0.2.2"], 0);
        large["mtu"] = json!(1451);
        network("net", &large);
        let said = refused("explain net --netns /run/netns/pod", 2);
        assert!(said.contains("mtu 1451 is too large"), "{said}");
        assert!(dirs().conf.exists() && !sh_out("ip -br link").contains("vxlan"));
    });
}

/// A network with all keys that the tunnel's end has, on a host with two addresses.
fn told_all() -> Value {
    let range = |net| json!([{"subnet": net}]);
    json!({"type": "vxlan", "id": 77, "port": 8472, "local": "198.18.0.7", "nolearning": false,
           "vxlan": "tun7", "bridge": "br7", "remotes": [
               {"host": "198.18.0.7", "subnets": ["10.77.0.0/24"], "mac": "02:00:00:00:00:a7"},
               {"host": "198.18.0.3", "subnets": ["10.77.1.0/24"], "mac": "02:00:00:00:00:a1"},
               {"host": "198.18.0.2", "subnets": ["fd77:2::/64"], "mac": "02:00:00:00:00:a2"}],
           "ipam": {"type": "host-local", "ranges": [range("10.77.0.0/24"), range("fd77::/64")]}})
}

#[test]
fn every_key_reaches_the_kernel() {
    world(Kind::User, || {
        host();
        sh("ip addr add 198.18.0.7/24 dev up0");
        network("net", &told_all());
        add("net --netns /run/netns/pod");
        let link = &sh_json("ip -d -j link show tun7")[0];
        let is = &link["linkinfo"]["info_data"];
        assert_eq!(
            json!([link["address"], is["id"], is["port"], is["local"], is["learning"]]),
            json!(["02:00:00:00:00:a7", 77, 8472, "198.18.0.7", true])
        );
        let pairs = |command: &str, keys: [&str; 2]| -> Vec<[String; 2]> {
            let list = sh_json(command);
            items(&list).iter().map(|one| keys.map(|key| text(&one[key]))).collect()
        };
        let (a1, a2) = ("02:00:00:00:00:a1", "02:00:00:00:00:a2");
        let mut fdb = pairs("bridge -j fdb show dev tun7", ["mac", "dst"]);
        fdb.sort();
        assert_eq!(fdb, [[a1, "198.18.0.3"], [a2, "198.18.0.2"]]);
        let mut known = pairs("ip -j neigh show dev tun7", ["dst", "lladdr"]);
        known.retain(|[dst, _]| !dst.starts_with("ff02:"));
        assert_eq!(known, [["198.18.0.3", a1], ["fe80::ff:fe00:a2", a2]]);
        netsetup("check net --netns /run/netns/pod");
        sh("ip link set tun7 type vxlan nolearning");
        let said = refused("check net --netns /run/netns/pod", 3);
        assert!(said.contains("vxlan tun7") && said.contains("its settings are others"), "{said}");
        netsetup("del net --netns /run/netns/pod");
        assert_eq!(sh_out("ip -br link | grep -cE 'tun7|br7' || true"), "0");
    });
}

/// The kernel has one tunnel's end for an id and a port. Whoever wants a second one is told,
/// and the first one stays.
#[test]
fn a_second_tunnel_of_the_same_id_is_refused() {
    world(Kind::User, || {
        let [one, far] = host();
        let two = super::bed::pod("two");
        let mut second = list(["198.18.0.1", "198.18.0.2"], 1);
        network("net", &list(["198.18.0.1", "198.18.0.2"], 0));
        add("net --netns /run/netns/pod");
        std::fs::create_dir(dirs().leases.join("other")).expect("the second one's leases");
        let all = [one, two, far];
        let before = settled(&all);
        second["vxlan"] = json!("other");
        second["bridge"] = json!("brother");
        second["ipam"] = json!({"type": "host-local", "subnet": "10.42.2.0/24"});
        network("other", &second);
        let said = refused("add other --netns /run/netns/two", 4);
        assert!(said.contains("there is a vxlan with id 42 and port 4789 already"), "{said}");
        assert!(said.contains("choose another id"), "{said}");
        assert_eq!(left(&before, &all), [""; 0]);
        netsetup("check net --netns /run/netns/pod");
        // Of another port it is another tunnel.
        second["port"] = json!(4790);
        second["remotes"] = json!([{"host": "198.18.0.1", "subnets": ["10.43.0.0/24"]},
            {"host": "198.18.0.2", "subnets": ["10.43.1.0/24"]}]);
        network("other", &second);
        add("other --netns /run/netns/two");
        netsetup("check other --netns /run/netns/two");
    });
}
