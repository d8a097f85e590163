//! Every driver as a hook's network, in both runtimes: the interface, packets, check, and
//! nothing left.

use serde_json::{Value, json};

use super::bed::{Bundle, ENGINES, ENSURED, assert_as_before, netsetup, network, until};
use super::common::dump::{differences, dump};
use super::common::flatten::{items, kinds};
use super::common::tap;
use super::common::{Kind, Ns, neighbour, sh, sh_any, sh_json, world};

/// A network, and what a container on it has.
struct Net {
    /// The list's plugins; none = a network without a list, by the driver's name.
    plugins: Value,
    driver: &'static str,
    /// The kind of its `eth0`, and of what that is a port of; empty = it has none.
    link: &'static str,
    /// What it pings: ping's words.
    reaches: &'static [&'static str],
}

/// Addresses of both families in 10.`n` and fd0`n`, with routes to everywhere.
fn ipam(n: u8) -> Value {
    json!({"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
           "ranges": [[{"subnet": format!("10.{n}.0.0/24")}], [{"subnet": format!("fd0{n}::/64")}]]})
}

/// The other host, by way of this one.
const FAR: &[&str] = &["198.18.0.2", "2001:db8:18::2"];

/// What every kernel that is asked for has.
fn common() -> Vec<Net> {
    let hosts = json!([{"host": "198.18.0.1", "subnets": ["10.8.0.0/24", "fd08::/64"]},
                       {"host": "198.18.0.2", "subnets": ["10.9.0.0/24", "fd09::/64"]}]);
    let cable = json!({"type": "host-device", "device": "card0", "ipam": ipam(6)});
    let ptp = json!({"type": "ptp", "ipMasq": true, "ipam": ipam(4)});
    let bridge = json!({"type": "bridge", "bridge": "br3", "isDefaultGateway": true,
                        "ipMasq": true, "ipam": ipam(3)});
    let vxlan = json!({"type": "vxlan", "id": 42, "remotes": hosts, "isDefaultGateway": true,
                       "ipMasq": true, "ipam": ipam(8)});
    let macvlan = json!({"type": "macvlan", "master": "up0", "ipam": ipam(5)});
    let tap = json!({"type": "tap", "ipam": ipam(2)});
    let net =
        |driver, plugin, link, reaches| Net { plugins: json!([plugin]), driver, link, reaches };
    vec![
        net("bridge", bridge, "veth", FAR),
        net("ptp", ptp, "veth", FAR),
        net("macvlan", macvlan, "macvlan", &["10.5.0.1", "fd05::1"]),
        net("host-device", cable, "veth", &["10.6.0.1", "fd06::1"]),
        net("vxlan", vxlan, "veth", FAR),
        net("tap", tap, "tun", &["10.2.0.1", "fd02::1"]),
        Net { plugins: Value::Null, driver: "none", link: "", reaches: &["127.0.0.1", "::1"] },
        Net { plugins: Value::Null, driver: "host", link: "", reaches: FAR },
    ]
}

/// What comes as modules.
fn by_module() -> Vec<Net> {
    let vlan = json!({"type": "vlan", "master": "up0", "vlanId": 7, "ipam": ipam(7)});
    let ipvlan = json!({"type": "ipvlan", "master": "up0", "ipam": ipam(5)});
    let ptp = json!({"type": "ptp", "ipMasq": true, "ipam": ipam(4)});
    let vrf = json!([ptp, {"type": "vrf", "vrfname": "blue", "table": 77}]);
    let dummy = json!({"type": "dummy", "ipam": ipam(2)});
    vec![
        Net {
            plugins: json!([vlan]),
            driver: "vlan",
            link: "vlan",
            reaches: &["10.7.0.1", "fd07::1"],
        },
        Net {
            plugins: json!([ipvlan]),
            driver: "ipvlan",
            link: "ipvlan",
            reaches: &["10.5.0.1", "fd05::1"],
        },
        Net {
            plugins: json!([dummy]),
            driver: "dummy",
            link: "dummy",
            reaches: &["10.2.0.2", "fd02::2"],
        },
        Net {
            plugins: vrf,
            driver: "vrf behind ptp",
            link: "veth vrf",
            reaches: &["-I blue 198.18.0.2"],
        },
    ]
}

