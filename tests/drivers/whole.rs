//! Attachments of several plugins, of bridge and ptp, and of links that are made on demand:
//! each from explain to del, with each of its objects removed and changed by hand.

use serde_json::{Value, json};

use super::bed::{Life, both, needs, plugin};
use super::common::{Kind, world};

/// A bridge that is everything at once: gateway, promiscuous, masqueraded.
pub(super) fn bridge(more: Value) -> Value {
    let mut keys = json!({"bridge": "br5", "isGateway": true, "ipMasq": true});
    let (Value::Object(all), Value::Object(more)) = (&mut keys, more) else { panic!("keys") };
    all.extend(more);
    plugin("bridge", keys)
}

fn portmap() -> Value {
    json!({"type": "portmap", "capabilities": {"portMappings": true}})
}

#[test]
fn bridge_with_ports_and_settings() {
    world(Kind::User, || {
        Life {
            plugins: vec![
                bridge(json!({"promiscMode": true, "mtu": 1400})),
                portmap(),
                json!({"type": "tuning", "mac": "02:00:00:00:00:07", "mtu": 1350, "promisc": true,
                       "allmulti": true, "txQLen": 77}),
            ],
            flags: "-p 8080:80 -p 198.18.0.1:53:53/udp --sysctl net.core.somaxconn=77",
            explained: "
                PHASE HOLD WHERE WHAT
                close own host lease 10.5.0.3 for pod/eth0
                close own host lease fd05::3 for pod/eth0
                close share host nftables table inet podkeel
                close share host true addresses within 10.5.0.0/24
                close share host true addresses within fd05::/64
                build share host bridge br5
                build share host sysctl net.ipv6.conf.br5.accept_ra=0
                build share host link br5 up
                build own host veth VETH on br5 with peer eth0 in the pod
                build share host address 10.5.0.1/24 dev br5
                build share host address fd05::1/64 dev br5
                build ensure host sysctl net.ipv4.ip_forward=1
                build ensure host sysctl net.ipv6.conf.all.forwarding=1
                build own pod sysctl net.ipv6.conf.eth0.accept_ra=0
                build own pod address 10.5.0.3/24 dev eth0
                build own pod address fd05::3/64 dev eth0
                build ensure pod link lo up
                build own pod link eth0 up
                build own pod route default via 10.5.0.1 dev eth0
                build own pod link eth0 address 02:MAC
                build own pod link eth0 promisc 1
                build own pod link eth0 mtu 1350
                build own pod link eth0 allmulticast 1
                build own pod link eth0 txqueuelen 77
                build borrow pod sysctl net.core.somaxconn=77
                open own host masquerade of 10.5.0.3
                open own host masquerade of fd05::3
                open own host port 0.0.0.0:8080/tcp to 10.5.0.3:80
                open own host port [::]:8080/tcp to [fd05::3]:80
                open own host port 198.18.0.1:53/udp to 10.5.0.3:53
                open ensure pod neighbours of eth0 told of it",
            ..Life::default()
        }
        .run();
    });
}

#[test]
fn bridge_with_a_guard() {
    world(Kind::User, || {
        let keys = json!({"macspoofchk": true, "portIsolation": true});
        Life {
            plugins: vec![bridge(keys)],
            explained: "
                PHASE HOLD WHERE WHAT
                close own host lease 10.5.0.3 for pod/eth0
                close own host lease fd05::3 for pod/eth0
                close share host nftables table bridge podkeel
                close own host guard of VETH, which sends from 02:MAC
                close share host nftables table inet podkeel
                close share host true addresses within 10.5.0.0/24
                close share host true addresses within fd05::/64
                build share host bridge br5
                build share host sysctl net.ipv6.conf.br5.accept_ra=0
                build share host link br5 up
                build own host veth VETH on br5 with peer eth0 in the pod
                build share host address 10.5.0.1/24 dev br5
                build share host address fd05::1/64 dev br5
                build ensure host sysctl net.ipv4.ip_forward=1
                build ensure host sysctl net.ipv6.conf.all.forwarding=1
                build own pod sysctl net.ipv6.conf.eth0.accept_ra=0
                build own pod address 10.5.0.3/24 dev eth0
                build own pod address fd05::3/64 dev eth0
                build ensure pod link lo up
                build own pod link eth0 up
                build own pod route default via 10.5.0.1 dev eth0
                open own host masquerade of 10.5.0.3
                open own host masquerade of fd05::3
                open ensure pod neighbours of eth0 told of it",
            ..Life::default()
        }
        .run();
    });
}

