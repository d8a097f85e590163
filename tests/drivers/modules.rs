//! The same of kinds of links that come as modules, and of links below that are made on
//! demand. What all drivers have is looked at in [`super::whole`].

use serde_json::json;

use super::bed::{Life, add, needs, plugin, reaches};
use super::common::{Kind, world};
use super::vm::TRUNK;
use super::whole::bridge;

/// Kinds of objects that are these drivers' own.
const OWN: &[&str] = &["device", "member", "vlans", "own-vlan", "up", "route"];

#[test]
#[ignore = "needs ipvlan: tests/vm runs it on Linux 5.10"]
fn vm_ipvlan_from_explain_to_del() {
    world(Kind::User, || {
        needs("ipvlan");
        Life {
            plugins: vec![plugin("ipvlan", json!({"mtu": 1400}))],
            explained: "
                PHASE HOLD WHERE WHAT
                close own host lease 10.5.0.3 for pod/eth0
                close own host lease fd05::3 for pod/eth0
                build own pod ipvlan eth0 mode l2 on up0 of the host
                build own pod sysctl net.ipv6.conf.eth0.accept_ra=0
                build ensure pod link lo up
                build own pod link eth0 up
                build own pod address 10.5.0.3/24 dev eth0
                build own pod address fd05::3/64 dev eth0
                build own pod route default via 10.5.0.1 dev eth0
                open ensure pod neighbours of eth0 told of it",
            kinds: OWN,
            ..Life::default()
        }
        .run();
    });
}

#[test]
#[ignore = "needs vlan: tests/vm runs it on Linux 5.10"]
fn vm_vlan_from_explain_to_del() {
    world(Kind::User, || {
        needs("vlan");
        Life {
            setup: TRUNK,
            plugins: vec![plugin("vlan", json!({"master": "up0", "vlanId": 100, "mtu": 1400}))],
            flags: "--mac 02:00:00:00:00:07",
            explained: "
                PHASE HOLD WHERE WHAT
                close own host lease 10.5.0.3 for pod/eth0
                close own host lease fd05::3 for pod/eth0
                build own pod vlan eth0 id 100 on up0 of the host
                build own pod sysctl net.ipv6.conf.eth0.accept_ra=0
                build ensure pod link lo up
                build own pod link eth0 up
                build own pod address 10.5.0.3/24 dev eth0
                build own pod address fd05::3/64 dev eth0
                build own pod route default via 10.5.0.1 dev eth0
                open ensure pod neighbours of eth0 told of it",
            kinds: OWN,
        }
        .run();
        add("net --netns /run/netns/pod");
        let pod = super::common::Ns::named("pod");
        assert!(reaches(&pod, "10.5.0.1") && reaches(&pod, "fd05::1"));
    });
}

#[test]
#[ignore = "needs dummy: tests/vm runs it on Linux 5.10"]
fn vm_dummy_from_explain_to_del() {
    world(Kind::User, || {
        needs("dummy");
        Life {
            plugins: vec![json!({"type": "dummy", "ipam": {"type": "host-local",
                "ranges": [[{"subnet": "10.5.0.0/24"}], [{"subnet": "fd05::/64"}]]}})],
            explained: "
                PHASE HOLD WHERE WHAT
                close own host lease 10.5.0.3 for pod/eth0
                close own host lease fd05::3 for pod/eth0
                build own pod dummy eth0
                build own pod sysctl net.ipv6.conf.eth0.accept_ra=0
                build ensure pod link lo up
                build own pod link eth0 up
                build own pod address 10.5.0.3/24 dev eth0
                build own pod address fd05::3/64 dev eth0",
            kinds: OWN,
            ..Life::default()
        }
        .run();
    });
}

#[test]
#[ignore = "needs VLANs of bridges: tests/vm runs it on Linux 6.12"]
fn vm_bridge_with_vlans() {
    world(Kind::User, || {
        let keys = json!({"vlan": 7, "preserveDefaultVlan": false, "hairpinMode": true});
        Life {
            plugins: vec![bridge(keys)],
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
                build share host VLAN 7 of bridge br5 itself
                build share host vlan br5.7 id 7 on br5 of the host
                build share host sysctl net.ipv6.conf.br5/7.accept_ra=0
                build share host link br5.7 up
                build own host veth VETH on br5 with peer eth0 in the pod
                build own host VLANs of VETH: 7 untagged, not the default one
                build share host address 10.5.0.1/24 dev br5.7
                build share host address fd05::1/64 dev br5.7
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
            kinds: OWN,
            ..Life::default()
        }
        .run();
    });
}