/// Another host, behind an uplink and a cable.
fn far(more: &str) -> Ns {
    let far = neighbour("far", 0).ns;
    sh("ip link add card0 type veth peer name card1 netns far && ip link set card0 up && \
        ip link set card0 alias 'port 7' && ip -n far link set card1 up");
    sh(&format!("{more} true"));
    for (n, link) in [(5, "eth0"), (6, "card1"), (7, "eth0.7")] {
        far.sh_any(&format!("ip addr add 10.{n}.0.1/24 dev {link}"));
        far.sh_any(&format!("ip addr add fd0{n}::1/64 dev {link} nodad"));
    }
    far
}

impl Net {
    /// A container on it, from create to delete.
    fn lives(&self, engine: &'static str, far: &Ns) {
        let what = format!("{engine}: {}", self.driver);
        let name = if self.plugins.is_null() { self.driver } else { "net" };
        let list = json!({"cniVersion": "1.0.0", "name": "net", "plugins": self.plugins});
        network("net", &list.to_string());
        let all = [far.clone()];
        let before = dump(&all);
        let bundle = Bundle::new(engine, "web").annotation("network", name);
        let bundle = if self.driver == "host" { bundle.netns(None) } else { bundle };
        let pod = bundle.start();
        self.is_there(&pod, &what);
        let text = netsetup(&format!("check {name} --id web"));
        assert!(text.lines().skip(1).all(|line| line.ends_with("  ok")), "{what}: {text}");
        bundle.stop();
        assert_eq!(bundle.log(), "", "{what}");
        until(|| differences(&before, &dump(&all), ENSURED).is_empty());
        assert_as_before(&before, &dump(&all), &what);
    }

    fn is_there(&self, pod: &Ns, what: &str) {
        let links = pod.sh_json("ip -d -j link");
        let eth0 = items(&links).iter().find(|link| link["ifname"] == "eth0");
        assert_eq!(eth0.map(kinds).unwrap_or_default(), self.link, "{what}");
        if self.driver == "tap" {
            let v6 = "fd02::1".parse().expect("an address");
            let far = tap::Neighbour { mac: [2, 0, 0, 0, 0, 9], v4: [10, 2, 0, 1].into(), v6 };
            far.serve(tap::open(pod, "eth0", false).expect("the tap's other end"));
        }
        for to in self.reaches {
            // A bridge's port or a fresh link may take a moment on a busy machine.
            let answers = || pod.sh_any(&format!("ping -c 1 -W 1 -n {to}")).status.success();
            assert!((0..5).any(|_| answers()), "{what}: {to}: {}", pod.sh_out("ip addr; ip route"));
        }
    }
}

#[test]
#[ignore = "needs root"]
fn every_driver_is_a_hooks_network() {
    for engine in ENGINES {
        world(Kind::Root, || {
            let far = far("");
            common().iter().for_each(|net| net.lives(engine, &far));
        });
    }
}

#[test]
#[ignore = "needs vlan, ipvlan, dummy and vrf: tests/vm runs it on Linux 6.12"]
fn vm_drivers_that_come_as_modules_are_a_hooks_networks() {
    for engine in ENGINES {
        world(Kind::Root, || {
            let far = far("ip -n far link add link eth0 name eth0.7 type vlan id 7 && \
                           ip -n far link set eth0.7 up &&");
            by_module().iter().for_each(|net| net.lives(engine, &far));
        });
    }
}

/// The runtime calls poststop when the container, and so all that held its namespace, is
/// gone. What it was lent comes home all the same, under its old name.
#[test]
#[ignore = "needs root"]
fn a_lent_link_comes_home_after_its_container_died() {
    for engine in ENGINES {
        world(Kind::Root, || {
            let far = far("");
            let list = json!({"cniVersion": "1.0.0", "name": "net", "plugins": [
                {"type": "host-device", "device": "card0", "ipam": ipam(6)}]});
            network("net", &list.to_string());
            let all = [far];
            let before = dump(&all);
            // Twice: what came home can be lent again.
            for _ in 0..2 {
                let bundle = Bundle::new(engine, "web").annotation("network", "net");
                bundle.start();
                let pid = bundle.pid();
                sh(&format!("kill -9 {pid}"));
                bundle.expect_stopped();
                assert!(!sh_any("ip link show card0").status.success(), "{engine}: not yet");
                bundle.expect("delete web");
                let is = &sh_json("ip -j link show card0")[0];
                let is = json!([is["ifname"], is["ifalias"]]);
                assert_eq!(is, json!(["card0", "port 7"]), "{engine}");
                until(|| differences(&before, &dump(&all), ENSURED).is_empty());
                assert_as_before(&before, &dump(&all), engine);
            }
        });
    }
}
