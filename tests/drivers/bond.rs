//! Bonds below a pod's interface: somebody's own, and those that are made on demand.

use serde_json::{Value, json};

use super::bed::{
    add, host, left, needs, netsetup, network, plugin, pod, reaches, refused, settled,
};
use super::common::dump::Dump;
use super::common::flatten::{items, text};
use super::common::{Kind, Ns, dirs, sh, sh_json, sh_out, world};

#[test]
#[ignore = "needs bond: tests/vm runs it on Linux 5.10 and 6.12"]
fn vm_a_bond_is_a_master_like_any_other() {
    world(Kind::User, || {
        needs("bond");
        let [pod, far] = host();
        far.sh("ip addr add 10.5.0.1/24 dev eth0");
        sh("ip route del default; ip -6 route del default; ip link set up0 down && \
            ip link add bond0 type bond mode active-backup && ip link set up0 master bond0 && \
            ip link set bond0 up");
        network("net", &plugin("macvlan", json!({"master": "bond0"})));
        add("net --netns /run/netns/pod");
        assert!(reached(&pod, "10.5.0.1"), "{}", sh_out("ip -d link"));
        netsetup("del net --netns /run/netns/pod");
    });
}

/// Two cables to one switch of another host, whose end of them is 10.5.0.1.
pub(super) const CABLES: &str = "for i in 1 2; do \
        ip link add cable$i type veth peer name port$i netns far && ip -n far link set port$i up; \
    done && ip -n far link add sw0 type bridge && ip -n far link set sw0 up && \
    ip -n far link set port1 master sw0 && ip -n far link set port2 master sw0 && \
    ip -n far addr add 10.5.0.1/24 dev sw0 && ip -n far addr add fd05::1/64 dev sw0 nodad";

/// A described bond is made by the first pod, with a vlan on it if the master is one; it
/// lives as long as the last one, and its ports are as they were.
#[test]
#[ignore = "needs bond: tests/vm runs it on Linux 5.10 and 6.12"]
fn vm_a_bond_below_is_made_on_demand() {
    world(Kind::User, || {
        needs("bond");
        let [one, far] = host();
        let two = pod("two");
        sh(CABLES);
        let bond = json!({"links": ["cable1", "cable2"]});
        network("net", &plugin("macvlan", json!({"master": "bond7", "bond": bond})));
        let all = [one.clone(), two.clone(), far.clone()];
        add("net --netns /run/netns/pod");
        netsetup("del net --netns /run/netns/pod");
        let before = settled(&all);
        let told = netsetup("explain net --netns /run/netns/pod");
        for line in [
            "share   host   bond bond7 mode active-backup",
            "share   host   link cable1 in bond7",
            "share   host   link cable2 in bond7",
            "share   host   link bond7 up",
            "own     pod    macvlan eth0 mode bridge on bond7 of the host",
        ] {
            assert!(told.contains(line), "{line} isn't in\n{told}");
        }
        let mac = text(&sh_json("ip -j link show cable1")[0]["address"]);
        add("net --netns /run/netns/pod");
        add("net --netns /run/netns/two");
        assert_eq!(sh_json("ip -j link show bond7")[0]["address"], mac);
        let is = settings();
        assert_eq!(json!([is["mode"], is["miimon"]]), json!(["active-backup", 100]));
        assert!(reached(&one, "10.5.0.1") && reached(&two, "fd05::1"));
        // The cable in use is pulled; the other one takes over.
        let active = text(&settings()["active_slave"]);
        far.sh(&format!("ip link set port{} down", &active["cable".len()..]));
        assert!(reached(&one, "10.5.0.1"), "{active}: {}", sh_out("ip -d link"));
        far.sh("ip link set port1 up && ip link set port2 up");
        netsetup("check net --netns /run/netns/two");
        netsetup("del net --netns /run/netns/pod");
        assert!(reached(&two, "10.5.0.1"), "the other pod still needs it");
        sh("ip link set cable2 nomaster");
        let said = refused("check net --netns /run/netns/two", 3);
        assert!(said.contains("link cable2 in bond7") && said.contains("missing"), "{said}");
        netsetup("del net --netns /run/netns/two");
        assert_eq!(left(&before, &all), [""; 0]);
        vlan_of_a_bond(&bond, &before, &all);
    });
}

/// What the bond has, as its kind.
fn settings() -> Value {
    sh_json("ip -d -j link show bond7")[0]["linkinfo"]["info_data"].take()
}

