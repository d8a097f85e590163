//! The world before the first add equals the world after the last del.

use super::bed::{CUSTOM, DUAL, add, addresses, netsetup, network, on_bridge};
use super::common::dump::{Dump, assert_same_world, differences, dump};
use super::common::flatten::items;
use super::common::{Kind, Ns, dirs, neighbour, ns_add, sh, sh_json, sh_out, world};

/// What add turns on and nobody turns off: forwarding, and what the kernel derives
/// from it (inet_forward_change of net/ipv4/devinet.c).
const ENSURED: &[&str] = &[
    "host sysctl net.ipv4.ip_forward: value 0 -> 1",
    "host sysctl net.ipv4.conf.*.forwarding: value 0 -> 1",
    "host sysctl net.ipv4.conf.all.accept_redirects: value 1 -> 0",
    "host sysctl net.ipv6.conf.*.forwarding: value 0 -> 1",
    "host route -6 * dev up0 metric 0 table local type anycast: added",
];

/// What leases are kept in; `last_reserved_ip` is in there.
const LEASES: &[&str] = &["file /run/rootless/leases: added", "file /run/rootless/leases/*: added"];

/// Attaches `pods` one after the other with `flags`, takes them away again, and
/// compares. Twice: the second time nothing at all may differ.
fn there_and_back(network: &str, pods: &[(&str, &str)], during: &dyn Fn(&Dump, &Dump)) {
    let mut all: Vec<Ns> = pods.iter().map(|(name, _)| ns_add(name)).collect();
    all.push(neighbour("far", 0).ns);
    for allowed in [[ENSURED, LEASES].concat(), Vec::new()] {
        let before = dump(&all);
        for (name, flags) in pods {
            add(&format!("{network} --netns /run/netns/{name} {flags}"));
        }
        let meanwhile = dump(&all);
        assert!(!differences(&before, &meanwhile, &allowed).is_empty(), "add made something");
        during(&before, &meanwhile);
        for (name, _) in pods {
            let check = netsetup(&format!("check {network} --netns /run/netns/{name}"));
            assert!(check.lines().skip(1).all(|l| l.ends_with("  ok")), "{check}");
            netsetup(&format!("del {network} --netns /run/netns/{name}"));
        }
        assert_same_world(&before, &dump(&all), &allowed);
        // Twice is harmless.
        netsetup(&format!("del {network} --netns /run/netns/{}", pods[0].0));
        assert_same_world(&before, &dump(&all), &allowed);
        assert!(!dirs().run.exists(), "{} is empty and goes too", dirs().run.display());
    }
}

#[test]
fn the_built_in_network_leaves_nothing() {
    world(Kind::User, || {
        there_and_back("bridge", &[("a", ""), ("b", "-p 8080:80 -p 53:53/udp")], &|_, dump| {
            // A pod without an IPv6 address of ours has none at all.
            let off = |ns: &str, link: &str| {
                let name = format!("{ns} sysctl net.ipv6.conf.{link}.disable_ipv6");
                dump.get(&name).expect("the kernel runs IPv6")["value"].clone()
            };
            assert_eq!([off("a", "eth0"), off("b", "eth0")], ["1", "1"]);
            assert_eq!([off("a", "lo"), off("host", "podkeel0")], ["0", "0"]);
            assert!(!dump.objects().keys().any(|name| name.starts_with("a addr eth0 fe80")));
            let ra = dump.get("host sysctl net.ipv6.conf.podkeel0.accept_ra");
            assert_eq!(ra.expect("the bridge's")["value"], "0");
        });
    });
}

#[test]
fn both_families_leave_nothing() {
    world(Kind::User, || {
        network("dual", DUAL);
        let flags = "-p 8080:80 -p 9000-9003:9000-9003/udp -p 198.18.0.1:7000:80 \
                     -p [2001:db8:18::1]:7000:80";
        there_and_back("dual", &[("a", flags), ("b", "")], &|_, dump| {
            let ra = dump.get("host sysctl net.ipv6.conf.podkeel-dual.accept_ra");
            assert_eq!(ra.expect("the bridge's")["value"], "0");
            let all: Vec<String> = dump.objects().into_keys().collect();
            for start in ["a addr eth0 10.90.0.", "b addr eth0 fd70:6f64:6b65:1::"] {
                assert!(all.iter().any(|name| name.starts_with(start)), "{start} in {all:#?}");
            }
        });
    });
}

