//! Kinds of links that come as modules: ipvlan, vlan, dummy, vrf.

use serde_json::json;

use super::bed::{
    add, counted, everywhere, host, needs, netsetup, network, plugin, pod, reaches, refused,
};
use super::call::with;
use super::common::dump::{assert_same_world, dump};
use super::common::flatten::{items, text};
use super::common::{Kind, Ns, dirs, ns_del, sh, sh_json, sh_out, world};

/// What the host's netfilter sees come in for the pods, before anything is dropped.
const SEEN: &str = "nft add table inet seen && \
    nft 'add chain inet seen pre { type filter hook prerouting priority -500; }' && \
    nft add rule inet seen pre ip daddr 10.5.0.0/24 counter && \
    nft add rule inet seen pre ip6 daddr fd05::/64 counter";

/// Two pods on one link, and another host at its other end. Without a mode that answers ARP
/// that one sends to this host what is for the pods.
fn ipvlan(mode: &str) {
    needs("ipvlan");
    let [one, far] = host();
    let two = pod("two");
    network("net", &with(plugin("ipvlan", json!({"mode": mode})), everywhere(5)));
    sh(SEEN);
    let master = text(&sh_json("ip -j link show up0")[0]["address"]);
    for name in ["pod", "two"] {
        let result = add(&format!("net --netns /run/netns/{name}"));
        assert_eq!(result["interfaces"][0]["mac"], master);
        netsetup(&format!("check net --netns /run/netns/{name}"));
    }
    let link = &one.sh_json("ip -d -j link show eth0")[0];
    let no_arp = items(&link["flags"]).contains(&json!("NOARP"));
    let routed = mode != "l2";
    assert_eq!(json!([link["linkinfo"]["info_data"]["mode"], no_arp]), json!([mode, routed]));
    let own = "ip addr add 10.5.0.1/24 dev eth0 && ip addr add fd05::1/64 dev eth0 nodad";
    let by_host = "ip route add 10.5.0.0/24 via 198.18.0.1 && \
                   ip route add fd05::/64 via 2001:db8:18::1";
    far.sh(if routed { by_host } else { own });
    // Over the default routes, where it isn't the pods' own network.
    let there = if routed { ["198.18.0.2", "2001:db8:18::2"] } else { ["10.5.0.1", "fd05::1"] };
    let reached = |from: &Ns, to: &[&str]| {
        to.iter().for_each(|to| assert!(reaches(from, to), "{mode}: {} to {to}", from.name));
    };
    reached(&one, &["10.5.0.3", "fd05::3"]);
    reached(&two, &there);
    reached(&far, &["10.5.0.2", "fd05::2"]);
    // How many those are, of IPv4 and IPv6.
    let seen = counted(&Ns::host());
    let passed: Vec<_> = seen.iter().map(|packets| *packets != 0).collect();
    assert_eq!(passed, [mode == "l3s"; 2], "{mode}: through the host's netfilter: {seen:?}");
    if routed {
        far.sh(&format!("ip route del 10.5.0.0/24; ip route del fd05::/64; {own}"));
    }
    // Who asks for a pod's address is answered on the second layer alone.
    for pod in ["10.5.0.2", "fd05::2"] {
        assert_eq!(reaches(&far, pod), !routed, "{mode}: who has {pod}");
        let known = far.sh_out(&format!("ip neigh show {pod} dev eth0"));
        assert_eq!(known.contains(&format!("lladdr {master}")), !routed, "{mode}: {known}");
    }
    netsetup("del net --netns /run/netns/pod");
    netsetup("del net --netns /run/netns/two");
}

#[test]
#[ignore = "needs ipvlan: tests/vm runs it on Linux 5.10 and 6.12"]
fn vm_ipvlan_l2() {
    world(Kind::User, || ipvlan("l2"));
}

#[test]
#[ignore = "needs ipvlan: tests/vm runs it on Linux 5.10 and 6.12"]
fn vm_ipvlan_l3() {
    world(Kind::User, || ipvlan("l3"));
}

#[test]
#[ignore = "needs ipvlan: tests/vm runs it on Linux 5.10 and 6.12"]
fn vm_ipvlan_l3s() {
    world(Kind::User, || ipvlan("l3s"));
}

/// The other end of `up0` has the tag, too, and is another host's.
pub(super) const TRUNK: &str = "ip -n far link add link eth0 name eth0.100 type vlan id 100 && \
    ip -n far link set eth0.100 up && ip -n far addr add 10.5.0.1/24 dev eth0.100 && \
    ip -n far addr add fd05::1/64 dev eth0.100 nodad";

