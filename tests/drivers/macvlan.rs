//! macvlan: real packets, its modes, and the master that is chosen.

use serde_json::json;

use super::bed::{Life, add, host, needs, netsetup, network, plugin, pod, reaches, refused};
use super::common::flatten::text;
use super::common::{Kind, Ns, ns_add, sh, sh_json, world};

#[test]
fn from_explain_to_del() {
    world(Kind::User, || {
        needs("macvlan");
        Life {
            plugins: vec![plugin("macvlan", json!({"mtu": 1400}))],
            explained: "
                PHASE HOLD WHERE WHAT
                close own host lease 10.5.0.3 for pod/eth0
                close own host lease fd05::3 for pod/eth0
                build own pod macvlan eth0 mode bridge on up0 of the host
                build own pod sysctl net.ipv6.conf.eth0.accept_ra=0
                build ensure pod link lo up
                build own pod link eth0 up
                build own pod address 10.5.0.3/24 dev eth0
                build own pod address fd05::3/64 dev eth0
                build own pod route default via 10.5.0.1 dev eth0
                open ensure pod neighbours of eth0 told of it",
            ..Life::default()
        }
        .run();
    });
}

/// How many broadcasts wait is set, or refused by kernels that don't know how (before 5.11).
#[test]
fn a_queue_is_as_long_as_asked_or_refused() {
    world(Kind::User, || {
        needs("macvlan");
        let [pod, _] = host();
        network("net", &plugin("macvlan", json!({"bcqueuelen": 77})));
        let length = |ns: &Ns, link: &str| {
            let link = &ns.sh_json(&format!("ip -d -j link show {link}"))[0];
            link["linkinfo"]["info_data"]["bcqueuelen"].as_u64()
        };
        sh("ip link add link up0 name probe type macvlan");
        let usual = length(&Ns::host(), "probe");
        sh("ip link del probe");
        if usual.is_none() {
            let said = refused("add net --netns /run/netns/pod", 7);
            assert!(
                said.contains("can't set how many broadcasts wait") && said.contains("5.11"),
                "{said}"
            );
            assert_eq!(pod.sh_out("ip -br link | wc -l"), "1");
            netsetup("del net --netns /run/netns/pod");
            return println!(
                "this kernel can't set it; that it is set is tested on 6.12, in the VM"
            );
        }
        add("net --netns /run/netns/pod");
        assert_eq!(length(&pod, "eth0"), Some(77));
        netsetup("check net --netns /run/netns/pod");
        pod.sh("ip link set eth0 type macvlan bcqueuelen 78");
        let said = refused("check net --netns /run/netns/pod", 3);
        assert!(said.contains("its settings are others"), "{said}");
    });
}

/// Two pods on one Ethernet, and the host at its other end.
fn siblings(mode: &str) -> [bool; 4] {
    let [one, far] = host();
    let two = pod("two");
    network("net", &plugin("macvlan", json!({"master": "up0", "mode": mode, "mtu": 1400})));
    for name in ["pod", "two"] {
        add(&format!("net --netns /run/netns/{name}"));
    }
    far.sh("ip addr add 10.5.0.1/24 dev eth0 && ip addr add fd05::1/64 dev eth0 nodad");
    let answers = [
        reaches(&one, "10.5.0.3"),
        reaches(&one, "fd05::3"),
        reaches(&two, "10.5.0.1"),
        reaches(&two, "fd05::1"),
    ];
    assert_eq!(sh_json("ip -n pod -j link show eth0")[0]["mtu"], 1400);
    answers
}

#[test]
fn siblings_reach_each_other_in_bridge_mode() {
    world(Kind::User, || {
        needs("macvlan");
        assert_eq!(siblings("bridge"), [true; 4]);
    });
}

#[test]
fn siblings_reach_the_ethernet_alone_in_private_mode() {
    world(Kind::User, || {
        needs("macvlan");
        assert_eq!(siblings("private"), [false, false, true, true]);
    });
}

/// Nor in vepa mode, for a cable is no switch that sends frames back.
#[test]
fn siblings_need_a_switch_in_vepa_mode() {
    world(Kind::User, || {
        needs("macvlan");
        assert_eq!(siblings("vepa"), [false, false, true, true]);
    });
}

/// What is asked for, by the list or by hand, is what the kernel has and what neighbours see.
#[test]
fn its_link_layer_address_can_be_chosen() {
    world(Kind::User, || {
        needs("macvlan");
        let [_, far] = host();
        far.sh("ip addr add 10.5.0.1/24 dev eth0");
        network("net", &plugin("macvlan", json!({"master": "up0", "mac": "02:00:00:00:00:07"})));
        for (flag, mac) in
            [("", "02:00:00:00:00:07"), (" --mac 02:00:00:00:00:08", "02:00:00:00:00:08")]
        {
            let result = add(&format!("net --netns /run/netns/pod{flag}"));
            assert_eq!(result["interfaces"][0]["mac"], mac);
            assert_eq!(sh_json("ip -n pod -j link show eth0")[0]["address"], mac);
            let ip = result["ips"][0]["address"].as_str().and_then(|ip| ip.split('/').next());
            let ip = ip.expect("an address");
            assert!(reaches(&far, ip), "{ip}");
            assert!(far.sh_out(&format!("ip neigh show {ip}")).contains(mac), "{ip}");
            netsetup("check net --netns /run/netns/pod");
            netsetup("del net --netns /run/netns/pod");
        }
    });
}