#[test]
fn a_custom_bridge_and_borrowed_sysctls_leave_nothing() {
    world(Kind::User, || {
        network("custom", CUSTOM);
        let flags = "--ip 10.91.7.150 --mac 02:00:00:00:00:07 --sysctl net.core.somaxconn=77 \
                     --sysctl net.ipv4.conf.eth0.rp_filter=2";
        there_and_back("custom-bridge", &[("a", flags), ("b", "")], &|before, dump| {
            let was = before.get("a sysctl net.core.somaxconn").expect("it")["value"].clone();
            let value = |name: &str| dump.get(name).expect(name)["value"].clone();
            assert_ne!(was, "77");
            assert_eq!(value("a sysctl net.core.somaxconn"), "77");
            assert_eq!(value("b sysctl net.core.somaxconn"), "1024", "the list's own");
            assert_eq!(value("a sysctl net.ipv4.conf.eth0.rp_filter"), "2");
            assert_eq!(value("a sysctl net.ipv4.conf.eth0.arp_filter"), "1");
            let link = dump.get("a link eth0").expect("eth0");
            assert_eq!(link["address"], "02:00:00:00:00:07");
            assert_eq!(link["mtu"], "1400");
            for name in [
                "a addr eth0 10.91.7.150/24",
                "b addr eth0 10.91.7.151/24",
                "host addr br-pods 10.91.7.254/24",
                "a route -4 default via 10.91.7.254 dev eth0",
            ] {
                assert!(dump.get(name).is_some(), "{name} in {:#?}", dump.objects().keys());
            }
        });
    });
}

/// Old kernels show some sysctls to the first user namespace alone. What can't be set is
/// refused before anything is made.
#[test]
fn a_hidden_sysctl_is_refused_or_the_kernel_hides_none() {
    world(Kind::User, || {
        network("custom", CUSTOM);
        let all = [ns_add("a"), neighbour("far", 0).ns];
        if all[0].sh_any("test -e /proc/sys/net/core/somaxconn").status.success() {
            return println!("this kernel shows somaxconn to all; it is hidden on 5.10, in the VM");
        }
        let before = dump(&all);
        let said = super::bed::refused("add custom-bridge --netns /run/netns/a", 5);
        let why = "cannot set sysctl net.core.somaxconn in the pod: there is no such sysctl";
        assert!(said.contains(why), "{said}");
        assert_same_world(&before, &dump(&all), LEASES);
    });
}

#[test]
fn a_sysctl_of_several_numbers_is_put_back_unless_somebody_changed_it_since() {
    world(Kind::User, || {
        let pod = ns_add("a");
        let range = || pod.sh_out("cat /proc/sys/net/ipv4/ip_local_port_range");
        let before = range();
        for changed_since in [false, true] {
            let output = std::process::Command::new(super::bed::NETSETUP)
                .args(["add", "bridge", "--netns", "/run/netns/a"])
                .args(["--sysctl", "net.ipv4.ip_local_port_range=40000 41000"])
                .output()
                .expect("netsetup");
            assert!(output.status.success(), "{output:?}");
            assert_eq!(range(), "40000\t41000");
            netsetup("check bridge --netns /run/netns/a");
            if changed_since {
                pod.sh("echo '50000 51000' >/proc/sys/net/ipv4/ip_local_port_range");
            }
            netsetup("del bridge --netns /run/netns/a");
            assert_eq!(range(), if changed_since { "50000\t51000" } else { &before });
        }
    });
}

/// Makes a bridge that isn't ours, with a port and addresses of its own.
fn foreign_bridge(address: &str) {
    sh(&format!(
        "ip link add br-mine type bridge && \
         ip link set br-mine addrgenmode none alias mine mtu 1450 && ip link set br-mine up && \
         echo 1 >/proc/sys/net/ipv6/conf/br-mine/accept_ra && {address} && \
         ip netns add other && ip link add p0 address 52:54:00:00:00:01 type veth peer name eth0 netns other && \
         ip link set p0 addrgenmode none master br-mine && ip link set p0 up && ip -n other link set eth0 up"
    ));
}

