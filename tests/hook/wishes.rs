//! What annotations and flags ask for is what the container has.

use super::bed::{Bundle, CUSTOM, DUAL, ENGINES, assert_as_before, network};
use super::common::dump::dump;
use super::common::traffic::{SOON, tcp, tcp_server};
use super::common::{Kind, Ns, neighbour, world};

#[test]
#[ignore = "needs root"]
fn annotations_are_heard() {
    for engine in ENGINES {
        world(Kind::Root, || {
            network("dual", DUAL);
            network("custom-bridge", CUSTOM);
            let far = neighbour("far", 0);
            let before = dump(std::slice::from_ref(&far.ns));
            let bundle = Bundle::new(engine, "web")
                .annotation("network", "dual, custom-bridge")
                .annotation("publish", "8080:81,198.18.0.1:8081:81")
                .annotation("ip", "10.90.7.7,fd70:6f64:6b65:1::7")
                .annotation("mac", "02:00:00:00:00:07")
                .annotation("sysctl.net.ipv4.ip_unprivileged_port_start", "80")
                .annotation("sysctl.net.ipv4.conf.eth0.rp_filter", "2");
            let pod = bundle.start();
            let (v4, v6) = ("10.90.7.7".parse(), "fd70:6f64:6b65:1::7".parse());
            tcp_server(&pod, "web", std::net::IpAddr::V4(v4.expect("an address")), 81);
            tcp_server(&pod, "web", std::net::IpAddr::V6(v6.expect("an address")), 81);
            for (to, seen) in [
                ("198.18.0.1:8080", "198.18.0.2"),
                ("198.18.0.1:8081", "198.18.0.2"),
                ("[2001:db8:18::1]:8080", "2001:db8:18::2"),
            ] {
                let answer = tcp(&far.ns, to.parse().expect("an address"), SOON).expect(to);
                assert_eq!(answer.peer.ip().to_string(), seen, "its true address");
                let to_host = tcp(&Ns::host(), to.parse().expect("an address"), SOON);
                assert_eq!(to_host.expect(to).server, "web");
            }
            let text = |command: &str| pod.sh_out(command);
            let value = |key: &str| text(&format!("cat /proc/sys/net/{key}"));
            assert_eq!(value("ipv4/ip_unprivileged_port_start"), "80");
            assert_eq!(value("ipv4/conf/eth0/rp_filter"), "2");
            assert_eq!(text("ip -br link | grep -c '^eth[01]@.* UP '"), "2");
            assert!(text("ip link show eth0").contains("02:00:00:00:00:07"));
            // The second network's mtu, sysctls and address, but no default route.
            assert!(text("ip addr show eth1").contains("mtu 1400"));
            assert!(text("ip addr show eth1").contains("inet 10.91.7.100/24"));
            assert_eq!(value("ipv4/conf/eth1/arp_filter"), "1");
            assert_eq!(value("core/somaxconn"), "1024");
            assert_eq!(text("ip route show default"), "default via 10.90.0.1 dev eth0 proto 112");
            assert_eq!(text("ip -6 route show default | grep -c eth0"), "1");
            bundle.stop();
            assert_as_before(&before, &dump(std::slice::from_ref(&far.ns)), engine);
        });
    }
}

#[test]
#[ignore = "needs root"]
fn a_flag_wins_over_the_annotation_for_the_same_thing() {
    for engine in ENGINES {
        world(Kind::Root, || {
            network("dual", DUAL);
            let before = dump(&[]);
            let bundle = Bundle::new(engine, "web")
                .annotation("network", "dual")
                .annotation("publish", "8080:81")
                .annotation("ip", "10.89.7.7")
                .flags("--network bridge -p 9090:81 --mac 02:00:00:00:00:08")
                .flags("--sysctl net.core.somaxconn=77");
            let pod = bundle.start();
            tcp_server(&pod, "web", std::net::Ipv4Addr::UNSPECIFIED, 81);
            let ask = |port: u16| tcp(&Ns::host(), ([10, 89, 0, 1], port).into(), SOON);
            assert_eq!(ask(9090).expect("an answer").at.to_string(), "10.89.7.7:81");
            assert!(ask(8080).is_err());
            assert!(pod.sh_out("ip link show eth0").contains("02:00:00:00:00:08"));
            assert_eq!(pod.sh_out("cat /proc/sys/net/core/somaxconn"), "77");
            bundle.stop();
            assert_as_before(&before, &dump(&[]), engine);
        });
    }
}

/// crun sends what a hook says to /dev/null, runc shows it of failed hooks only.
#[test]
#[ignore = "needs root"]
fn the_log_has_what_the_runtime_drops() {
    for engine in ENGINES {
        world(Kind::Root, || {
            super::common::sh("iptables-nft -P FORWARD DROP");
            let bundle = Bundle::new(engine, "web");
            bundle.start();
            let log = bundle.log();
            assert_eq!(log.lines().count(), 1, "{log}");
            let start = "netsetup hook: warning: packets that leave or reach network bridge";
            assert!(log.starts_with(start), "{log}");
            bundle.stop();
            let taken = Bundle::new(engine, "taken").flags("--ip 10.1.1.1");
            taken.fails();
            assert!(taken.log().contains("netsetup hook: cannot "), "{}", taken.log());
        });
    }
}
