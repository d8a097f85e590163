//! Neighbours are told of a pod's addresses, and several networks on one pod have one
//! default route.

use serde_json::{Value, json};

use super::bed::{add, everywhere, host, needs, netsetup, network, plugin, pod, reaches, refused};
use super::call::with;
use super::common::traffic::NEVER;
use super::common::{Kind, Ns, dirs, sh, world};

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

/// Who listens to a link of a namespace.
struct Listener {
    tcpdump: std::process::Child,
    heard: std::path::PathBuf,
}

impl Listener {
    /// Returns when it listens.
    fn on(ns: &Ns, link: &str) -> Listener {
        let heard = dirs().conf.join("heard");
        let file = std::fs::File::create(&heard).expect("a file");
        let errors = file.try_clone().expect("a dup");
        let words = ["netns", "exec", &ns.name, "tcpdump", "-lnei", link];
        let mut command = std::process::Command::new("ip");
        command.args(words).arg("arp or icmp6").stdout(file).stderr(errors);
        let tcpdump = command.spawn().expect("ip is needed, and tcpdump");
        let listener = Listener { tcpdump, heard };
        assert!(listener.hears(&["listening on"]), "{}", listener.text());
        listener
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.heard).expect("what was heard")
    }

    /// Whether a line with these words comes.
    fn hears(&self, words: &[&str]) -> bool {
        (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            !self.lines(words).is_empty()
        })
    }

    /// The lines that have all of these words.
    fn lines(&self, words: &[&str]) -> Vec<String> {
        let text = self.text();
        let lines = text.lines().filter(|line| words.iter().all(|word| line.contains(word)));
        lines.map(str::to_owned).collect()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

/// One frame for each address, from the pod's own link-layer address, once.
fn told(listener: &Listener, mac: &str, v4: &str, v6: &str) {
    let (arp, target) = (format!(" {v4}"), format!("tgt is {v6},"));
    for words in [["ethertype ARP", &arp], ["neighbor advertisement", &target]] {
        assert!(listener.hears(&words), "{words:?}: {}", listener.text());
        let lines = listener.lines(&words);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(&format!(" {mac} > ")), "{lines:?}");
    }
}

/// What the interface's address is, as the answer has it.
fn mac_of(result: &serde_json::Value) -> String {
    let inner = result["interfaces"].as_array().and_then(|all| all.last()).expect("an interface");
    inner["mac"].as_str().expect("an address").to_owned()
}

#[test]
#[ignore = "needs root"]
fn neighbours_on_an_ethernet_hear_of_each_address() {
    world(Kind::Root, || {
        let [_, far] = host();
        sh("ip link add cable0 type veth peer name end netns far && ip -n far link set end up");
        network("mac", &plugin("macvlan", json!({"master": "up0"})));
        network("lent", &plugin("host-device", json!({"device": "cable0"})));
        for (name, link, v4, v6) in
            [("mac", "eth0", "10.5.0.2", "fd05::2"), ("lent", "end", "10.5.0.2", "fd05::2")]
        {
            let listener = Listener::on(&far, link);
            let result = add(&format!("{name} --netns /run/netns/pod"));
            told(&listener, &mac_of(&result), v4, v6);
            netsetup(&format!("del {name} --netns /run/netns/pod"));
        }
    });
}

/// A tunnel's pods are on a bridge of this host: whoever is on it hears of a new one.
#[test]
#[ignore = "needs root"]
fn neighbours_on_a_tunnels_bridge_hear_of_each_address() {
    world(Kind::Root, || {
        needs("vxlan");
        host();
        let two = pod("two");
        let hosts = json!([{"host": "198.18.0.1", "subnets": ["10.5.0.0/24", "fd05::/64"]},
                           {"host": "198.18.0.2", "subnets": ["10.6.0.0/24"]}]);
        network("net", &plugin("vxlan", json!({"id": 42, "remotes": hosts})));
        add("net --netns /run/netns/two");
        let listener = Listener::on(&two, "eth0");
        let result = add("net --netns /run/netns/pod");
        told(&listener, &mac_of(&result), "10.5.0.3", "fd05::3");
    });
}