/// What is ours and nobody's goes with gc, a vlan on a bond, too.
fn vlan_of_a_bond(bond: &Value, before: &Dump, all: &[Ns]) {
    let master = json!({"master": "bond7.100", "bond": bond});
    network("net", &plugin("macvlan", master));
    add("net --netns /run/netns/pod");
    assert_eq!(sh_json("ip -j link show bond7.100")[0]["link"], "bond7");
    netsetup("del net --netns /run/netns/pod");
    assert_eq!(left(before, all), [""; 0]);
    add("net --netns /run/netns/pod");
    std::fs::remove_dir_all(dirs().run).expect("the records");
    netsetup("gc");
    assert_eq!(sh_out("ip -br link | grep -c bond7 || true"), "0");
}

/// Each mode that there is, as the kernel has it.
#[test]
#[ignore = "needs bond: tests/vm runs it on Linux 6.12"]
fn vm_every_mode_of_a_bond() {
    world(Kind::User, || {
        needs("bond");
        let all = host();
        sh(CABLES);
        for (nth, mode) in [
            "balance-rr",
            "active-backup",
            "balance-xor",
            "broadcast",
            "802.3ad",
            "balance-tlb",
            "balance-alb",
        ]
        .into_iter()
        .enumerate()
        {
            let miimon = 50 + nth;
            let bond = json!({"links": ["cable1", "cable2"], "mode": mode, "miimon": miimon});
            network("net", &plugin("macvlan", json!({"master": "bond7", "bond": bond})));
            add("net --netns /run/netns/pod");
            let is = settings();
            assert_eq!(json!([is["mode"], is["miimon"]]), json!([mode, miimon]));
            let ports = sh_json("ip -j link show master bond7");
            let mut ports: Vec<_> =
                items(&ports).iter().map(|port| text(&port["ifname"])).collect();
            ports.sort();
            assert_eq!(ports, ["cable1", "cable2"], "{mode}");
            netsetup("check net --netns /run/netns/pod");
            netsetup("del net --netns /run/netns/pod");
            assert_eq!(sh_out("ip -br link | grep -c bond7 || true"), "0", "{mode}");
        }
        drop(all);
    });
}

/// What is in use is not taken, and what somebody else has made must be what is wanted.
#[test]
#[ignore = "needs bond: tests/vm runs it on Linux 5.10 and 6.12"]
fn vm_a_bond_that_cannot_be_made() {
    world(Kind::User, || {
        needs("bond");
        host();
        sh(CABLES);
        let described = |links: &[&str]| {
            let bond = json!({"links": links, "mode": "active-backup"});
            network("net", &plugin("macvlan", json!({"master": "bond7", "bond": bond})));
        };
        described(&["cable1", "nosuch"]);
        let said = refused("explain net --netns /run/netns/pod", 5);
        assert!(said.contains("make bond bond7 of link nosuch: there is no such link"), "{said}");
        described(&["cable1", "cable2"]);
        sh("ip link set cable2 up");
        let said = refused("explain net --netns /run/netns/pod", 4);
        assert!(
            said.contains("link cable2: it is up") && said.contains("set cable2 down"),
            "{said}"
        );
        sh(
            "ip link set cable2 down && ip link add br7 type bridge && ip link set cable2 master br7",
        );
        let said = refused("explain net --netns /run/netns/pod", 4);
        assert!(said.contains("it is in another bond, bridge"), "{said}");
        sh("ip link del br7 && ip link add bond7 type bond mode balance-rr");
        let said = refused("explain net --netns /run/netns/pod", 4);
        assert!(said.contains("its mode isn't active-backup"), "{said}");
        sh("ip link del bond7 && ip link add bond7 type bond mode active-backup && \
            ip link set cable1 master bond7");
        let said = refused("explain net --netns /run/netns/pod", 4);
        assert!(said.contains("link cable2 isn't in it"), "{said}");
        // Somebody else's is used, and stays.
        sh("ip link set cable2 master bond7 && ip link set bond7 up");
        add("net --netns /run/netns/pod");
        netsetup("del net --netns /run/netns/pod");
        sh("ip link show bond7");
    });
}

/// Whether an answer comes at all: a bond looks at carriers now and then.
fn reached(from: &Ns, to: &str) -> bool {
    (0..10).any(|_| reaches(from, to))
}
