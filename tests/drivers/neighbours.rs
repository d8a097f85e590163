//! Neighbours are told of a pod's addresses, and several networks on one pod have one
//! default route.

use serde_json::json;

use super::bed::{add, host, netsetup, network, plugin, pod, reaches};
use super::common::{Kind, sh, world};

/// A neighbour that has talked to an address believes its old link-layer address, until
/// it hears of the new one.
#[test]
fn who_had_the_address_before_is_forgotten() {
    world(Kind::User, || {
        let [_, far] = host();
        far.sh("ip addr add 10.5.0.1/24 dev eth0 && ip addr add fd05::1/64 dev eth0 nodad");
        // Somebody else had them, says the neighbour's cache.
        far.sh("ip neigh add 10.5.0.2 lladdr 02:00:00:00:00:99 nud reachable dev eth0 && \
                ip neigh add fd05::2 lladdr 02:00:00:00:00:99 nud reachable dev eth0");
        network("net", &plugin("macvlan", json!({"master": "up0"})));
        let result = add("net --netns /run/netns/pod");
        let mac = result["interfaces"][0]["mac"].as_str().expect("an address").to_owned();
        let known = |ip: &str| far.sh_out(&format!("ip neigh show {ip} dev eth0"));
        for ip in ["10.5.0.2", "fd05::2"] {
            let heard = (0..50).any(|_| {
                std::thread::sleep(std::time::Duration::from_millis(10));
                known(ip).contains(&mac)
            });
            assert!(heard, "{ip}: {}", known(ip));
        }
        // Neither had to ask.
        assert!(reaches(&far, "10.5.0.2") && reaches(&far, "fd05::2"));
    });
}

/// An IPv6 address is there at once: nobody waits for duplicate address detection.
#[test]
fn ipv6_addresses_are_there_at_once() {
    world(Kind::User, || {
        host();
        super::common::ns_add("late");
        sh(
            "ip netns exec late sh -c 'echo 1 | tee /proc/sys/net/ipv6/conf/*/accept_dad >/dev/null'",
        );
        let late = super::common::Ns::named("late");
        network("net", &plugin("macvlan", json!({"master": "up0"})));
        add("net --netns /run/netns/late");
        let addr = late.sh_out("ip -6 addr show dev eth0 scope global");
        assert!(addr.contains("nodad") && !addr.contains("tentative"), "{addr}");
    });
}

/// Of several networks of one pod, by hand the first one that is attached has the default
/// route; each has its own interface, and del of one leaves the others.
#[test]
fn several_networks_on_one_pod() {
    world(Kind::User, || {
        let [one, far] = host();
        pod("two");
        far.sh("ip addr add 10.5.0.1/24 dev eth0");
        network("net", &plugin("macvlan", json!({"master": "up0"})));
        network(
            "tap",
            &plugin(
                "tap",
                json!({"ipam": {"type": "host-local",
            "subnet": "10.6.0.0/24", "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.60.0.0/16"}]}}),
            ),
        );
        add("net --netns /run/netns/pod");
        add("bridge --netns /run/netns/pod --ifname eth1");
        add("tap --netns /run/netns/pod --ifname eth2");
        let routes = one.sh_out("ip -4 route show default");
        assert_eq!(routes.trim_end(), "default via 10.5.0.1 dev eth0 proto 112");
        let third = one.sh_out("ip -4 route show dev eth2");
        assert!(third.contains("10.60.0.0/16 via 10.6.0.1"), "{third}");
        assert_eq!(one.sh_out("ip -br link | wc -l"), "4");
        netsetup("del bridge --netns /run/netns/pod --ifname eth1");
        assert!(reaches(&one, "10.5.0.1"));
        netsetup("check net --netns /run/netns/pod");
        netsetup("check tap --netns /run/netns/pod --ifname eth2");
        netsetup("del net --netns /run/netns/pod");
        netsetup("del tap --netns /run/netns/pod --ifname eth2");
        assert_eq!(one.sh_out("ip -br link | wc -l"), "1");
    });
}
