//! A pod's namespace is known again: by attachments that have no link in it to show, after
//! its links have got other addresses, and when another one has its inode number.

use serde_json::{Value, json};

use super::bed::{add, host, netsetup, network, pod, refused};
use super::call::{host_local, ours, who, with};
use super::common::{Kind, Ns, dirs, ns_del, sh, sh_json, sh_out, world};

const KEEPALIVE: &str = "/proc/sys/net/ipv4/tcp_keepalive_time";

#[test]
fn without_a_link_of_its_own() {
    world(Kind::User, || {
        let pod = pod("pod");
        pod.sh("ip link set lo down");
        add("none --netns /run/netns/pod");
        netsetup("check none --netns /run/netns/pod");
        let said = refused("add none --netns /run/netns/pod", 4);
        assert!(said.contains("it is attached already"), "{said}");
        netsetup("del none --netns /run/netns/pod");
        assert_eq!(pod.sh_out("ip -br link | awk '{print $1, $2}'"), "lo DOWN");
    });
}

/// The parts of a chain, called as a runtime calls them: what tuning has set is put back.
#[test]
#[ignore = "needs root"]
fn parts_of_a_chain() {
    world(Kind::Root, || {
        let pod = pod("pod");
        let (plugins, pod_of) = (ours(), who("pod"));
        let before = pod.sh_out(&format!("cat {KEEPALIVE}"));
        let list = chain(&[
            json!({"type": "bridge", "bridge": "br7", "ipam": host_local(&["10.7.0.0/24"])}),
            json!({"type": "tuning", "mac": "02:00:00:00:00:77",
                   "sysctl": {"net.ipv4.tcp_keepalive_time": "77"}}),
            json!({"type": "portmap", "runtimeConfig": {"portMappings":
                   [{"hostPort": 7070, "containerPort": 70, "protocol": "tcp"}]}}),
        ]);
        let result = plugins.chain("ADD", &pod_of, &list, &Value::Null);
        assert_eq!(pod.sh_out(&format!("cat {KEEPALIVE}")), "77");
        plugins.chain("CHECK", &pod_of, &list, &result);
        for part in &list[1..] {
            plugins.ok("ADD", &pod_of, &with(part.clone(), json!({"prevResult": result})));
        }
        plugins.ok("DEL", &pod_of, &list[1]);
        assert_eq!(pod.sh_out(&format!("cat {KEEPALIVE}")), before, "tuning is undone");
        let mac = &pod.sh_json("ip -j link show eth0")[0]["address"];
        assert_ne!(*mac, "02:00:00:00:00:77", "tuning is undone");
        plugins.chain("DEL", &pod_of, &list, &result);

        let lo = json!({"cniVersion": "1.0.0", "name": "lo", "type": "loopback"});
        let of_lo = super::call::Who { ifname: "lo".into(), ..pod_of };
        let first = plugins.ok("ADD", &of_lo, &lo);
        assert_eq!(plugins.ok("ADD", &of_lo, &lo), first, "a second ADD is answered, too");
        plugins.ok("CHECK", &of_lo, &with(lo.clone(), json!({"prevResult": first})));
        plugins.ok("DEL", &of_lo, &lo);
    });
}

fn chain(plugins: &[Value]) -> Vec<Value> {
    let of_net =
        |plugin: &Value| with(json!({"cniVersion": "1.0.0", "name": "net"}), plugin.clone());
    plugins.iter().map(of_net).collect()
}

/// What tuning gives an interface is not held against the plugin that made it.
#[test]
fn a_list_that_gives_another_address() {
    world(Kind::User, || {
        let pod = pod("pod");
        let list = json!({"cniVersion": "1.0.0", "name": "net", "plugins": [
            {"type": "bridge", "bridge": "br7", "mtu": 1450,
             "ipam": {"type": "host-local", "subnet": "10.7.0.0/24"}},
            {"type": "tuning", "mac": "02:00:00:00:00:77", "mtu": 1400}]});
        std::fs::write(dirs().conf.join("net.conflist"), list.to_string()).expect("a conflist");
        add("net --netns /run/netns/pod");
        netsetup("check net --netns /run/netns/pod");
        for (change, wrong) in
            [("mtu 1300", "eth0 mtu 1400"), ("address 02:00:00:00:00:78", "eth0 address")]
        {
            pod.sh(&format!("ip link set eth0 {change}"));
            let said = refused("check net --netns /run/netns/pod", 3);
            assert!(said.contains(wrong), "{change}: {said}");
        }
    });
}

/// A link that is lent goes home as it came, whatever a part behind it has set.
#[test]
#[ignore = "needs root"]
fn what_tuning_set_of_a_lent_link() {
    world(Kind::Root, || {
        host();
        sh("ip link add card0 type veth peer name card1 netns far");
        let (plugins, pod_of) = (ours(), who("pod"));
        let list = chain(&[
            json!({"type": "host-device", "device": "card0", "ipam": {}}),
            json!({"type": "tuning", "mtu": 1400}),
        ]);
        let result = plugins.chain("ADD", &pod_of, &list, &Value::Null);
        assert_eq!(sh_json("ip -n pod -j link show eth0")[0]["mtu"], 1400);
        plugins.chain("CHECK", &pod_of, &list, &result);
        plugins.chain("DEL", &pod_of, &list, &result);
        assert_eq!(sh_json("ip -j link show card0")[0]["mtu"], 1500);
    });
}

/// The kernel gives a number out again at once: a namespace that has it is another one.
#[test]
#[ignore = "needs root"]
fn not_another_with_its_number() {
    world(Kind::Root, || {
        let plugin = json!({"type": "bridge", "bridge": "br7",
            "ipam": {"type": "host-local", "subnet": "10.7.0.0/24"}});
        network("net", &plugin);
        for list in ["none", "net"] {
            let pod = later_one(list);
            let check = format!("check {list} --netns /run/netns/pod --id web");
            let said = refused(&check, 5);
            assert!(said.contains("is another network namespace by now"), "{list}: {said}");
            pod.sh("ip link set lo up");
            let said = netsetup("gc");
            assert!(said.contains(&format!("attachment {list}/web/eth0")), "{list}: {said}");
            let lo = pod.sh_out("ip -br link | awk '{print $1, $2}'");
            assert_eq!(lo, "lo UNKNOWN", "{list}: nothing in there was undone");
            let said = refused(&check, 5);
            assert!(said.contains("there is no such attachment"), "{list}: {said}");
            ns_del("pod");
        }
    });
}

/// Attaches container `web`, whose namespace goes, and another one gets its inode number.
fn later_one(list: &str) -> Ns {
    for _ in 0..20 {
        let inode = new_pod();
        add(&format!("{list} --netns /run/netns/pod --id web"));
        ns_del("pod");
        for _ in 0..20 {
            if new_pod() == inode {
                return Ns::named("pod");
            }
            sh("ip netns del pod && sleep 0.05");
        }
        netsetup(&format!("del {list} --id web"));
    }
    panic!("the kernel gives no number out again");
}

/// Makes namespace `pod`; returns its inode number.
fn new_pod() -> String {
    sh_out("ip netns add pod && stat -Lc %i /run/netns/pod")
}
