//! VLANs of pods' ports.
//!
//! Linux has them with CONFIG_BRIDGE_VLAN_FILTERING. Where it is missing, that is said, and
//! that is all that is tested there: packets are a matter of a kernel that has it, as
//! Debian's 5.10 and 6.12 do, which tests/vm boots.

use super::bed::{Pod, at, netsetup, network, pod, refused};
use super::common::traffic::{NEVER, SOON, tcp, tcp_server};
use super::common::{Kind, Ns, ns_add, sh_any, sh_out, world};

/// A network of one address on a bridge that all of them share.
fn on(name: &str, vlans: &str, address: &str) {
    network(
        name,
        &format!(
            r#"{{"cniVersion": "1.0.0", "name": "{name}", "plugins": [{{"type": "bridge",
               "bridge": "br-vlan", {vlans}, "preserveDefaultVlan": false,
               "ipam": {{"type": "static", "addresses": [{{"address": "{address}/24"}}]}}}}]}}"#
        ),
    );
}

#[test]
fn a_vlan_is_a_network_of_its_own_or_the_kernel_has_none() {
    world(Kind::User, || {
        on("one", "\"vlan\": 100", "10.91.0.1");
        on("same", "\"vlan\": 100", "10.91.0.2");
        on("other", "\"vlan\": 200", "10.91.0.3");
        on(
            "trunk",
            "\"vlanTrunk\": [{\"id\": 100}, {\"minID\": 200, \"maxID\": 210}]",
            "10.91.0.4",
        );
        let probe = "ip link add probe type bridge vlan_filtering 1 && ip link del probe";
        let has = sh_any(probe).status.success();
        if has {
            pods_meet_on_their_vlan();
            a_gateway_is_in_the_vlan_of_its_pods();
        } else {
            println!(
                "this kernel filters no VLANs: their packets are tested on 5.10 and 6.12, in the VM"
            );
            the_kernel_lacks_it();
        }
    });
}

fn the_kernel_lacks_it() {
    ns_add("a");
    let said = refused("add one --netns /run/netns/a", 7);
    assert!(said.contains("CONFIG_BRIDGE_VLAN_FILTERING"), "{said}");
    assert_eq!(sh_out("ip -br link show type bridge"), "", "nothing is left");
    // A bridge that is there already can't do it either.
    super::common::sh("ip link add br-vlan type bridge");
    let said = refused("add one --netns /run/netns/a", 4);
    assert!(said.contains("br-vlan carries all VLANs to all ports"), "{said}");
}

fn pods_meet_on_their_vlan() {
    let [one, same, other] = ["one", "same", "other"].map(|name| pod(name, name, ""));
    let trunk = pod("trunk", "trunk", "");
    let _servers = [&one, &other, &trunk].map(|pod| tcp_server(&pod.ns, "pod", pod.ips[0], 80));
    let reaches = |from: &Ns, to: &Pod, time| tcp(from, at(to.ips[0], 80), time).is_ok();
    assert!(reaches(&same.ns, &one, SOON), "{}", sh_out("bridge vlan"));
    assert!(!reaches(&same.ns, &other, NEVER), "{}", sh_out("bridge vlan"));
    assert!(!reaches(&same.ns, &trunk, NEVER), "without a tag nobody is there");
    let vlans = sh_out("bridge -compressvlans vlan show | tr -s ' '");
    for words in ["100 PVID Egress Untagged", "200 PVID Egress Untagged", "200-210"] {
        assert!(vlans.contains(words), "{words}: {vlans}");
    }
    for name in ["one", "same", "other", "trunk"] {
        netsetup(&format!("check {name} --netns /run/netns/{name}"));
        netsetup(&format!("del {name} --netns /run/netns/{name}"));
    }
    assert!(!sh_any("ip link show br-vlan").status.success(), "the bridge goes with the last");
}

/// Two networks on one bridge, each with a VLAN and a gateway in it.
fn a_gateway_is_in_the_vlan_of_its_pods() {
    for (name, vlan) in [("red", 100), ("blue", 200)] {
        network(
            name,
            &format!(
                r#"{{"cniVersion": "1.0.0", "name": "{name}", "plugins": [{{"type": "bridge",
                   "bridge": "br-vlan", "vlan": {vlan}, "preserveDefaultVlan": false,
                   "isGateway": true, "ipam": {{"type": "host-local",
                   "subnet": "10.92.{vlan}.0/24", "routes": [{{"dst": "0.0.0.0/0"}}]}}}}]}}"#
            ),
        );
    }
    let before = sh_out("ip -br addr");
    let [red, more, blue] = [("red", "r"), ("red", "m"), ("blue", "b")]
        .map(|(network, name)| (network, name, pod(name, network, "")));
    let links = sh_out("ip -d -br link show type vlan | tr -s ' '; ip -4 -br addr | tr -s ' '");
    for words in ["br-vlan.100@br-vlan", "br-vlan.200@br-vlan", "10.92.100.1/24", "10.92.200.1/24"]
    {
        assert!(links.contains(words), "{words}: {links}");
    }
    // The host has one address in each VLAN, and leads from one to the other.
    let host = "traceroute -n -q 1 -w 1 -m 2";
    for (ns, target, by) in [
        (&red.2.ns, more.2.ips[0], None),
        (&red.2.ns, blue.2.ips[0], Some("10.92.100.1")),
        (&blue.2.ns, red.2.ips[0], Some("10.92.200.1")),
    ] {
        let way = sh_out(&format!("ip netns exec {} {host} {target}", ns.name));
        assert!(way.contains(&target.to_string()), "{way}");
        assert!(by.map_or(!way.contains(".1 "), |by| way.contains(by)), "{way}");
    }
    for (network, name, _) in [&red, &more, &blue] {
        netsetup(&format!("check {network} --netns /run/netns/{name}"));
    }
    super::common::sh("bridge vlan del dev br-vlan vid 100 self");
    let said = refused("check red --netns /run/netns/r", 3);
    assert!(said.contains("VLAN 100 of bridge br-vlan itself"), "{said}");
    netsetup("del red --netns /run/netns/r");
    netsetup("del red --netns /run/netns/m");
    let links = sh_out("ip -br link; bridge vlan");
    assert!(!links.contains("br-vlan.100") && links.contains("br-vlan.200"), "{links}");
    netsetup("del blue --netns /run/netns/b");
    assert_eq!(sh_out("ip -br addr"), before);
}
