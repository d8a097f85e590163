//! netsetup dies, or is told that a call has failed, at every one of its system calls;
//! the world is as before, and the next attachment works.
//!
//! One scene per test, deaths and failures each in a world of its own (see `scene` for what is judged):
//!
//! ```text
//! add   the first attachment: bridge, table and directories are made
//!       with another pod alive, which must stay whole
//!       IPv4 and IPv6
//! del   the last attachment; with another pod alive
//! hook  createRuntime; poststop
//! cni   ADD and DEL of the bridge plugin
//! gc    over a pod whose namespace has vanished
//! macvlan, host-device, none, host, and a list with a plugin of others, which dies with
//!       netsetup: add and del of the first and last pod, at each call that changes
//!       something; gc of a host-device
//! vxlan, ptp, tap, macvlan as CNI plugin, host-device by the hook; on Linux 6.12 ipvlan, vlan,
//!       dummy, and vlan on a vlan of a bond, in a routing domain: the same, at each call
//!       that changes something of the kernel's
//! ```
//!
//! Each scene must have ended in each way that there is: untouched, recovered by each of the
//! three, taken back.
//!
//! No exception is made when worlds are compared: forwarding is on beforehand, and what
//! leases leave by design (`last_reserved_ip.N`, and the directory that it is in) is
//! taken away by the scene, which fails where anything else is in there.
//!
//! # What is left out, and why
//!
//! - A killed run that has left the world as it was (all of it is compared) needs no
//!   recovery: there is nothing to recover from, and the next add finds what the one
//!   before it found. So recovery and the new add run from the first that has changed it.
//! - Behind a call that leaves nothing (it only looked, or what it did ends with the
//!   process) a killed run has done to the world what one killed at that call has.
//! - The run-time's start before `main` is the same in all scenes; its points are run in
//!   the first scene only (`Scene::skip`).

#[path = "../common/mod.rs"]
mod common;

mod call;
mod report;
mod scene;

use common::crash::Which;
use common::{Kind, dirs, scratch, sh, world, worlds};
use scene::{Does, Scene, Series};

const DUAL: &str = include_str!("../../oci-bundles/networks/dual.conflist");

/// What every add here asks for: a port, a sysctl that is borrowed from the pod, and one
/// that goes with the interface.
const WISHES: &[&str] = &[
    "-p",
    "18080:80",
    "--sysctl",
    "net.ipv4.tcp_keepalive_time=123",
    "--sysctl",
    "net.ipv4.conf.eth0.rp_filter=2",
];

/// The built-in bridge, by hand.
fn by_hand(network: &str, does: Does) -> Scene {
    let mut attach = vec!["add", network, "--netns", "/run/netns/web"];
    attach.extend(WISHES);
    Scene::new(network, does, &attach, &["del", network, "--id", "web"])
}

/// As a hook: the state on stdin as runc writes it.
fn as_hook(network: &str, does: Does, wishes: &[&str]) -> Scene {
    let attach = [&["hook"], wishes].concat();
    let pid = sh_background("ip netns exec web sleep 1000000");
    let state = |status: &str, pid: &str| {
        format!(
            "{{\"ociVersion\":\"1.0.2-dev\",\"id\":\"web\",\"status\":\"{status}\",{pid}\
             \"bundle\":\"/nowhere\",\"annotations\":{{\"dev.podkeel.network\":\"{network}\"}}}}"
        )
    };
    Scene::new(network, does, &attach, &["hook"])
        .stdin(&state("creating", &format!("\"pid\":{pid},")), &state("stopped", ""))
        .quiet()
}

