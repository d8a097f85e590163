//! VLANs of pods' ports.
//!
//! Linux has them with CONFIG_BRIDGE_VLAN_FILTERING. Where it is missing, that is said, and
//! that is all that is tested there: packets are a matter of a kernel that has it, as
//! Debian's 5.10 and 6.12 in the VM.

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
        } else {
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