/// The first pod makes `up0.100`, the last one takes it away; one that is there stays.
#[test]
#[ignore = "needs vlan: tests/vm runs it on Linux 5.10 and 6.12"]
fn vm_a_vlan_below_is_made_on_demand() {
    world(Kind::User, || {
        needs("vlan");
        let [one, far] = host();
        let two = pod("two");
        sh(TRUNK);
        network("net", &plugin("macvlan", json!({"master": "up0.100"})));
        let all = [one.clone(), two.clone(), far];
        for ns in ["pod", "two"] {
            add(&format!("net --netns /run/netns/{ns}"));
        }
        for ns in ["pod", "two"] {
            netsetup(&format!("del net --netns /run/netns/{ns}"));
        }
        let before = super::bed::settled(&all);
        add("net --netns /run/netns/pod");
        let text = netsetup("explain net --netns /run/netns/two");
        assert!(text.contains("share   host   vlan up0.100 id 100 on up0 of the host"), "{text}");
        add("net --netns /run/netns/two");
        assert!(reaches(&one, "10.5.0.1") && reaches(&two, "fd05::1"));
        netsetup("check net --netns /run/netns/two");
        netsetup("del net --netns /run/netns/pod");
        assert!(reaches(&two, "10.5.0.1"), "the other pod still needs it");
        netsetup("del net --netns /run/netns/two");
        assert_same_world(&before, &dump(&all), &[]);

        // Somebody's own stays; and what is ours and nobody's goes with gc.
        sh("ip link add link up0 name up0.100 type vlan id 100 && ip link set up0.100 up");
        add("net --netns /run/netns/pod");
        netsetup("del net --netns /run/netns/pod");
        sh("ip link show up0.100 && ip link del up0.100");
        add("net --netns /run/netns/pod");
        std::fs::remove_dir_all(dirs().run).expect("the records");
        netsetup("gc");
        assert_eq!(sh_out("ip -br link | grep -c up0.100 || true"), "0");
    });
}

/// A list whose interface is in a routing domain.
fn in_vrf(interface: serde_json::Value, vrf: serde_json::Value) {
    let list = json!({"cniVersion": "1.0.0", "name": "net", "plugins": [interface, vrf]});
    std::fs::write(dirs().conf.join("net.conflist"), list.to_string()).expect("a list");
}

