//! Every driver called as a CNI plugin, by itself or with a routing domain behind it: the answer,
//! packets, what CHECK says of what hands have done, and that nothing is left: of one pod, of
//! two, and of one whose namespace has gone before its DEL.

use serde_json::{Value, json};

use super::bed::{everywhere, host, needs, plugin, pod, reaches, settled};
use super::bond::CABLES;
use super::call::{Plugins, Who, failed, ours, who, with};
use super::common::dump::{Dump, differences, dump};
use super::common::flatten::{items, kinds, text};
use super::common::{Kind, Ns, ns_del, sh, tap, worlds};
use super::vm::TRUNK;

/// A network, and what a pod on it has.
struct Net {
    /// What the host has.
    setup: &'static str,
    /// The kind of `eth0`, and of what that is a port of.
    link: &'static str,
    /// What the plugins before have answered.
    prev: Value,
    /// Those of a list, called one after the other.
    plugins: Value,
    /// What a pod pings: ping's words; none = its own addresses.
    reaches: &'static [&'static str],
    /// Who else can be on it: a pod, and the name of its interface.
    second: Option<[&'static str; 2]>,
    /// What hands do, what CHECK says then, and what is put back before the next ADD.
    hands: &'static [[&'static str; 3]],
    /// Takes away what stays by design.
    stays: &'static str,
}

/// The other host, by way of this one, and as if it were on the pods' own Ethernet.
const FAR: &[&str] = &["198.18.0.2", "2001:db8:18::2"];
const NEAR: &[&str] = &["10.5.0.1", "fd05::1"];
const IN_BLUE: &[&str] = &["-I blue 10.5.0.1", "-I blue fd05::1"];

const UNPLUGGED: [&str; 3] = ["ip -n pod link del eth0", "eth0", ""];
const OUT_OF_BLUE: [&str; 3] =
    ["ip -n pod link set eth0 nomaster", "link eth0 in blue in the pod: missing", ""];
const NO_BLUE: [&str; 3] = ["ip -n pod link del blue", "vrf blue table 77 in the pod: missing", ""];

const NO_TAG: [&str; 3] =
    ["ip link del up0.100", "vlan up0.100 id 100 on up0 of the host in the host: missing", ""];

const ETHERNET: &str =
    "ip -n far addr add 10.5.0.1/24 dev eth0 && ip -n far addr add fd05::1/64 dev eth0 nodad";
/// A link of somebody's, to the other host.
const CARD: &str = "ip link add card0 address 02:00:00:00:07:00 type veth peer name card1 address 02:00:00:00:07:01 netns far && ip link set card0 up && \
    ip -n far link set card1 up && ip -n far addr add 10.5.0.1/24 dev card1 && \
    ip -n far addr add fd05::1/64 dev card1 nodad";

/// This plugin, with addresses of both families.
fn net(setup: &'static str, link: &'static str, kind: &str, keys: Value) -> Net {
    Net {
        setup,
        link,
        prev: Value::Null,
        plugins: json!([plugin(kind, with(everywhere(5), keys))]),
        reaches: NEAR,
        second: Some(["two", "eth0"]),
        hands: &[UNPLUGGED],
        stays: "true",
    }
}

impl Net {
    fn to(self, reaches: &'static [&'static str]) -> Net {
        Net { reaches, ..self }
    }

    fn hands(self, hands: &'static [[&'static str; 3]]) -> Net {
        Net { hands, ..self }
    }

    /// The same behind which a routing domain is.
    fn in_blue(mut self, link: &'static str) -> Net {
        let vrf = json!({"type": "vrf", "vrfname": "blue", "table": 77});
        self.plugins.as_array_mut().expect("plugins").push(vrf);
        let second = Some(["pod", "eth1"]);
        Net { link, second, hands: &[UNPLUGGED, OUT_OF_BLUE, NO_BLUE], ..self }.to(IN_BLUE)
    }
}