/// On a host whose FORWARD drops, with ports for some senders only.
#[test]
fn bridge_behind_a_firewall() {
    world(Kind::User, || {
        let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true},
                             "masqAll": true, "conditionsV4": ["-s", "198.18.0.0/24"]});
        Life {
            setup: "iptables -P FORWARD DROP && ip6tables -P FORWARD DROP",
            plugins: vec![bridge(json!({})), portmap, json!({"type": "firewall"})],
            flags: "-p 8080:80",
            explained: "
                PHASE HOLD WHERE WHAT
                close own host lease 10.5.0.3 for pod/eth0
                close own host lease fd05::3 for pod/eth0
                close share host nftables table inet podkeel
                close share host true addresses within 10.5.0.0/24
                close share host true addresses within fd05::/64
                close share host chain terms4-9806f60b of ports for packets with \"-s 198.18.0.0/24\"
                close share host chains for accepts in iptables' FORWARD
                close share host chains for accepts in ip6tables' FORWARD
                build share host bridge br5
                build share host sysctl net.ipv6.conf.br5.accept_ra=0
                build share host link br5 up
                build own host veth VETH on br5 with peer eth0 in the pod
                build share host address 10.5.0.1/24 dev br5
                build share host address fd05::1/64 dev br5
                build ensure host sysctl net.ipv4.ip_forward=1
                build ensure host sysctl net.ipv6.conf.all.forwarding=1
                build own pod sysctl net.ipv6.conf.eth0.accept_ra=0
                build own pod address 10.5.0.3/24 dev eth0
                build own pod address fd05::3/64 dev eth0
                build ensure pod link lo up
                build own pod link eth0 up
                build own pod route default via 10.5.0.1 dev eth0
                open own host masquerade of 10.5.0.3
                open own host masquerade of fd05::3
                open own host port 0.0.0.0:8080/tcp to 10.5.0.3:80 (terms4-9806f60b)
                open own host masquerade of all to 10.5.0.3:80/tcp
                open own host port [::]:8080/tcp to [fd05::3]:80
                open own host masquerade of all to [fd05::3]:80/tcp
                open own host accepts of 10.5.0.3 in iptables' FORWARD
                open own host accepts of fd05::3 in ip6tables' FORWARD
                open ensure pod neighbours of eth0 told of it",
            ..Life::default()
        }
        .run();
    });
}

#[test]
fn ptp() {
    world(Kind::User, || {
        let keys = json!({"ipMasq": true, "mtu": 1400});
        Life {
            plugins: vec![plugin("ptp", keys)],
            explained: "
                PHASE HOLD WHERE WHAT
                close own host lease 10.5.0.3 for pod/eth0
                close own host lease fd05::3 for pod/eth0
                close share host nftables table inet podkeel
                close share host true addresses within 10.5.0.0/24
                close share host true addresses within fd05::/64
                build ensure host sysctl net.ipv4.ip_forward=1
                build ensure host sysctl net.ipv6.conf.all.forwarding=1
                build own host veth VETH with peer eth0 in the pod
                build own host sysctl net.ipv6.conf.VETH.accept_ra=0
                build own host address 10.5.0.1/32 dev VETH
                build own host route 10.5.0.3/32 dev VETH
                build own host address fd05::1/128 dev VETH
                build own host route fd05::3/128 dev VETH
                build own pod sysctl net.ipv6.conf.eth0.accept_ra=0
                build ensure pod link lo up
                build own pod link eth0 up
                build own pod address 10.5.0.3/24 dev eth0
                build own pod route 10.5.0.1/32 dev eth0
                build own pod route 10.5.0.0/24 via 10.5.0.1 dev eth0
                build own pod address fd05::3/64 dev eth0
                build own pod route fd05::1/128 dev eth0
                build own pod route fd05::/64 via fd05::1 dev eth0
                build own pod route default via 10.5.0.1 dev eth0
                open own host masquerade of 10.5.0.3
                open own host masquerade of fd05::3",
            ..Life::default()
        }
        .run();
    });
}