#[test]
#[ignore = "needs VLANs of bridges: tests/vm runs it on Linux 6.12"]
fn vm_bridge_with_a_trunk() {
    world(Kind::User, || {
        let keys = json!({"isGateway": false, "ipMasq": false, "preserveDefaultVlan": false,
            "vlanTrunk": [{"id": 7}, {"minID": 20, "maxID": 22}],
            "ipam": {"type": "static", "addresses": [{"address": "10.5.0.3/24"}]}});
        Life {
            plugins: vec![bridge(keys)],
            explained: "
                PHASE HOLD WHERE WHAT
                build share host bridge br5
                build share host sysctl net.ipv6.conf.br5.accept_ra=0
                build share host link br5 up
                build own host veth VETH on br5 with peer eth0 in the pod
                build own host VLANs of VETH: 7, 20-22, not the default one
                build own pod sysctl net.ipv6.conf.eth0.disable_ipv6=1
                build own pod address 10.5.0.3/24 dev eth0
                build ensure pod link lo up
                build own pod link eth0 up
                open ensure pod neighbours of eth0 told of it",
            kinds: &["vlans"],
            ..Life::default()
        }
        .run();
    });
}

#[test]
#[ignore = "needs vrf: tests/vm runs it on Linux 6.12"]
fn vm_vrf() {
    world(Kind::User, || {
        needs("vrf");
        let vrf = json!({"type": "vrf", "vrfname": "blue", "table": 77});
        let plugins = vec![plugin("macvlan", json!({"master": "up0"})), vrf];
        Life {
            plugins,
            explained: "
                PHASE HOLD WHERE WHAT
                close own host lease 10.5.0.3 for pod/eth0
                close own host lease fd05::3 for pod/eth0
                build share pod vrf blue table 77
                build share pod link blue up
                build own pod macvlan eth0 mode bridge on up0 of the host
                build own pod sysctl net.ipv6.conf.eth0.accept_ra=0
                build ensure pod link lo up
                build own pod link eth0 in blue
                build own pod link eth0 up
                build own pod address 10.5.0.3/24 dev eth0
                build own pod address fd05::3/64 dev eth0
                build own pod route default via 10.5.0.1 dev eth0 table 77
                open ensure pod neighbours of eth0 told of it",
            kinds: OWN,
            ..Life::default()
        }
        .run();
    });
}

#[test]
#[ignore = "needs vlan: tests/vm runs it on Linux 6.12"]
fn vm_on_a_vlan_that_is_made_on_demand() {
    world(Kind::User, || {
        needs("vlan");
        let plugins = vec![plugin("macvlan", json!({"master": "up0.100"}))];
        Life {
            plugins,
            explained: "
                PHASE HOLD WHERE WHAT
                close own host lease 10.5.0.3 for pod/eth0
                close own host lease fd05::3 for pod/eth0
                build share host vlan up0.100 id 100 on up0 of the host
                build share host link up0.100 up
                build own pod macvlan eth0 mode bridge on up0.100 of the host
                build own pod sysctl net.ipv6.conf.eth0.accept_ra=0
                build ensure pod link lo up
                build own pod link eth0 up
                build own pod address 10.5.0.3/24 dev eth0
                build own pod address fd05::3/64 dev eth0
                build own pod route default via 10.5.0.1 dev eth0
                open ensure pod neighbours of eth0 told of it",
            kinds: OWN,
            ..Life::default()
        }
        .run();
    });
}

#[test]
#[ignore = "needs bond: tests/vm runs it on Linux 6.12"]
fn vm_on_a_vlan_of_a_bond_that_are_made_on_demand() {
    world(Kind::User, || {
        needs("bond");
        let keys = json!({"master": "bond7.100", "bond": {"links": ["cable0", "cable1"]}});
        Life {
            setup: "for i in 0 1; do ip link add cable$i type veth peer name end$i netns far && \
                    ip -n far link set end$i up || exit; done",
            plugins: vec![plugin("macvlan", keys)],
            explained: "
                PHASE HOLD WHERE WHAT
                close own host lease 10.5.0.3 for pod/eth0
                close own host lease fd05::3 for pod/eth0
                build share host bond bond7 mode active-backup
                build share host link cable0 in bond7
                build share host link cable1 in bond7
                build share host link bond7 up
                build share host vlan bond7.100 id 100 on bond7 of the host
                build share host link bond7.100 up
                build own pod macvlan eth0 mode bridge on bond7.100 of the host
                build own pod sysctl net.ipv6.conf.eth0.accept_ra=0
                build ensure pod link lo up
                build own pod link eth0 up
                build own pod address 10.5.0.3/24 dev eth0
                build own pod address fd05::3/64 dev eth0
                build own pod route default via 10.5.0.1 dev eth0
                open ensure pod neighbours of eth0 told of it",
            kinds: OWN,
            ..Life::default()
        }
        .run();
    });
}