/// What every kernel that is asked for has.
fn common() -> Vec<Net> {
    let vxlan = json!({"id": 42, "isDefaultGateway": true, "ipMasq": true, "remotes": [
        {"host": "198.18.0.1", "subnets": ["10.5.0.0/24", "fd05::/64"]},
        {"host": "198.18.0.2", "subnets": ["10.6.0.0/24", "fd06::/64"]}]});
    let on_card = json!({"master": "card0", "mode": "vepa"});
    let lent = net(CARD, "veth", "host-device", json!({"device": "card0"}));
    vec![
        net(ETHERNET, "macvlan", "macvlan", json!({"master": "up0"})).hands(&[
            UNPLUGGED,
            ["ip -n pod addr flush dev eth0 scope global", "dev eth0 in the pod: missing", ""],
            [
                "ip -n pod route del default",
                "route default via 10.5.0.1 dev eth0 in the pod: missing",
                "",
            ],
        ]),
        net(CARD, "macvlan", "macvlan", on_card).hands(&[
            ["ip -n pod link set eth0 type macvlan mode private", "its settings are others", ""],
            [
                "ip link del card0",
                "macvlan eth0 mode vepa on card0 of the host in the pod: missing",
                CARD,
            ],
        ]),
        net("true", "veth", "ptp", json!({"ipMasq": true})).to(FAR),
        net("true", "veth", "vxlan", vxlan).to(FAR).hands(&[
            UNPLUGGED,
            [
                "ip link del vxlan42",
                "vxlan vxlan42 id 42 local 198.18.0.1 dstport 4789 in the host: missing",
                "",
            ],
            ["ip link del pkvx42", "bridge pkvx42 in the host: missing", ""],
        ]),
        net("true", "tun", "tap", json!({"multiQueue": true})).hands(&[
            UNPLUGGED,
            [
                "ip -n pod link set eth0 address 02:00:00:00:00:99",
                "tap eth0 in the pod: its MAC address isn't",
                "",
            ],
        ]),
        Net { second: None, ..lent }.hands(&[[
            "ip -n pod link set eth0 down",
            "link eth0 up in the pod: it is down",
            "",
        ]]),
    ]
}

/// What comes as modules.
fn by_module() -> Vec<Net> {
    let before = json!({"cniVersion": "1.0.0", "interfaces": [{"name": "card0"}],
                        "ips": [{"address": "10.5.0.9/24"}, {"address": "fd05::9/64"}]});
    let behind = net(CARD, "ipvlan", "ipvlan", json!({"ipam": {}}));
    vec![
        net(ETHERNET, "ipvlan", "ipvlan", json!({"master": "up0"})).hands(&[
            UNPLUGGED,
            ["ip -n pod link set eth0 type ipvlan mode l3", "its settings are others", ""],
        ]),
        net(CARD, "ipvlan", "ipvlan", json!({"master": "card0"})).hands(&[[
            "ip link del card0",
            "ipvlan eth0 mode l2 on card0 of the host in the pod: missing",
            CARD,
        ]]),
        // It takes its master and its addresses from the plugins before it.
        Net { prev: before, second: None, ..behind }.hands(&[[
            "ip link del card0",
            "ipvlan eth0 mode l2 on card0 of the host in the pod: missing",
            CARD,
        ]]),
        Net { second: None, ..net(TRUNK, "vlan", "vlan", json!({"master": "up0", "vlanId": 100})) },
        net("true", "dummy", "dummy", json!({})).to(&[]),
    ]
}

/// Links below that are made for the first pod and go with the last.
fn on_demand() -> Vec<Net> {
    let bond = json!({"links": ["cable1", "cable2"]});
    let on = |master: &str| json!({"master": master, "bond": bond});
    vec![
        net(TRUNK, "macvlan", "macvlan", json!({"master": "up0.100"})).hands(&[UNPLUGGED, NO_TAG]),
        net(TRUNK, "ipvlan", "ipvlan", json!({"master": "up0.100"})).hands(&[NO_TAG]),
        net(CABLES, "macvlan", "macvlan", on("bond7")).hands(&[
            ["ip link del bond7", "bond bond7 mode active-backup in the host: missing", ""],
            ["ip link set cable2 nomaster", "link cable2 in bond7 in the host: missing", ""],
        ]),
    ]
}