#[test]
#[ignore = "needs vlan and ipvlan: tests/vm runs it on Linux 5.10 and 6.12"]
fn vm_neighbours_behind_a_tag_or_of_an_ipvlan_hear_of_each_address() {
    world(Kind::Root, || {
        ["vlan", "ipvlan"].iter().for_each(|kind| needs(kind));
        let [_, far] = host();
        far.sh("ip link add link eth0 name eth0.7 type vlan id 7 && ip link set eth0.7 up");
        let ipvlan = |mode| plugin("ipvlan", json!({"master": "up0", "mode": mode}));
        network("tag", &plugin("vlan", json!({"master": "up0", "vlanId": 7})));
        network("l2", &ipvlan("l2"));
        network("l3", &ipvlan("l3"));
        for (name, link) in [("tag", "eth0.7"), ("l2", "eth0")] {
            let listener = Listener::on(&far, link);
            let result = add(&format!("{name} --netns /run/netns/pod"));
            told(&listener, &mac_of(&result), "10.5.0.2", "fd05::2");
            netsetup(&format!("del {name} --netns /run/netns/pod"));
        }
        // An ipvlan in mode l3 has no neighbours: what is heard is the host's own question.
        let listener = Listener::on(&far, "eth0");
        add("l3 --netns /run/netns/pod");
        std::thread::sleep(NEVER);
        sh("ip neigh flush dev up0; ping -c 1 -W 1 -n 198.18.0.2");
        assert!(listener.hears(&["who-has 198.18.0.2"]), "{}", listener.text());
        let told = [listener.lines(&["10.5.0."]), listener.lines(&["fd05::"])].concat();
        assert_eq!(told, [""; 0]);
    });
}

/// The bridge's port has to pass frames on by then; tuning may change who sends them.
#[test]
#[ignore = "needs root"]
fn neighbours_on_a_bridge_hear_of_each_address() {
    world(Kind::Root, || {
        host();
        let two = pod("two");
        let bridge = plugin("bridge", json!({"bridge": "br5", "isGateway": true}));
        network("net", &bridge);
        let list = json!({"cniVersion": "1.0.0", "name": "tuned", "plugins": [
            bridge, {"type": "tuning", "mac": "02:00:00:00:00:77"}]});
        std::fs::write(dirs().conf.join("tuned.conflist"), list.to_string()).expect("a list");
        add("net --netns /run/netns/two");
        for _ in 0..5 {
            let listener = Listener::on(&two, "eth0");
            let result = add("net --netns /run/netns/pod");
            let ips = result["ips"].as_array().expect("addresses").iter();
            let ips: Vec<_> = ips.map(|ip| ip["address"].as_str().expect("one")).collect();
            let [v4, v6] = [ips[0], ips[1]].map(|ip| ip.split('/').next().expect("an address"));
            told(&listener, &mac_of(&result), v4, v6);
            netsetup("del net --netns /run/netns/pod");
        }
        let listener = Listener::on(&two, "eth0");
        add("tuned --netns /run/netns/pod");
        let heard = listener.hears(&["02:00:00:00:00:77 > 33:33:00:00:00:01"]);
        assert!(heard, "{}", listener.text());
        let arps = listener.lines(&["ethertype ARP"]);
        assert!(arps.len() == 1 && arps[0].contains("02:00:00:00:00:77 > "), "{arps:?}");
        netsetup("del tuned --netns /run/netns/pod");
    });
}