/// What may be said of a route is part of it.
#[test]
fn routes_with_attributes() {
    world(Kind::User, || {
        let mut ipam = both();
        ipam["routes"] = json!([
            {"dst": "10.66.0.0/16", "mtu": 1350, "advmss": 1200, "priority": 70},
            {"dst": "10.67.0.0/16", "table": 77},
            {"dst": "10.68.0.0/16", "scope": 253},
            {"dst": "fd66::/64", "mtu": 1350, "priority": 70},
        ]);
        let plugins = vec![json!({"type": "macvlan", "ipam": ipam})];
        needs("macvlan");
        Life {
            plugins,
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
                build own pod route 10.66.0.0/16 via 10.5.0.1 dev eth0
                build own pod route 10.67.0.0/16 via 10.5.0.1 dev eth0 table 77
                build own pod route 10.68.0.0/16 dev eth0
                build own pod route fd66::/64 via fd05::1 dev eth0
                open ensure pod neighbours of eth0 told of it",
            ..Life::default()
        }
        .run();
    });
}

#[test]
fn none() {
    world(Kind::User, || {
        Life {
            plugins: vec![json!({"type": "none"})],
            explained: "
                PHASE HOLD WHERE WHAT
                build own pod link lo up",
            ..Life::default()
        }
        .run();
    });
}

/// What is set of a link that is lent is put back before it goes home.
#[test]
fn host_device_with_settings() {
    world(Kind::User, || {
        Life {
            setup: "ip link add card0 type veth peer name card1 netns far && ip link set card0 up && ip -n far link set card1 addrgenmode none up",
            plugins: vec![
                plugin("host-device", json!({"device": "card0"})),
                json!({"type": "tuning", "mtu": 1350, "promisc": true, "allmulti": true, "txQLen": 77,
                       "sysctl": {"net.core.somaxconn": "77"}}),
            ],
            explained: "
                PHASE HOLD WHERE WHAT
                close own host lease 10.5.0.3 for pod/eth0
                close own host lease fd05::3 for pod/eth0
                build own host pin of the pod's namespace at RUN/pins/ID
                build borrow pod link card0 of the host as eth0
                build own pod sysctl net.ipv6.conf.eth0.accept_ra=0
                build ensure pod link lo up
                build own pod link eth0 up
                build own pod address 10.5.0.3/24 dev eth0
                build own pod address fd05::3/64 dev eth0
                build own pod route default via 10.5.0.1 dev eth0
                build borrow pod link eth0 promisc 1
                build borrow pod link eth0 mtu 1350
                build borrow pod link eth0 allmulticast 1
                build borrow pod link eth0 txqueuelen 77
                build borrow pod sysctl net.core.somaxconn=77
                open ensure pod neighbours of eth0 told of it",
            ..Life::default()
        }
        .run();
    });
}

#[test]
fn tap_in_a_bridge_of_the_pod() {
    world(Kind::User, || {
        Life {
            setup: "ip -n pod link add br0 type bridge && ip -n pod link set br0 up",
            plugins: vec![json!({"type": "tap", "bridge": "br0"})],
            explained: "
                PHASE HOLD WHERE WHAT
                build own pod tap eth0 on br0
                build ensure pod link lo up
                build own pod link eth0 up",
            ..Life::default()
        }
        .run();
    });
}

/// Who learns is told by nobody who is where.
#[test]
fn vxlan_that_learns_over_ipv6() {
    world(Kind::User, || {
        let host =
            |n: u8, net: &str| json!({"host": format!("2001:db8:18::{n}"), "subnets": [net]});
        let keys = json!({"type": "vxlan", "id": 7, "nolearning": false,
            "remotes": [host(1, "10.42.0.0/24"), host(2, "10.42.1.0/24")],
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.42.0.0/24"}]]}});
        Life {
            plugins: vec![keys],
            explained: "
                PHASE HOLD WHERE WHAT
                close own host lease 10.42.0.3 for pod/eth0
                build share host vxlan vxlan7 id 7 local 2001:db8:18::1 dstport 4789
                build share host sysctl net.ipv6.conf.vxlan7.accept_ra=0
                build share host link vxlan7 up
                build share host fdb 02:MAC dst 2001:db8:18::2 dev vxlan7
                build share host neighbour 169.254.0.2 lladdr 02:MAC dev vxlan7
                build share host route 10.42.1.0/24 via 169.254.0.2 dev vxlan7
                build share host bridge pkvx7
                build share host sysctl net.ipv6.conf.pkvx7.accept_ra=0
                build share host link pkvx7 up
                build own host veth VETH on pkvx7 with peer eth0 in the pod
                build share host address 10.42.0.1/24 dev pkvx7
                build ensure host sysctl net.ipv4.ip_forward=1
                build own pod sysctl net.ipv6.conf.eth0.disable_ipv6=1
                build own pod address 10.42.0.3/24 dev eth0
                build ensure pod link lo up
                build own pod link eth0 up
                open ensure pod neighbours of eth0 told of it",
            ..Life::default()
        }
        .run();
    });
}