/// The kernel gives the number of a dead pod's namespace out again: who was in a domain of that
/// one doesn't hold the later one's.
#[test]
#[ignore = "needs vrf: tests/vm runs it on Linux 5.10 and 6.12"]
fn vm_vrf_of_a_later_pod() {
    world(Kind::User, || {
        needs("vrf");
        host();
        let interface = plugin("macvlan", json!({"master": "up0"}));
        in_vrf(interface, json!({"type": "vrf", "vrfname": "blue"}));
        let number = |name: &str| sh_out(&format!("stat -Lc %i /run/netns/{name}"));
        for round in 0..20 {
            pod("first");
            add(&format!("net --netns /run/netns/first --id first-{round}"));
            let first = number("first");
            ns_del("first");
            for _ in 0..20 {
                let later = pod("later");
                if number("later") == first {
                    add("net --netns /run/netns/later");
                    netsetup("del net --netns /run/netns/later");
                    assert_eq!(later.sh_out("ip -br link show type vrf"), "");
                    return;
                }
                ns_del("later");
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        }
        panic!("the kernel gives no number out again");
    });
}

#[test]
#[ignore = "needs vrf: tests/vm runs it on Linux 5.10 and 6.12"]
fn vm_vrf_takes_the_interface_and_its_routes() {
    world(Kind::User, || {
        needs("vrf");
        let [pod, far] = host();
        far.sh("ip addr add 10.5.0.1/24 dev eth0 && ip addr add fd05::1/64 dev eth0 nodad");
        let interface = plugin("macvlan", json!({"master": "up0"}));
        in_vrf(interface.clone(), json!({"type": "vrf", "vrfname": "blue", "table": 77}));
        let all = [pod.clone(), far];
        add("net --netns /run/netns/pod");
        netsetup("del net --netns /run/netns/pod");
        let before = super::bed::settled(&all);
        add("net --netns /run/netns/pod");
        assert_eq!(pod.sh_json("ip -j link show eth0")[0]["master"], "blue");
        let routes = pod.sh_out("ip route show table 77; ip -6 addr show dev eth0 scope global");
        assert!(
            routes.contains("default via 10.5.0.1 dev eth0") && routes.contains("fd05::"),
            "{routes}"
        );
        assert_eq!(pod.sh_out("ip route show"), "", "nothing of it in the main table");
        pod.sh("ping -c 1 -W 1 -I blue 10.5.0.1 && ping -c 1 -W 1 -I blue fd05::1");
        netsetup("check net --netns /run/netns/pod");
        // A second interface in the same domain; the last one takes it away.
        let list = json!({"cniVersion": "1.0.0", "name": "two", "plugins": [
            {"type": "macvlan", "master": "up0"}, {"type": "vrf", "vrfname": "blue"}]});
        std::fs::write(dirs().conf.join("two.conflist"), list.to_string()).expect("a list");
        add("two --netns /run/netns/pod --ifname eth1");
        netsetup("del net --netns /run/netns/pod");
        assert_eq!(pod.sh_json("ip -j link show eth1")[0]["master"], "blue");
        netsetup("check two --netns /run/netns/pod --ifname eth1");
        in_vrf(interface, json!({"type": "vrf", "vrfname": "blue", "table": 78}));
        let said = refused("add net --netns /run/netns/pod", 4);
        assert!(said.contains("VRF blue already exist with different routing table 77"), "{said}");
        netsetup("del two --netns /run/netns/pod --ifname eth1");
        assert_same_world(&before, &dump(&all), &[]);
    });
}

/// What stands on another link carries no more than that, wherever it is.
#[test]
#[ignore = "needs ipvlan and vlan: tests/vm runs it on Linux 5.10 and 6.12"]
fn vm_mtu_and_a_master_in_the_pod() {
    world(Kind::User, || {
        let [pod, far] = host();
        sh("ip link add trunk netns pod type veth peer name end netns far");
        pod.sh("ip link set trunk mtu 1450 up");
        far.sh("ip link set end mtu 1450 up && ip link add link end name end.7 type vlan id 7 && \
                ip link set end.7 up");
        for (kind, tag, end) in
            [("ipvlan", json!({}), "end"), ("vlan", json!({"vlanId": 7}), "end.7")]
        {
            needs(kind);
            let net = |keys: serde_json::Value| {
                let mut plugin = plugin(kind, tag.clone());
                for (key, value) in keys.as_object().expect("keys") {
                    plugin[key] = value.clone();
                }
                network("net", &plugin);
            };
            let large = |master: &str, in_pod: bool, mtu: u32, most: &str| {
                net(json!({"master": master, "linkInContainer": in_pod, "mtu": mtu}));
                let said = refused("add net --netns /run/netns/pod", 2);
                let why = format!("invalid MTU {mtu}, must be [0, master MTU({most})]");
                assert!(said.contains(&why), "{kind}: {said}");
            };
            large("up0", false, 1501, "1500");
            large("trunk", true, 1451, "1450");
            net(json!({"master": "up0", "linkInContainer": true}));
            let said = refused("add net --netns /run/netns/pod", 5);
            assert!(said.contains("cannot find master up0"), "{kind}: {said}");
            far.sh(&format!("ip addr add 10.5.0.1/24 dev {end}"));
            for (master, in_pod, mtu) in [("up0", false, 1400), ("trunk", true, 1300)] {
                net(json!({"master": master, "linkInContainer": in_pod, "mtu": mtu}));
                add("net --netns /run/netns/pod");
                let is = &pod.sh_json("ip -d -j link show eth0")[0];
                assert_eq!(json!([is["mtu"], is["linkinfo"]["info_kind"]]), json!([mtu, kind]));
                netsetup("check net --netns /run/netns/pod");
                if in_pod {
                    assert_eq!(pod.sh_json("ip -j link show eth0")[0]["link"], master);
                    assert!(reaches(&pod, "10.5.0.1"), "{kind} on {master}");
                    // What fits, and what doesn't.
                    let ping = |size: u32| {
                        let words = format!("ping -c 1 -W 1 -M do -s {size} 10.5.0.1");
                        pod.sh_any(&words).status.success()
                    };
                    assert!(ping(mtu - 28) && !ping(mtu - 27), "{kind}");
                }
                netsetup("del net --netns /run/netns/pod");
            }
            pod.sh("ip link show trunk");
            far.sh(&format!("ip addr del 10.5.0.1/24 dev {end}"));
        }
    });
}