/// A bridge that gets its first port passes on what the host sends, too, when add returns, and
/// so does the host's end of a ptp; left to itself the kernel may take a second.
#[test]
fn the_host_reaches_the_first_pod_at_once() {
    world(Kind::User, || {
        host();
        network("point", &plugin("ptp", json!({})));
        for list in ["bridge", "point"].repeat(4) {
            let result = add(&format!("{list} --netns /run/netns/pod"));
            let ip = result["ips"][0]["address"].as_str().and_then(|ip| ip.split('/').next());
            sh(&format!("ping -c 1 -W 0.5 -n {}", ip.expect("an address")));
            netsetup(&format!("del {list} --netns /run/netns/pod"));
        }
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

/// Where it is asked for, whatever the pod's default is: the address is there when add
/// returns, and one that somebody on the Ethernet has is refused.
fn asks_around(kind: &str, keys: Value, setup: &str, end: &str) {
    let [pod, far] = host();
    sh(setup);
    network("net", &with(plugin(kind, keys), json!({"enabledad": true})));
    add("net --netns /run/netns/pod");
    let addr = pod.sh_out("ip -6 addr show dev eth0 scope global");
    let asked = !addr.contains("nodad") && !addr.contains("tentative");
    assert!(addr.contains("fd05::2/64") && asked, "{kind}: {addr}");
    netsetup("check net --netns /run/netns/pod");
    netsetup("del net --netns /run/netns/pod");
    far.sh(&format!("ip addr add fd05::3/64 dev {end} nodad"));
    let said = refused("add net --netns /run/netns/pod", 4);
    assert!(said.contains("fd05::3 is another's on this link"), "{kind}: {said}");
    assert_eq!(pod.sh_out("ip -br link | wc -l"), "1", "{kind}: it is taken back");
}

#[test]
fn a_duplicate_on_the_ethernet_is_found_where_it_is_asked_for() {
    world(Kind::User, || {
        needs("macvlan");
        asks_around("macvlan", json!({"master": "up0"}), "true", "eth0");
    });
    world(Kind::User, || {
        let cable = "ip link add card0 type veth peer name card1 netns far && \
            ip -n far link set card1 up";
        asks_around("host-device", json!({"device": "card0"}), cable, "card1");
    });
}

#[test]
#[ignore = "needs vlan and ipvlan: tests/vm runs it on Linux 5.10 and 6.12"]
fn vm_a_duplicate_on_the_ethernet_is_found_where_it_is_asked_for() {
    world(Kind::User, || {
        needs("ipvlan");
        asks_around("ipvlan", json!({"master": "up0"}), "true", "eth0");
    });
    world(Kind::User, || {
        needs("vlan");
        let trunk = "ip -n far link add link eth0 name eth0.7 type vlan id 7 && \
            ip -n far link set eth0.7 up";
        asks_around("vlan", json!({"master": "up0", "vlanId": 7}), trunk, "eth0.7");
    });
}

/// Of several networks of one pod, by hand the first one that is attached has the default
/// route of each family; each has its own interface, and del of one leaves the others.
#[test]
fn several_networks_on_one_pod() {
    world(Kind::User, || {
        let [one, far] = host();
        let two = pod("two");
        far.sh("ip addr add 10.5.0.1/24 dev eth0 && ip addr add fd05::1/64 dev eth0 nodad");
        network("net", &with(plugin("macvlan", json!({"master": "up0"})), everywhere(5)));
        network("tap", &with(plugin("tap", json!({})), everywhere(6)));
        add("net --netns /run/netns/pod");
        add("bridge --netns /run/netns/pod --ifname eth1");
        add("tap --netns /run/netns/pod --ifname eth2");
        assert_eq!(
            defaults(&one),
            ["default via 10.5.0.1 dev eth0", "default via fd05::1 dev eth0"]
        );
        let third = one.sh_out("ip -4 route show dev eth2; ip -6 route show dev eth2");
        for route in ["10.60.0.0/16 via 10.6.0.1", "fd60::/16 via fd06::1"] {
            assert!(third.contains(route), "{route} isn't in {third}");
        }
        assert_eq!(one.sh_out("ip -br link | wc -l"), "4");
        netsetup("del bridge --netns /run/netns/pod --ifname eth1");
        assert!(reaches(&one, "10.5.0.1") && reaches(&one, "fd05::1"));
        netsetup("check net --netns /run/netns/pod");
        netsetup("check tap --netns /run/netns/pod --ifname eth2");
        netsetup("del net --netns /run/netns/pod");
        netsetup("del tap --netns /run/netns/pod --ifname eth2");
        assert_eq!(one.sh_out("ip -br link | wc -l"), "1");
        // The first network has IPv4 alone: the other family's is the second's.
        add("bridge --netns /run/netns/two");
        add("tap --netns /run/netns/two --ifname eth1");
        assert_eq!(
            defaults(&two),
            ["default via 10.89.0.1 dev eth0", "default via fd06::1 dev eth1"]
        );
    });
}

/// The default routes of a pod, IPv4's and IPv6's, up to the link that they lead over.
fn defaults(pod: &Ns) -> Vec<String> {
    let lines = pod.sh_out("ip -4 route show default; ip -6 route show default");
    let start = |line: &str| line.split(" proto ").next().unwrap_or_default().to_owned();
    lines.lines().map(start).collect()
}