/// As CNI plugin, on a bridge of somebody else's: one that a plugin makes stays, until
/// gc comes, and the scenes by hand have made bridges die already.
fn as_plugin(does: Does) -> Scene {
    sh("ip link add br-cni type bridge && ip link set br-cni up && \
        ip addr add 10.77.0.1/24 dev br-cni");
    let conf = r#"{"cniVersion": "1.0.0", "name": "net", "type": "bridge", "bridge": "br-cni",
        "isGateway": true, "ipMasq": true, "hairpinMode": true, "macspoofchk": true,
        "ipam": {"type": "host-local", "subnet": "10.77.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}}"#;
    Scene::cni(does, conf).skip()
}

/// A network `net` of one driver, whose words these are, and of what stands behind it in
/// its list: at each call that changes something.
#[derive(Clone, Copy)]
struct Driver {
    label: &'static str,
    by: By,
    /// What the host has.
    host: &'static str,
    plugin: &'static str,
    behind: &'static str,
    which: Which,
}

/// Who calls.
#[derive(Clone, Copy)]
enum By {
    Hand,
    Hook,
    Runtime,
}

impl Driver {
    const PLAIN: Driver = Driver {
        label: "",
        by: By::Hand,
        host: CABLE,
        plugin: "",
        behind: "",
        which: Which::Effects,
    };

    /// What is on disk is the same for all drivers.
    const KERNELS: Driver = Driver { which: Which::KernelsEffects, ..Driver::PLAIN };

    fn scene(&self, does: Does) -> Scene {
        let ranges = r#"[[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd77::/64"}]]"#;
        let plugin =
            format!(r#"{}, "ipam": {{"type": "host-local", "ranges": {ranges}}}"#, self.plugin);
        let head = r#""cniVersion": "1.0.0", "name": "net""#;
        let list = format!(r#"{{{head}, "plugins": [{{{plugin}}}{}]}}"#, self.behind);
        std::fs::write(dirs().conf.join("net.conflist"), list).expect("a network list");
        let scene = match self.by {
            By::Hand => {
                let attach = ["add", "net", "--netns", "/run/netns/web"];
                Scene::new("net", does, &attach, &["del", "net", "--id", "web"])
            }
            By::Hook => as_hook("net", does, &[]),
            By::Runtime => Scene::cni(does, &format!("{{{head}, {plugin}}}")),
        };
        scene.skip().at(self.which)
    }

    /// add and del of the first and last pod.
    fn add_and_del(self) {
        self.does(&[Does::Attach, Does::Detach]);
    }

    fn does(self, all: &[Does]) {
        worlds(Kind::User, &each(all), |(does, series)| {
            self.host();
            self.series(does, series);
        });
    }

    /// add and del, where an emulated CPU has other tests to run, too: one after the other, in one
    /// world, which each leaves as it was.
    fn add_and_del_in_vm(self) {
        world(Kind::User, || {
            self.host();
            for (does, series) in each(&[Does::Attach, Does::Detach]) {
                Driver { which: Which::KernelsMessages, ..self }.series(does, series);
            }
        });
    }

    fn host(self) {
        host();
        sh(self.host);
    }

    fn series(self, does: Does, series: Series) {
        self.scene(does).run(series, &format!("{}, {does:?}", self.label));
    }
}

/// Each of these with deaths, and with failures.
fn each(all: &[Does]) -> Vec<(Does, Series)> {
    all.iter().flat_map(|does| Series::BOTH.map(|series| (*does, series))).collect()
}

/// A link of the host's with its other end in a namespace of its own. It has no link-local
/// address, which the kernel would give it when it likes.
const CABLE: &str = "ip netns add far && ip link add card0 type veth peer name card1 netns far && \
    ip -n far link set card1 up && ip link set card0 addrgenmode none && ip addr add 192.0.2.1/24 dev card0 && ip link set card0 up";

#[test]
fn macvlan() {
    let plugin = r#""type": "macvlan", "master": "card0""#;
    Driver { label: "macvlan", plugin, ..Driver::PLAIN }.add_and_del();
}

#[test]
fn macvlan_as_plugin() {
    let plugin = r#""type": "macvlan", "master": "card0""#;
    Driver { label: "macvlan as plugin", by: By::Runtime, plugin, ..Driver::KERNELS }.add_and_del();
}

/// The kernel gives a link that comes home a link-local address when it likes; this one
/// is down, as the host's is that is lent.
const LENT: Driver = Driver {
    label: "host-device",
    host: "ip link add lent0 type veth peer name lent1 && ip link set lent0 alias 'port 7'",
    plugin: r#""type": "host-device", "device": "lent0""#,
    ..Driver::PLAIN
};

/// gc finds the link in the namespace that is pinned, after the pod's end.
#[test]
fn host_device() {
    LENT.does(&[Does::Attach, Does::Detach, Does::Collect]);
}

#[test]
fn host_device_by_hook() {
    Driver { label: "host-device by hook", by: By::Hook, which: Which::KernelsEffects, ..LENT }
        .add_and_del();
}

#[test]
fn vxlan() {
    let plugin = r#""type": "vxlan", "id": 7, "ipMasq": true, "remotes": [
        {"host": "192.0.2.1", "subnets": ["10.77.0.0/24", "fd77::/64"]},
        {"host": "192.0.2.2", "subnets": ["10.78.0.0/24", "fd78::/64"]}]"#;
    Driver { label: "vxlan", plugin, ..Driver::KERNELS }.add_and_del();
}

#[test]
fn ptp() {
    let plugin = r#""type": "ptp", "ipMasq": true"#;
    Driver { label: "ptp", host: "true", plugin, ..Driver::KERNELS }.add_and_del();
}

#[test]
fn tap() {
    let plugin = r#""type": "tap", "multiQueue": true"#;
    Driver { label: "tap", host: "true", plugin, ..Driver::KERNELS }.add_and_del();
}

/// The networks without any interface: there is little but the record.
#[test]
fn none_and_host() {
    for (network, netns) in [("none", "/run/netns/web"), ("host", "/proc/self/ns/net")] {
        worlds(Kind::User, &each(&[Does::Attach, Does::Detach]), |(does, series)| {
            host();
            let attach = ["add", network, "--id", "web", "--netns", netns];
            let scene = Scene::new(network, does, &attach, &["del", network, "--id", "web"]);
            let label = format!("{network}, {does:?}");
            scene.bare().skip().at(Which::Effects).run(series, &label);
        });
    }
}

/// Everything that is shared and made on demand at once: a bond, a vlan on it, a routing
/// domain in the pod; and the pod's own vlan on top.
#[test]
#[ignore = "needs bond, vlan and vrf: tests/vm runs it on Linux 5.10"]
fn vm_vlan_of_a_bond_in_a_vrf() {
    let host = "ip link add cable0 type veth peer name far0 && \
        ip link add cable1 type veth peer name far1 && ip link set far0 up && ip link set far1 up";
    let plugin = r#""type": "vlan", "vlanId": 7, "master": "bond7.100",
        "bond": {"links": ["cable0", "cable1"]}"#;
    let behind = r#", {"type": "vrf", "vrfname": "blue", "table": 77}"#;
    let label = "vlan on a vlan of a bond, in a vrf";
    Driver { label, host, plugin, behind, ..Driver::KERNELS }.add_and_del_in_vm();
}

#[test]
#[ignore = "needs ipvlan: tests/vm runs it on Linux 6.12"]
fn vm_ipvlan() {
    let plugin = r#""type": "ipvlan", "master": "card0", "mode": "l3""#;
    Driver { label: "ipvlan", plugin, ..Driver::KERNELS }.add_and_del_in_vm();
}

#[test]
#[ignore = "needs vlan: tests/vm runs it on Linux 5.10"]
fn vm_plain_vlan() {
    let plugin = r#""type": "vlan", "master": "card0", "vlanId": 7"#;
    Driver { label: "vlan", plugin, ..Driver::KERNELS }.add_and_del_in_vm();
}

#[test]
#[ignore = "needs dummy: tests/vm runs it on Linux 5.10"]
fn vm_dummy() {
    let plugin = r#""type": "dummy""#;
    Driver { label: "dummy", host: "true", plugin, ..Driver::KERNELS }.add_and_del_in_vm();
}

/// Somebody else's plugin: what it makes is what it writes down, and prevResult, the last
/// key on stdin, is its result. The shell does it all itself, so that few calls are another program's.
const THEIRS: &str = r#"#!/bin/sh
case $CNI_COMMAND in
ADD) echo there >FILE
    read -r in
    in=${in#*'"prevResult":'}
    echo "${in%?}" ;;
DEL) : >FILE ;;
CHECK) read -r word <FILE && [ "$word" = there ] || exit 1 ;;
esac
"#;

