//! gc, of pods whose namespaces have gone without a del: no link of the host's tells of them,
//! as a veth would, but for ptp and vxlan.

use serde_json::{Value, json};

use super::bed::{add, host, left, needs, netsetup, network, plugin, pod, reaches, settled};
use super::common::flatten::text;
use super::common::{Kind, ns_del, sh_json, sh_out, world};

/// A pod's namespace goes; gc says so, and takes away what is left of its attachment.
fn goes(kind: &str, more: Value) {
    world(Kind::User, || {
        needs(kind);
        let far = std::slice::from_ref(&host()[1]).to_vec();
        network("net", &plugin(kind, more));
        // Once around: where leases are is there from the first one on.
        add("net --netns /run/netns/pod");
        netsetup("del net --netns /run/netns/pod");
        ns_del("pod");
        let before = settled(&far);
        pod("pod");
        add("net --netns /run/netns/pod");
        assert!(netsetup("gc").lines().all(|line| !line.contains("removed")), "it is alive");
        netsetup("check net --netns /run/netns/pod");
        ns_del("pod");
        // The kernel takes a namespace apart when it likes; until then a veth says it lives.
        let told = super::bed::in_time(|| netsetup("gc --dry-run"), "would remove");
        assert!(told.contains("net/pod/eth0"), "{told}");
        let told = netsetup("gc");
        assert!(told.contains("net/pod/eth0"), "{told}");
        assert_eq!(left(&before, &far), [""; 0], "after {told}");
    });
}

#[test]
fn macvlan() {
    goes("macvlan", json!({"master": "up0"}));
}

#[test]
fn tap() {
    goes("tap", json!({}));
}

#[test]
fn ptp() {
    goes("ptp", json!({"ipMasq": true}));
}

#[test]
fn vxlan() {
    let host =
        |n: u8| json!({"host": format!("198.18.0.{n}"), "subnets": [format!("10.5.{n}.0/24")]});
    let mut keys = json!({"id": 42, "remotes": [host(1), host(2)], "ipMasq": true});
    keys["ipam"] = json!({"type": "host-local", "ranges": [[{"subnet": "10.5.1.0/24"}]]});
    goes("vxlan", keys);
}

#[test]
#[ignore = "needs ipvlan: tests/vm runs it on Linux 6.12"]
fn vm_ipvlan() {
    goes("ipvlan", json!({"master": "up0"}));
}

#[test]
#[ignore = "needs vlan: tests/vm runs it on Linux 6.12"]
fn vm_vlan() {
    goes("vlan", json!({"master": "up0", "vlanId": 7}));
}

#[test]
#[ignore = "needs dummy: tests/vm runs it on Linux 6.12"]
fn vm_dummy() {
    goes("dummy", json!({}));
}

/// A link below that was made on demand stays as long as one of its pods is there, however
/// the others went: del, or gc of one that vanished.
#[test]
#[ignore = "needs vlan: tests/vm runs it on Linux 6.12"]
fn vm_the_last_on_a_vlan_below() {
    world(Kind::User, || {
        needs("vlan");
        let far = std::slice::from_ref(&host()[1]).to_vec();
        network("net", &plugin("macvlan", json!({"master": "up0.100"})));
        add("net --netns /run/netns/pod");
        netsetup("del net --netns /run/netns/pod");
        ns_del("pod");
        let before = settled(&far);
        for last_goes_by in ["gc", "del net --id two"] {
            let pods = ["pod", "two", "three"].map(pod);
            for name in ["pod", "two", "three"] {
                add(&format!("net --netns /run/netns/{name}"));
            }
            let [_, two, three] = &pods;
            let is_there = || sh_out("ip -br link | grep -c up0.100 || true");
            ns_del("pod");
            let told = super::bed::in_time(|| netsetup("gc"), "removed  attachment net/pod");
            assert!(!told.contains("removed  attachment net/t"), "{told}");
            assert!(reaches(two, &address(&three.name)), "both still stand on it");
            netsetup("del net --id three");
            assert_eq!(is_there(), "1", "the last one still stands on it");
            netsetup("check net --netns /run/netns/two");
            ns_del("two");
            super::bed::in_time(|| netsetup("gc --dry-run"), "would remove  attachment net/two");
            netsetup(last_goes_by);
            assert_eq!(is_there(), "0", "after {last_goes_by}");
            ns_del("three");
            assert_eq!(left(&before, &far), [""; 0], "after {last_goes_by}");
        }
    });
}

/// A pod's address.
fn address(pod: &str) -> String {
    let list = sh_json(&format!("ip -n {pod} -4 -j addr show eth0"));
    text(&list[0]["addr_info"][0]["local"])
}