#[test]
fn a_bridge_that_was_there_is_used_and_stays_as_it_was() {
    world(Kind::User, || {
        foreign_bridge("ip addr add 10.77.0.1/24 dev br-mine");
        on_bridge("mine", "br-mine", "10.77.0.0/24", true);
        there_and_back("mine", &[("a", "-p 8080:80"), ("b", "")], &|before, dump| {
            for name in ["host link br-mine", "host sysctl net.ipv6.conf.br-mine.accept_ra"] {
                assert_eq!(before.get(name), dump.get(name), "{name}");
            }
            assert_eq!(dump.get("a link eth0").expect("eth0")["mtu"], "1450", "the bridge's");
            let ports = sh_json("ip -j link show master br-mine");
            assert_eq!(items(&ports).len(), 3, "{ports}");
        });
    });
}

#[test]
fn a_bridge_that_lacks_the_gateway_has_it_while_it_is_needed() {
    world(Kind::User, || {
        foreign_bridge("true");
        on_bridge("mine", "br-mine", "10.77.0.0/24", true);
        there_and_back("mine", &[("a", ""), ("b", "")], &|_, dump| {
            assert!(dump.get("host addr br-mine 10.77.0.1/24").is_some());
        });
    });
}

#[test]
fn a_bridge_that_is_no_gateway_carries_frames_and_nothing_else() {
    world(Kind::User, || {
        on_bridge("plain", "br-plain", "10.78.0.0/24", false);
        there_and_back("plain", &[("a", ""), ("b", "--ip 10.78.0.3")], &|before, dump| {
            let lines = differences(
                before,
                dump,
                &["host link *", "a *", "b *", "file *", "*dev pk*", "host addr pk*"],
            );
            let more = |l: &String| {
                !l.starts_with("host addr br-plain fe80") && !l.contains(" dev br-plain ")
            };
            let lines: Vec<_> = lines.into_iter().filter(more).collect();
            assert!(lines.is_empty(), "{lines:#?}");
            assert!(!dump.objects().keys().any(|n| n.starts_with("host nft")));
            Ns::named("a").sh("ping -nqc1 -W2 10.78.0.3");
        });
    });
}

#[test]
fn the_bridge_stays_while_somebody_needs_it() {
    world(Kind::User, || {
        for name in ["a", "b"] {
            ns_add(name);
            add(&format!("bridge --netns /run/netns/{name}"));
        }
        netsetup("del bridge --netns /run/netns/a");
        assert!(netsetup("check bridge --netns /run/netns/b").lines().count() > 5);
        Ns::named("b").sh("ping -nqc1 -W2 10.89.0.1");
        // A port of somebody else's keeps the bridge, too.
        sh("ip link add p0 type veth peer name p1 && ip link set p0 master podkeel0");
        netsetup("del bridge --netns /run/netns/b");
        let ports = sh_json("ip -j link show master podkeel0");
        let ports: Vec<_> = items(&ports).iter().map(|port| &port["ifname"]).collect();
        assert_eq!(ports, ["p0"]);
        sh("ip link del p0");
        netsetup("gc");
        assert_eq!(sh_out("ip -br link | awk '{print $1}'"), "lo");
    });
}

#[test]
fn a_pod_that_is_gone_is_taken_away_by_its_name() {
    world(Kind::User, || {
        ns_add("a");
        let all = [neighbour("far", 0).ns];
        let before = dump(&all);
        let result =
            add("bridge --netns /run/netns/a -p 8080:80 --sysctl net.ipv4.tcp_keepalive_time=7");
        assert_eq!(addresses(&result).len(), 1);
        sh("ip netns del a");
        netsetup("del bridge --id a");
        let mut allowed = [ENSURED, LEASES].concat();
        allowed.extend(["netns a", "mount /run/netns/a"]);
        assert_same_world(&before, &dump(&all), &allowed);
    });
}