/// A list of our bridge and that plugin.
fn mixed(does: Does) -> Scene {
    sh("ip link add br-cni type bridge && ip link set br-cni up && \
        ip addr add 10.77.0.1/24 dev br-cni");
    let (dir, file) = (scratch().join("theirs"), dirs().leases.join("theirs"));
    sh(&format!("mkdir -p {} {} && : >{}", dir.display(), dirs().leases.display(), file.display()));
    let script = THEIRS.replace("FILE", &file.display().to_string());
    std::fs::write(dir.join("theirs"), script).expect("a plugin");
    sh(&format!("chmod 755 {}/theirs", dir.display()));
    let list = r#"{"cniVersion": "1.0.0", "name": "net", "plugins": [
        {"type": "bridge", "bridge": "br-cni", "isGateway": true, "ipMasq": true,
         "ipam": {"type": "host-local", "subnet": "10.77.0.0/24"}},
        {"type": "theirs"}]}"#;
    std::fs::write(dirs().conf.join("net.conflist"), list).expect("a network list");
    let dir = dir.display().to_string();
    let attach = ["add", "net", "--netns", "/run/netns/web", "--plugin-dir", &dir];
    let detach = ["del", "net", "--id", "web", "--plugin-dir", &dir];
    Scene::new("net", does, &attach, &detach).skip().at(Which::Every(12))
}