/// Without a master it is the link of the default route, on a host of IPv6 alone of that.
#[test]
fn the_master_of_a_host_with_ipv6_alone() {
    world(Kind::User, || {
        needs("macvlan");
        let [one, far] = host();
        far.sh("ip addr add fd05::1/64 dev eth0 nodad");
        // A link that comes before it in the list, and leads elsewhere.
        sh("ip link add other type veth peer name end && ip link set other up && \
            ip addr add 198.18.9.1/24 dev other && ip route del default");
        network("net", &plugin("macvlan", json!({})));
        let text = netsetup("explain net --netns /run/netns/pod");
        assert!(text.contains("macvlan eth0 mode bridge on up0 of the host"), "{text}");
        add("net --netns /run/netns/pod");
        // On a busy machine a fresh link's first solicitation may be lost: it is asked once more.
        assert!((0..5).any(|_| reaches(&one, "fd05::1")));
        netsetup("check net --netns /run/netns/pod");
        netsetup("del net --netns /run/netns/pod");
        // IPv4's comes first where both are there.
        sh("ip route add default via 198.18.9.2 dev other");
        let text = netsetup("explain net --netns /run/netns/pod");
        assert!(text.contains("macvlan eth0 mode bridge on other of the host"), "{text}");
    });
}

#[test]
fn passthru_has_its_masters_address_and_the_master_alone() {
    world(Kind::User, || {
        needs("macvlan");
        let [one, far] = host();
        pod("two");
        far.sh("ip addr add 10.5.0.1/24 dev eth0 && ip addr add fd05::1/64 dev eth0 nodad");
        network("net", &plugin("macvlan", json!({"master": "up0", "mode": "passthru"})));
        let result = add("net --netns /run/netns/pod");
        let master = text(&sh_json("ip -j link show up0")[0]["address"]);
        assert_eq!(result["interfaces"][0]["mac"], master);
        assert!(reaches(&one, "10.5.0.1") && reaches(&one, "fd05::1"));
        let said = refused("add net --netns /run/netns/two", 4);
        assert!(said.contains("or one macvlan in mode passthru"), "{said}");
        let said = refused("explain net --netns /run/netns/two --mac 02:00:00:00:00:01", 2);
        assert!(said.contains("in mode passthru it has its master's address"), "{said}");
        netsetup("del net --netns /run/netns/pod");
        assert_eq!(sh_json("ip -d -j link show up0")[0]["promiscuity"], 0);
    });
}

#[test]
fn the_pods_own_link_can_be_the_master() {
    world(Kind::User, || {
        needs("macvlan");
        let [pod, _] = host();
        // Its other end is another host's, which no other link leads to.
        let there = ns_add("there");
        pod.sh("ip link add trunk type veth peer name end netns there && ip link set trunk up");
        there.sh("ip link set end up && ip addr add 10.5.0.1/24 dev end && \
                  ip addr add fd05::1/64 dev end nodad");
        let keys = json!({"master": "trunk", "linkInContainer": true});
        network("net", &plugin("macvlan", keys));
        add("net --netns /run/netns/pod");
        assert_eq!(pod.sh_json("ip -j link show eth0")[0]["link"], "trunk");
        assert!(reaches(&pod, "10.5.0.1") && reaches(&pod, "fd05::1"));
        assert!(reaches(&there, "10.5.0.2") && reaches(&there, "fd05::2"));
        netsetup("check net --netns /run/netns/pod");
        netsetup("del net --netns /run/netns/pod");
        pod.sh("ip link show trunk");
        // Its default route, where no master is named.
        pod.sh("ip addr add 10.7.0.1/24 dev trunk && ip route add default via 10.7.0.2");
        network("net", &plugin("macvlan", json!({"linkInContainer": true})));
        let text = netsetup("explain net --netns /run/netns/pod");
        assert!(text.contains("macvlan eth0 mode bridge on trunk of the pod"), "{text}");
    });
}

#[test]
fn a_master_that_cannot_be() {
    world(Kind::User, || {
        needs("macvlan");
        host();
        let explain = |keys, code| {
            network("net", &plugin("macvlan", keys));
            refused("explain net --netns /run/netns/pod", code)
        };
        let said = explain(json!({"master": "nosuch"}), 5);
        assert!(said.contains("cannot find master nosuch: there is no such link"), "{said}");
        let said = explain(json!({"master": "nosuch.7"}), 5);
        assert!(said.contains("there is no link nosuch to make it on"), "{said}");
        let said = explain(json!({"mtu": 9000}), 2);
        assert!(said.contains("invalid MTU 9000, must be [0, master MTU(1500)]"), "{said}");
        sh("ip link add br0 type bridge && ip link set up0 master br0");
        network("net", &plugin("macvlan", json!({"master": "up0"})));
        let said = refused("add net --netns /run/netns/pod", 4);
        assert!(said.contains("the master is used in another way"), "{said}");
        sh("ip route del default");
        sh("ip -6 route del default");
        let said = explain(json!({}), 5);
        assert!(said.contains("no default route interface found"), "{said}");
    });
}
