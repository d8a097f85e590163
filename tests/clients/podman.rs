//! podman 4 with `network_backend = "cni"`.

use serde_json::Value;

use super::bed::{
    BUSYBOX, PAUSE_IMAGE, Podman, assert_as_before, closed, get, lay_network,
    no_port_lease_or_record, nothing_left, only_our_plugins, page, shell,
};
use super::common::dump::dump;
use super::common::{Kind, Ns, cgroup, neighbour, sh, sh_out, world};

const HOST: &str = "127.0.0.1";
/// What a run of a container begins with.
fn run(name: &str, words: &str, script: &str) -> String {
    let parent = cgroup("podman");
    format!(
        "run -d --pull=never --cgroup-parent={parent} --name {name} {words} {BUSYBOX} {}",
        shell(script)
    )
}

fn start() -> Podman {
    only_our_plugins();
    let podman = Podman::new("keel");
    lay_network(&Podman::networks());
    // Whether podman accepts every plugin of the list: it asks each for its VERSION.
    assert!(podman.ok("network ls --format {{.Name}}").lines().any(|name| name == "keel"));
    podman
}

#[test]
#[ignore = "needs root"]
fn a_container_with_address_mac_and_port() {
    world(Kind::Root, || {
        let (far, podman) = (neighbour("far", 0), start());
        let before = dump(std::slice::from_ref(&far.ns));
        let wishes = "--net keel --ip 10.90.0.50 --mac-address 02:00:00:00:00:50 -p 8080:80";
        podman.ok(&run("a", wishes, &page("a", 80)));
        let told: Value = serde_json::from_str(&podman.ok("inspect a")).expect("JSON");
        let network = &told[0]["NetworkSettings"]["Networks"]["keel"];
        assert_eq!(network["IPAddress"], "10.90.0.50");
        assert_eq!(network["MacAddress"], "02:00:00:00:00:50");
        assert_eq!(network["Gateway"], "10.90.0.1");
        let link = podman.ok("exec a /bin/busybox ip addr show eth0");
        for word in ["02:00:00:00:00:50", "10.90.0.50/24", "mtu 1500", "LOWER_UP"] {
            assert!(link.contains(word), "{word}: {link}");
        }
        // The port: from the host by each of its addresses, from a neighbour, and from
        // another container by the host's address.
        let host = Ns::host();
        for url in [format!("{HOST}:8080"), format!("{}:8080", far.host_v4), "10.90.0.50".into()] {
            assert_eq!(get(&host, &url), "a", "{url}");
        }
        assert_eq!(get(&far.ns, &format!("{}:8080", far.host_v4)), "a");
        podman.ok(&run("b", "--net keel", "sleep 1000"));
        let ask = |to: &str| {
            format!("exec b /bin/sh -c 'printf \"GET / HTTP/1.0\\r\\n\\r\\n\" | busybox nc {to}'")
        };
        for to in ["10.90.0.50 80".to_owned(), format!("{} 8080", far.host_v4)] {
            let said = podman.ok(&ask(&to));
            assert!(said.ends_with("\na"), "{to}: {said}");
        }
        // Once more, with the same address; then away.
        podman.ok("restart -t 0 a");
        assert_eq!(get(&far.ns, &format!("{}:8080", far.host_v4)), "a");
        podman.ok("stop -t 0 a");
        closed(&far.ns, (far.host_v4, 8080).into());
        podman.ok("rm a");
        podman.ok("rm -f -t 0 b");
        nothing_left();
        assert_as_before(&before, &dump(&[far.ns]), &[]);
    });
}

/// What stays of podman's own default network.
const DEFAULT_STAYS: &[(&str, &str)] = &[
    ("host link cni-podman0: added", "the bridge stays, as the reference leaves it"),
    ("host addr cni-podman0 *: added", "the bridge's address"),
    ("host route * dev cni-podman0*: added", "the routes of that address"),
    ("file /var/lib/cni/networks/podman: added", "the network's leases, none of which is left"),
];

/// podman's own default network, which it has in memory: no list is anywhere. On a host whose
/// FORWARD drops, so that its firewall step has something to do.
#[test]
#[ignore = "needs root"]
fn the_default_network_as_podman_has_it() {
    world(Kind::Root, || {
        let far = neighbour("far", 0);
        only_our_plugins();
        sh("iptables -P FORWARD DROP");
        let podman = Podman::new("podman");
        assert_eq!(podman.ok("network ls --format {{.Name}}"), "podman");
        let before = dump(std::slice::from_ref(&far.ns));
        let at_8080 = format!("{}:8080", far.host_v4);
        let wishes = "--ip 10.88.0.50 --mac-address 02:00:00:00:00:50 -p 8080:80";
        podman.ok(&run("a", wishes, &page("a", 80)));
        let link = podman.ok("exec a /bin/busybox ip addr show eth0");
        assert!(link.contains("02:00:00:00:00:50") && link.contains("10.88.0.50/16"), "{link}");
        let records = sh_out("cd /run/podkeel/net/podman/*/ && ls");
        let parts = ["eth0.json", "eth0:firewall.json", "eth0:portmap.json", "eth0:tuning.json"];
        assert_eq!(records.lines().collect::<Vec<_>>(), parts, "all four plugins are ours");
        for (from, url) in [(&far.ns, &*at_8080), (&Ns::host(), "127.0.0.1:8080")] {
            assert_eq!(get(from, url), "a", "{url}");
        }
        podman.ok("restart -t 0 a");
        assert_eq!(get(&far.ns, &at_8080), "a");
        podman.ok("rm -f -t 0 a");
        closed(&far.ns, (far.host_v4, 8080).into());
        // A pod: its infra container is our pause.
        podman.ok(&format!(
            "pod create --name p --cgroup-parent={} --infra-image {PAUSE_IMAGE} --infra-command \
             /pause --ip 10.88.0.60 --mac-address 02:00:00:00:00:60 -p 8080:80",
            cgroup("podman")
        ));
        let script = shell(&page("member", 80));
        podman.ok(&format!("run -d --pull=never --pod p --name one {BUSYBOX} {script}"));
        assert_eq!(get(&far.ns, &at_8080), "member");
        let link = podman.ok("exec one /bin/busybox ip addr show eth0");
        assert!(link.contains("02:00:00:00:00:60") && link.contains("10.88.0.60/16"), "{link}");
        podman.ok("pod rm -f -t 0 p");
        no_port_lease_or_record();
        assert_as_before(&before, &dump(&[far.ns]), DEFAULT_STAYS);
        let lists = sh_out(&format!("find {} -name *.conflist", Podman::networks().display()));
        assert_eq!(lists, "", "podman wrote no list");
    });
}