#[test]
fn a_list_with_a_plugin_of_others() {
    worlds(Kind::User, &each(&[Does::Attach, Does::Detach]), |(does, series)| {
        host();
        mixed(does).run(series, &format!("a list with a plugin of others, {does:?}"));
    });
}

fn sh_background(command: &str) -> u32 {
    let words = format!("exec {command}");
    let child = std::process::Command::new("sh").args(["-c", &words]).spawn();
    let pid = child.expect("sh").id();
    // Until it is in the pod, its namespace is the host's.
    let host = std::fs::read_link("/proc/self/ns/net").expect("own namespace");
    while std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|ns| ns == host) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    pid
}

/// Of a scene whose every point has its like in another: the built-in bridge, add or del.
const FEW: Which = Which::Every(5);

/// A host that forwards already, and the pod's namespace.
fn host() {
    sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    // No duplicate address detection, which changes the world a second later.
    sh("sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0");
    scene::pod("web");
    std::fs::write(dirs().conf.join("dual.conflist"), DUAL).expect("a network list");
}

#[test]
fn add_the_first() {
    worlds(Kind::User, &Series::BOTH, |series| {
        host();
        by_hand("bridge", Does::Attach).run(series, "add, the first");
    });
}

#[test]
fn add_beside_another() {
    worlds(Kind::User, &Series::BOTH, |series| {
        host();
        by_hand("bridge", Does::Attach).beside_another().skip().run(series, "add, beside another");
    });
}

#[test]
fn add_dual_stack() {
    worlds(Kind::User, &Series::BOTH, |series| {
        host();
        by_hand("dual", Does::Attach).skip().at(FEW).run(series, "add, dual stack");
    });
}

#[test]
fn del_the_last() {
    worlds(Kind::User, &Series::BOTH, |series| {
        host();
        by_hand("bridge", Does::Detach).skip().run(series, "del, the last");
    });
}

#[test]
fn del_beside_another() {
    worlds(Kind::User, &Series::BOTH, |series| {
        host();
        by_hand("bridge", Does::Detach).beside_another().skip().run(series, "del, beside another");
    });
}

#[test]
fn hook_create_runtime() {
    worlds(Kind::User, &Series::BOTH, |series| {
        host();
        as_hook("bridge", Does::Attach, WISHES).skip().at(FEW).run(series, "hook, createRuntime");
    });
}

#[test]
fn hook_poststop() {
    worlds(Kind::User, &Series::BOTH, |series| {
        host();
        as_hook("bridge", Does::Detach, WISHES).skip().at(FEW).run(series, "hook, poststop");
    });
}

#[test]
fn cni_add() {
    worlds(Kind::User, &Series::BOTH, |series| {
        host();
        as_plugin(Does::Attach).run(series, "cni, ADD");
    });
}

#[test]
fn cni_del() {
    worlds(Kind::User, &Series::BOTH, |series| {
        host();
        as_plugin(Does::Detach).run(series, "cni, DEL");
    });
}

#[test]
fn gc_of_a_vanished_pod() {
    worlds(Kind::User, &Series::BOTH, |series| {
        host();
        by_hand("bridge", Does::Collect).skip().run(series, "gc, a vanished pod");
    });
}