/// Behind which a routing domain is.
fn in_blue() -> Vec<Net> {
    let keys = json!({"bridge": "br9", "isGateway": true});
    let bridge = net("true", "", "bridge", keys).in_blue("veth vrf");
    vec![
        Net { stays: "ip link del br9", ..bridge },
        // The host's end of each has the same address: the pod can have one of them.
        Net {
            second: Some(["two", "eth0"]),
            ..net("true", "", "ptp", json!({})).in_blue("veth vrf")
        },
        net(ETHERNET, "", "macvlan", json!({"master": "up0"})).in_blue("macvlan vrf"),
    ]
}

/// The tests' side of one network.
struct Bed<'a> {
    net: &'a Net,
    list: Vec<Value>,
    plugins: Plugins,
    before: Dump,
    far: [Ns; 1],
}

impl Bed<'_> {
    /// In the caller's world: all of it.
    fn lives(net: &Net) {
        let [_, far] = host();
        pod("two");
        sh(net.setup);
        let of_net =
            |plugin: &Value| with(json!({"cniVersion": "1.0.0", "name": "net"}), plugin.clone());
        let list = net.plugins.as_array().expect("plugins").iter().map(of_net).collect();
        let mut bed = Bed { net, list, plugins: ours(), before: Dump::default(), far: [far] };
        // Once around: where leases are is there from the first one on.
        let result = bed.add(&who("pod"));
        bed.del(&who("pod"), &result);
        sh(net.stays);
        bed.before = settled(&bed.all());
        bed.one_and_two();
        for hands in net.hands {
            bed.notices(*hands);
        }
        for netns in ["/run/netns/pod", ""] {
            let result = bed.add(&who("pod"));
            ns_del("pod");
            let told = if netns.is_empty() { &Value::Null } else { &result };
            bed.del(&Who { netns: netns.to_owned(), ..who("pod") }, told);
            pod("pod");
            bed.is_as_before(&format!("the pod's end, and DEL with CNI_NETNS={netns}"));
        }
    }

    fn all(&self) -> [Ns; 3] {
        [Ns::named("pod"), Ns::named("two"), self.far[0].clone()]
    }

    fn add(&self, who: &Who) -> Value {
        self.plugins.chain("ADD", who, &self.list, &self.net.prev)
    }

    fn del(&self, who: &Who, result: &Value) {
        self.plugins.chain("DEL", who, &self.list, result);
    }

    /// The pod, and who else can be on it; each goes by itself.
    fn one_and_two(&self) {
        let one = who("pod");
        let result = self.add(&one);
        self.is_there(&one, &result);
        self.plugins.chain("CHECK", &one, &self.list, &result);
        let second = self.net.second.map(|[name, link]| {
            let two = Who { ifname: link.into(), ..who(name) };
            (self.add(&two), two)
        });
        self.del(&one, &result);
        if let Some((result, two)) = second {
            self.is_there(&two, &result);
            self.plugins.chain("CHECK", &two, &self.list, &result);
            self.del(&two, &result);
        }
        self.del(&one, &Value::Null);
        self.is_as_before("DEL");
    }

    /// The interface is what was answered, and packets pass.
    fn is_there(&self, who: &Who, result: &Value) {
        let (net, pod, link) = (self.net, Ns::named(&who.container), &who.ifname);
        let of = |words: &str| pod.sh_json(&format!("ip -d -j {words} dev {link}"))[0].take();
        let is = of("link show");
        assert_eq!(kinds(&is), net.link, "{}", net.plugins);
        let told = result["interfaces"].as_array().expect("interfaces").iter();
        let told: Vec<_> = told.filter(|i| i["sandbox"] == who.netns.as_str()).collect();
        let [told] = told[..] else { panic!("one interface in the pod: {result}") };
        assert_eq!([&told["name"], &told["mac"]], [&is["ifname"], &is["address"]], "{result}");
        let is = of("addr show scope global");
        let is = items(&is["addr_info"]).iter().filter(|addr| addr["local"].is_string());
        let is: Vec<_> =
            is.map(|addr| format!("{}/{}", text(&addr["local"]), addr["prefixlen"])).collect();
        let told = result["ips"].as_array().expect("addresses").iter();
        let told: Vec<_> = told.map(|ip| ip["address"].clone()).collect();
        assert_eq!(told, is, "{result}");
        if net.link == "tun" {
            let v6 = "fd05::1".parse().expect("an address");
            let far = tap::Neighbour { mac: [2, 0, 0, 0, 0, 9], v4: [10, 5, 0, 1].into(), v6 };
            far.serve(tap::open(&pod, link, true).expect("the tap's other end"));
        }
        let own = told.iter().filter_map(|ip| ip.as_str()?.split('/').next());
        let own: Vec<_> = own.filter(|_| net.reaches.is_empty()).collect();
        for to in own.iter().chain(net.reaches) {
            // A fresh link, and a bond's port, may take a moment.
            let answers = (0..10).any(|_| reaches(&pod, to));
            assert!(
                answers,
                "{}: {link} to {to}: {}",
                net.plugins,
                pod.sh_out("ip addr; ip route")
            );
        }
    }

    /// Hands are laid on what one pod has: CHECK says so, and DEL takes away what is left.
    fn notices(&self, [command, says, back]: [&str; 3]) {
        let pod = who("pod");
        let result = self.add(&pod);
        sh(command);
        let calls = self.list.iter().map(|conf| {
            let conf = with(conf.clone(), json!({"prevResult": result}));
            self.plugins.call(conf["type"].as_str().expect("a type"), "CHECK", &pod, &conf)
        });
        let said = calls.filter(|output| !output.status.success());
        let said: Vec<_> = said.map(|output| failed(command, &output)).collect();
        let is_told = said.iter().any(|(code, why)| *code == DIFFERS && why.contains(says));
        assert!(is_told, "{}: after {command} CHECK says {said:?}", self.net.plugins);
        sh(back);
        self.del(&pod, &result);
        self.is_as_before(command);
    }

    fn is_as_before(&self, after: &str) {
        sh(self.net.stays);
        // The kernel's own, which comes with a namespace's first domain.
        let left = || differences(&self.before, &dump(&self.all()), &["* rule * l3mdev *"]);
        let mut tries = 0;
        while !left().is_empty() {
            assert!(tries < 20, "{}: after {after}:\n{}", self.net.plugins, left().join("\n"));
            tries += 1;
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }
}

/// The code of what isn't as it was made.
const DIFFERS: u64 = 103;

fn each(kinds: &[&str], nets: &[Net]) {
    worlds(Kind::User, &nets.iter().collect::<Vec<_>>(), |net| {
        kinds.iter().for_each(|kind| needs(kind));
        Bed::lives(net);
    });
}

#[test]
fn what_every_kernel_has() {
    each(&["macvlan", "vxlan"], &common());
}

#[test]
#[ignore = "needs ipvlan, vlan and dummy: tests/vm runs it on Linux 6.12"]
fn vm_what_comes_as_modules() {
    each(&["ipvlan", "vlan", "dummy"], &by_module());
}

#[test]
#[ignore = "needs vlan and bond: tests/vm runs it on Linux 5.10"]
fn vm_on_what_is_made_on_demand() {
    each(&["vlan", "bond"], &on_demand());
}

#[test]
#[ignore = "needs vrf: tests/vm runs it on Linux 5.10"]
fn vm_in_a_routing_domain() {
    each(&["vrf"], &in_blue());
}