#[test]
#[ignore = "needs root"]
fn a_pod_of_two() {
    world(Kind::Root, || {
        let (far, podman) = (neighbour("far", 0), start());
        let before = dump(std::slice::from_ref(&far.ns));
        podman.ok(&format!(
            "pod create --name p --cgroup-parent={} --share net,ipc,uts,pid --infra-image \
             {PAUSE_IMAGE} --infra-command /pause --net keel --ip 10.90.0.60 -p 8080:80 -p 8081:81",
            cgroup("podman")
        ));
        for (name, port) in [("one", 80), ("two", 81)] {
            let script = shell(&page(name, port));
            podman.ok(&format!("run -d --pull=never --pod p --name {name} {BUSYBOX} {script}"));
        }
        for (port, name) in [(8080, "one"), (8081, "two")] {
            assert_eq!(get(&far.ns, &format!("{}:{port}", far.host_v4)), name);
        }
        // Both see one network, and each other's processes below our pause.
        let said = podman.ok("exec one /bin/sh -c 'printf \"GET / HTTP/1.0\\r\\n\\r\\n\" | busybox nc 127.0.0.1 81; busybox ps'");
        assert!(said.contains("\ntwo"), "{said}");
        assert!(said.contains("/pause"), "{said}");
        podman.ok("pod stop -t 0 p");
        closed(&far.ns, (far.host_v4, 8080).into());
        podman.ok("pod start p");
        assert_eq!(get(&far.ns, &format!("{}:8081", far.host_v4)), "two");
        podman.ok("pod rm -f -t 0 p");
        nothing_left();
        assert_as_before(&before, &dump(&[far.ns]), &[]);
    });
}

/// What can't be is refused with a reason, and nothing of it stays.
#[test]
#[ignore = "needs root"]
fn a_refusal_is_told_and_leaves_nothing() {
    world(Kind::Root, || {
        let podman = start();
        podman.ok(&run("a", "--net keel --ip 10.90.0.50", "sleep 1000"));
        let before = dump(&[]);
        let said = podman.fails(&run("b", "--net keel --ip 10.90.0.50", "sleep 1000"));
        assert!(said.contains("10.90.0.50"), "{said}");
        podman.ok("rm -f b");
        assert_as_before(&before, &dump(&[]), &[]);
        podman.ok("rm -f -t 0 a");
        nothing_left();
    });
}

/// Two networks, the second one connected while the container runs.
#[test]
#[ignore = "needs root"]
fn a_second_network_comes_and_goes() {
    world(Kind::Root, || {
        let podman = start();
        let before = dump(&[]);
        // Somebody may have made it one on this host, too.
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let netns = match mounts.contains(" /run/netns ") {
            true => "mount /run/netns #2: added",
            false => "mount /run/netns: added",
        };
        podman.ok("network create --disable-dns --subnet 10.91.0.0/24 two");
        let list = Podman::networks().join("two.conflist");
        let text = std::fs::read_to_string(&list).expect("podman's list");
        let conf: Value = serde_json::from_str(&text).expect("JSON");
        let bridge = conf["plugins"][0]["bridge"].as_str().expect("a bridge's name").to_owned();
        // As podman has written it, with its firewall step.
        assert!(text.contains("\"firewall\""), "{text}");
        podman.ok(&run("a", "--net keel", "sleep 1000"));
        podman.ok("network connect two a");
        let links = podman.ok("exec a /bin/busybox ip -4 -o addr");
        assert!(
            links.contains("eth0    inet 10.90.") && links.contains("eth1    inet 10.91."),
            "{links}"
        );
        podman.ok("network disconnect two a");
        let links = podman.ok("exec a /bin/busybox ip -4 -o addr");
        assert!(links.contains("eth0") && !links.contains("eth1"), "{links}");
        podman.ok("rm -f -t 0 a");
        nothing_left();
        sh(&format!("ip link del {bridge}"));
        let two = [
            (netns, "podman makes it a mount of its own, as ip netns does"),
            ("file /var/lib/cni/networks/two: added", "the second network's leases"),
        ];
        assert_as_before(&before, &dump(&[]), &two);
    });
}
